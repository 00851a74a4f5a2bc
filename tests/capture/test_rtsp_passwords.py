"""What a network camera is told of a password with odd characters, by each library."""

from __future__ import annotations

import base64
import re
import socket
import threading
from collections.abc import Iterator
from typing import Literal

import pytest

from jetson_face.capture import gstreamer
from jetson_face.capture.opening import open_source
from jetson_face.capture.source import OpenOptions
from jetson_face.core.errors import SourceError

PUBLIC = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"
BY = [
    "opencv",
    pytest.param(
        "gstreamer",
        marks=pytest.mark.skipif(not gstreamer.has_gstreamer("rtspsrc"), reason="needs rtspsrc"),
    ),
]


class Door:
    """An RTSP camera that asks who is there, and lets nobody in. said: user and password."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.said: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _listen(self) -> None:
        while True:
            try:
                guest, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(guest,), daemon=True).start()

    def _talk(self, guest: socket.socket) -> None:
        with guest, guest.makefile("rb") as lines:
            head: list[str] = []
            for line in lines:
                if line.strip():
                    head.append(line.decode("latin-1"))
                    continue
                guest.sendall(self._answer("".join(head)).encode())
                head = []

    def _answer(self, asked: str) -> str:
        number = re.search(r"CSeq: *\d+", asked, re.I)
        assert number is not None
        who = re.search(r"Authorization: Basic (\S+)", asked)
        if who is not None:
            self.said.append(base64.b64decode(who[1]).decode())
            answer = "404 Not Found"
        elif asked.startswith("OPTIONS"):
            answer = f"200 OK\r\n{PUBLIC}"
        else:
            answer = '401 Unauthorized\r\nWWW-Authenticate: Basic realm="door"'
        return f"RTSP/1.0 {answer}\r\n{number[0]}\r\n\r\n"


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door()
    yield door
    door.close()


@pytest.mark.parametrize("backend", BY)
@pytest.mark.parametrize("password", ["p@ss", "a#1", "a/b?c", "100%"])
def test_it_is_asked_for_itself_and_gets_the_password(
    door: Door, password: str, backend: Literal["opencv", "gstreamer"]
) -> None:
    uri = f"rtsp://adm:{password}@127.0.0.1:{door.port}/live"
    options = OpenOptions(backend=backend, open_timeout_s=20)
    with pytest.raises(SourceError) as raised:
        open_source(uri, options=options)
    assert f"adm:{password}" in door.said
    assert password not in str(raised.value)
