"""A real service for tests, and a client of its control socket."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jetson_face.core.errors import JetsonFaceError
from jetson_face.service.status_server import ask
from tests.waiting import until

LIVE = """
state_dir: {state}
sources: [{uri: "test://?live=1&frames=1000000&fps=15&width=160&height=120", name: door}]
detector: {type: mtcnn, min_face_px: 40, max_side_px: 160}
"""


class Running:
    """`jetson-face service run` with a configuration; `{state}` in it is the state folder."""

    def __init__(self, folder: Path, config: str = LIVE) -> None:
        self.folder, self.state = folder, folder / "state"
        self.config, self.log = folder / "config.yaml", folder / "log"
        self.config.write_text(config.replace("{state}", str(self.state)))
        self.start()

    def start(self) -> None:
        environ = {k: v for k, v in os.environ.items() if k != "RUNTIME_DIRECTORY"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jetson_face", "service", "run", "-c", str(self.config)],
                env=environ,
                stderr=log,
            )
        until(lambda: self.status().get("ready"))

    def status(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(ask(self.state / "status.sock", "/status").body)
        except (JetsonFaceError, ValueError):
            return {}
        return found

    def control(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection = _Unix(self.state / "control.sock")
        try:
            connection.request(method, path, data, dict(headers or {}))
            response = connection.getresponse()
            found = response.read()
        finally:
            connection.close()
        is_json = "json" in response.headers.get("Content-Type", "")
        return response.status, json.loads(found) if is_json else found

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(self._path))


@contextlib.contextmanager
def running(folder: Path, config: str = LIVE) -> Iterator[Running]:
    service = Running(folder, config)
    try:
        yield service
    finally:
        sys.stdout.write(service.log.read_text())
        service.close()
