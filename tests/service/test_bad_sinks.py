"""The service as a process whose sinks are all wrong: it goes on, and tells no secret."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import pytest

from jetson_face.service.status_server import ask
from jetson_face.util.images import read_picture
from tests.cli.conftest import packaged
from tests.events.hostile import Hostile, read_request
from tests.waiting import until

pytestmark = pytest.mark.timeout(180)
SECRETS = {
    # Two lines, no UTF-8, an escape: none of them can be sent.
    "hook.token": b"s3cret-first-line\ns3cret-second-line\n",
    "latin.token": "s3crét-of-latin\n".encode("latin-1"),
    "broker.password": b"s3cret\x1b[2Jescape",
    "good.token": b"s3cret-good-token\n",
    "camera.password": b"s3cret-of/the:camera\n",
}
CONFIG = """
state_dir: {state}
sources:
  - {{uri: "test://?live=1&frames=1000000&fps=15&width=320&height=240&faces={faces}", name: door}}
  - {{uri: "http://me:{{credential:camera.password}}@127.0.0.1:1/live/admin/s3cret-in-path/0?psw=s3cret",
     name: gate, backend: opencv, open_timeout_s: 1, reconnect_max_s: 0.5}}
detector: {{type: mtcnn, min_face_px: 40, max_side_px: 320}}
matching: {{unknown_after: 1}}
quality: {{embed_min: 0}}
report: {{every_s: 0.5}}
service:
  sinks:
    - {{type: jsonl}}
    - {{type: webhook, name: two-lines, url: "http://127.0.0.1:1/", token_credential: hook.token}}
    - {{type: webhook, name: no-utf8, url: "http://127.0.0.1:1/", token_credential: latin.token}}
    - {{type: webhook, name: missing, url: "http://127.0.0.1:1/", token_credential: not.there}}
    - {{type: webhook, name: nobody, url: "http://me:s3cret@127.0.0.1:1/tür?sig=s3cret"}}
    - {{type: webhook, name: echo, url: "http://127.0.0.1:{port}/tür?sig=s3cret-sig",
       token_credential: good.token}}
    - {{type: mqtt, name: broker, host: 127.0.0.1, port: 1, username: me,
       password_credential: broker.password}}
"""
# What every sink has to say of itself.
REASONS = {
    "two-lines": "the credential 'hook.token' has 2 lines",
    "no-utf8": "the credential 'latin.token' is not UTF-8 text",
    "missing": "there is no credential 'not.there'",
    "nobody": "127.0.0.1:1: ConnectionRefusedError",
    "echo": "answered 302 Found",
    "broker": "the credential 'broker.password' has control characters",
}


def echo(connection: socket.socket, stop: threading.Event) -> None:
    """A receiver that sends the token back where it is read: in its redirect."""
    head = read_request(connection).partition(b"\r\n\r\n")[0]
    token = head.partition(b"Authorization: Bearer ")[2].partition(b"\r\n")[0]
    connection.sendall(
        b"HTTP/1.1 302 Found\r\nLocation: /x?y=1&z=" + token + b"#" + token
        + b"\r\nContent-Length: 0\r\n\r\n"
    )  # fmt: skip


class Process:
    """`service run`, and everything that it says."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.state = folder, folder / "state"
        credentials = folder / "credentials"
        credentials.mkdir()
        for name, content in SECRETS.items():
            (credentials / name).write_bytes(content)
        self.config = folder / "site.yaml"
        faces = folder / "faces"
        faces.mkdir()
        face = read_picture(packaged("skimage", "data/astronaut.png"))[0:300, 80:380]
        cv2.imwrite(str(faces / "face.png"), face)
        self.config.write_text(
            CONFIG.format(state=self.state, port=port, faces=faces), encoding="utf-8"
        )
        self.environ = {**os.environ, "CREDENTIALS_DIRECTORY": str(credentials)}
        self.start()

    def start(self) -> None:
        with (self.folder / "out").open("ab") as out, (self.folder / "err").open("ab") as err:
            self.running = subprocess.Popen(
                self.command("service", "run"), env=self.environ, stdout=out, stderr=err
            )

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "jetson_face", *words, "-c", str(self.config)]

    def page(self, path: str) -> str:
        return ask(self.state / "status.sock", path).body.decode()

    def decided(self) -> int:
        try:
            cameras = json.loads(self.page("/status"))["cameras"]
        except (OSError, KeyError, ValueError):
            return 0
        return int(cameras["door"]["processed"])

    def sinks(self) -> dict[str, str]:
        found = json.loads(self.page("/status"))["sinks"]
        return {name: str(sink["error"]) for name, sink in found.items()}


def test_wrong_sinks_do_not_end_recognition_and_no_stream_tells_a_secret(tmp_path: Path) -> None:
    with Hostile(echo) as receiver:
        process = Process(tmp_path, receiver.port)
        try:
            until(lambda: process.decided() > 0)
            until(lambda: all(process.sinks()[name] != "None" for name in REASONS))
            seen = process.decided()
            sinks = process.sinks()
            for name, reason in REASONS.items():
                assert reason in sinks[name]
            until(lambda: process.decided() > seen + 5)
            pages = [process.page(path) for path in ("/status", "/metrics", "/readyz")]
            # A reload that names a broken credential is refused, and the old goes on.
            process.running.send_signal(signal.SIGHUP)
            until(lambda: json.loads(process.page("/status"))["reload"]["request"] >= 1)
            until(lambda: process.decided() > seen + 10)
            pages.append(process.page("/status"))
            assert process.running.poll() is None
            said = [
                subprocess.run(
                    process.command(*words),
                    env=process.environ, capture_output=True, text=True, check=False, timeout=60,
                )
                for words in (("config", "show"), ("config", "check"), ("doctor",), ("status",))
            ]  # fmt: skip
            process.running.send_signal(signal.SIGTERM)
            assert process.running.wait(20) == 0
        finally:
            process.running.kill()
            process.running.wait()
    files = [tmp_path / "out", tmp_path / "err", *process.state.rglob("*.json*")]
    texts = [path.read_text("utf-8", "replace") for path in files]
    texts += pages + [done.stdout + done.stderr for done in said]
    assert "sink_down" in texts[1]
    assert "Traceback" not in texts[1]
    assert (process.state / "last_report.json") in files
    for text in texts:
        for secret in ("s3cret", "s3cr", "the:camera", "\x1b"):
            assert secret not in text, text[max(0, text.find(secret) - 200) :][:400]
