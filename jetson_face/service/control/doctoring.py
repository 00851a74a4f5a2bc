"""What `doctor` says of this box, asked for from the page."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

from jetson_face.service.control.behind import stand_behind
from jetson_face.service.control.http import ControlError, ControlRequest, Reply, Route

_LIMIT_S = 100.0


class Doctoring:
    """`POST /doctor`. words: the options that give the command this service's configuration."""

    def __init__(self, words: Callable[[], Sequence[str]]) -> None:
        self._words, self._lock = words, threading.Lock()
        self.routes: tuple[Route, ...] = (("POST", "/doctor", self.ask),)

    def ask(self, request: ControlRequest) -> Reply:
        """Run it, in a process of its own at low priority, with the rights of the service."""
        if not self._lock.acquire(blocking=False):
            raise ControlError(409, "it is asked already: wait for its answer")
        try:
            began = time.monotonic()
            findings = self._findings()
            took = round(time.monotonic() - began, 1)
        finally:
            self._lock.release()
        return Reply.of({"findings": findings, "took_s": took})

    def _findings(self) -> object:
        command = [sys.executable, "-m", "jetson_face", "doctor", "--json", *self._words()]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out = err = b""
        try:
            stand_behind(process.pid, 10)
            out, err = process.communicate(timeout=_LIMIT_S)
            return json.loads(out)
        except subprocess.TimeoutExpired:
            raise ControlError(503, f"doctor did not answer in {_LIMIT_S:g} s") from None
        except (OSError, ValueError):
            said = err.decode("utf-8", "replace")[-500:].strip()
            raise ControlError(409, f"doctor ended with {process.returncode}: {said}") from None
        finally:
            process.kill()
            process.wait()
