"""The page's real process for tests, in front of a real service."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import demo_clip
import httpx

from jetson_face.web.accounts import Accounts, Role
from tests.service.running import LIVE, Running
from tests.waiting import until

PASSWORDS: dict[Role, str] = {
    "admin": "correct horse 1",
    "operator": "battery staple 2",
    "viewer": "paper clip clip 3",
}
FACES = """
state_dir: {state}
sources:
  - uri: "test://?live=1&fps=8&frames=1000000&width=480&height=360&faces={faces}"
    name: door
detector: {type: mtcnn, min_face_px: 60, max_side_px: 480}
service: {crops: true}
"""


class WebBox:
    """`jetson-face web run` beside a service, with one user of each role, named like it."""

    def __init__(self, folder: Path, service: Running, *more: str) -> None:
        self.service, self.accounts = service, Accounts(folder / "web")
        for role, password in PASSWORDS.items():
            self.accounts.set_password(role, password, role)
        self.more, self.log = more, folder / "weblog"
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = [
            sys.executable, "-m", "jetson_face", "web", "run", "--port", str(self.port),
            "--runtime", str(self.service.state), "--state", str(self.accounts.path.parent),
            *self.more,
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self.answers)

    def answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(self.url).status_code == 200
        return False

    def client(self, role: Role | None = "admin") -> httpx.Client:
        """Signed in; its changes carry the CSRF token."""
        client = httpx.Client(base_url=f"{self.url}/api/v1", timeout=60)
        if role is not None:
            wanted = {"user": role, "password": PASSWORDS[role]}
            answer = client.post("/session", json=wanted)
            assert answer.status_code == 200, answer.text
            client.headers["X-CSRF-Token"] = answer.json()["csrf"]
        return client

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def web_box(folder: Path, config: str = LIVE, *more: str) -> Iterator[WebBox]:
    service = Running(folder, config)
    try:
        box = WebBox(folder, service, *more)
        try:
            yield box
        finally:
            sys.stdout.write(box.log.read_text())
            box.close()
    finally:
        sys.stdout.write(service.log.read_text())
        service.close()


def two_faces(folder: Path) -> str:
    """A configuration whose camera sees the demo's two portraits."""
    heads = folder / "heads"
    heads.mkdir()
    for who in demo_clip.NAMES:
        cv2.imwrite(os.fspath(heads / f"{who}.png"), demo_clip.head(who))
    return FACES.replace("{faces}", str(heads))
