"""Measurements on this box, started from the page: `bench` and `tune`, one at a time, in a process
of its own at the lowest priority, so that recognition goes on."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from jetson_face.core.errors import JetsonFaceError
from jetson_face.privacy.audit import current_actor, utc
from jetson_face.service.control.behind import stand_behind
from jetson_face.service.control.desk import Desk
from jetson_face.service.control.http import ControlError, ControlRequest, Reply, Route
from jetson_face.service.control.measurement import MeasurementPlan, plan_of, result_of
from jetson_face.service.control.values import cut_page
from jetson_face.util.channels import Courier, StillBusyError
from jetson_face.util.files import write_file
from jetson_face.util.redact import clean

logger = logging.getLogger(__name__)
FOLDER = "measurements"
_KEPT = 30
_LIMIT_S = 1800.0
_ID = r"([0-9a-f]{32})"


class Measuring:
    """The routes under `/tuning/runs`. words: the options that give a command the configuration of
    this service. program: what runs commands."""

    def __init__(
        self,
        desk: Desk,
        words: Callable[[], Sequence[str]],
        program: Sequence[str] = (sys.executable, "-m", "jetson_face"),
    ) -> None:
        self._desk, self._words, self._program = desk, words, tuple(program)
        self._lock = threading.Lock()
        self._courier: Courier[None] | None = None
        self._process: subprocess.Popen[str] | None = None
        self._running: dict[str, Any] | None = None
        self._cancelled = False
        self.routes: tuple[Route, ...] = (
            ("GET", "/tuning/runs", self.show),
            ("POST", "/tuning/runs", self.start),
            ("DELETE", f"/tuning/runs/{_ID}", self.remove),
        )

    @property
    def busy(self) -> bool:
        """Something is being measured."""
        return self._running is not None

    def show(self, request: ControlRequest) -> Reply:
        """What is being measured, and what was, newest first."""
        found = [] if self._running is None else [dict(self._running)]
        return cut_page(request, found + self._stored(), "id")

    def start(self, request: ControlRequest) -> Reply:
        """Begin; the answer says what, and the list how it goes."""
        status = self._desk.status()
        plan = plan_of(request.document(), self._desk.config, status)
        with self._lock:
            if self._running is not None:
                raise ControlError(409, "something is measured already: wait, or cancel it")
            self._running = {
                "id": uuid.uuid4().hex,
                "state": "running",
                "started": utc(),
                "by": current_actor(),
                **plan.facts,
            }
            self._cancelled, began = False, dict(self._running)
            if self._courier is not None:
                self._courier.close()
            self._courier = Courier("measuring")
        with suppress(StillBusyError):  # it goes on, as it should
            self._courier.fetch(lambda: self._measure(plan), timeout_s=0)
        return Reply.of(began, 202)

    def remove(self, request: ControlRequest, key: str) -> Reply:
        """Cancel what runs, or forget a result."""
        running = self._running
        if running is not None and running["id"] == key:
            self.close()
            return Reply.of({"id": key, "state": "cancelled"})
        path = self._folder() / f"{key}.json"
        if not path.exists():
            raise ControlError(404, "there is no such measurement")
        path.unlink(missing_ok=True)
        return Reply.of({"id": key, "state": "removed"})

    def close(self) -> None:
        """End what runs; harmless when repeated."""
        self._cancelled = True
        process = self._process
        if process is not None:
            process.kill()
        if self._courier is not None:
            self._courier.close()
            self._courier.join(5.0)

    def _measure(self, plan: MeasurementPlan) -> None:
        folder = Path(tempfile.mkdtemp(prefix="jetson-face-measure-"))
        began, running = time.monotonic(), self._running
        assert running is not None
        try:
            plan.prepare(folder)
            text = "".join(self._run(words) for words in plan.commands(folder, self._words()))
            done = {"state": "done"} | result_of(plan, folder, text)
        except (JetsonFaceError, OSError, subprocess.SubprocessError, ValueError) as error:
            done = {"state": "failed", "error": clean(str(error))[:2000]}
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        took = round(time.monotonic() - began, 1)
        try:
            if not self._cancelled:
                self._keep(running | done | {"took_s": took})
        finally:
            self._running = None

    def _run(self, words: Sequence[str]) -> str:
        """What a command prints. Raises ValueError where it fails."""
        if self._cancelled:
            raise ValueError("cancelled")
        process = subprocess.Popen(
            [*self._program, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._process = process
        try:
            # Before its networks make threads, which inherit it.
            stand_behind(process.pid, 19)
            out, err = process.communicate(timeout=_LIMIT_S)
        finally:
            process.kill()
            process.wait()
            self._process = None
        if process.returncode and not (words[0] == "tune" and process.returncode == 1 and out):
            raise ValueError(f"{words[0]} ended with {process.returncode}: {err[-1500:].strip()}")
        return out

    def _folder(self) -> Path:
        return self._desk.config.state_dir / FOLDER

    def _stored(self) -> list[dict[str, Any]]:
        found = []
        for path in self._folder().glob("*.json"):
            try:
                found.append(json.loads(path.read_text("utf-8")))
            except (OSError, ValueError) as error:
                logger.warning("measurement_unreadable path=%s error=%s", path, error)
        return sorted(found, key=lambda one: str(one["started"]), reverse=True)

    def _keep(self, result: dict[str, Any]) -> None:
        path = self._folder() / f"{result['id']}.json"
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_file(path, json.dumps(result) + "\n", mode=0o600)
        except (JetsonFaceError, OSError) as error:
            logger.error("measurement_not_kept error=%s", error)
        for old in self._stored()[_KEPT:]:
            (self._folder() / f"{old['id']}.json").unlink(missing_ok=True)
