"""What the log says of an http:// camera that gives no stream, against a real server."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jetson_face.capture.opencv import open_network
from jetson_face.capture.refused import why_refused
from jetson_face.capture.source import OpenOptions
from jetson_face.capture.uri import parse_uri
from jetson_face.core.errors import SourceError

ADDRESS = "http://{host}/{path}"
NONCE = 'Digest realm="cam", nonce="n", qop="auth", algorithm=MD5'


def digest_answer(told: str, path: str) -> str:
    """What RFC 2617 wants of user `ann` with password `key/1`."""
    got = dict(re.findall(r'(\w+)="?([^",]+)', told))
    first = hashlib.md5(b"ann:cam:key/1").hexdigest()
    second = hashlib.md5(f"GET:{path}".encode()).hexdigest()
    words = (first, "n", got["nc"], got["cnonce"], "auth", second)
    return hashlib.md5(":".join(words).encode()).hexdigest()


class Camera(BaseHTTPRequestHandler):
    """Answers by path: a status, a page, Basic or Digest."""

    def do_GET(self) -> None:
        kind = self.path.strip("/")
        told = self.headers.get("Authorization", "")
        if kind == "silent":
            self.server.over.wait(20)  # type: ignore[attr-defined]
            return
        if kind == "garbage":
            self.wfile.write(b"\0\1\2 no http\r\n\r\n")
            return
        wants = {"basic": 'Basic realm="cam"', "digest": NONCE}.get(kind)
        right = "Basic " + base64.b64encode(b"ann:key/1").decode()
        if kind == "digest" and told.startswith("Digest"):
            right = told if digest_answer(told, self.path) in told else ""
        if wants is not None and told != right:
            self.send_response(401)
            self.send_header("WWW-Authenticate", wants)
            self.end_headers()
            return
        self.send_response(int(kind) if kind.isdecimal() else 200)
        self.send_header("Content-Type", "image/jpeg" if kind == "broken" else "text/html")
        self.end_headers()
        self.wfile.write(b"<html>no stream</html>")

    def log_message(self, *args: object) -> None:
        """Quietly."""


@pytest.fixture
def host() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    server.over = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.over.set()  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()
    thread.join()


PAGE = "it answers with text/html, which is no stream: check the path of the address"
REFUSED = "it answers 401 Unauthorized: check user and password"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("401", REFUSED),
        ("403", "it answers 403 Forbidden: check user and password"),
        ("404", "it answers 404 Not Found: check the path of the address"),
        ("410", "it answers 410 Gone: check the path of the address"),
        ("503", "it answers 503 Service Unavailable"),
        ("799", "it answers 799"),
        ("index.html", PAGE),
    ],
)
def test_the_log_says_what_the_camera_answers(host: str, path: str, why: str) -> None:
    uri = parse_uri(f"http://{host}/{path}")
    with pytest.raises(SourceError) as told:
        open_network(uri, "door", OpenOptions())
    assert str(told.value) == f"{uri.shown}: {why}"


@pytest.mark.parametrize("way", ["basic", "digest"])
def test_user_and_password_are_told_as_ffmpeg_tells_them(host: str, way: str) -> None:
    for password, why in (("key%2F1", PAGE), ("wrong", REFUSED), ("", REFUSED)):
        assert why_refused(f"http://ann:{password}@{host}/{way}", 5) == why
    assert why_refused(f"http://{host}/{way}", 5) == REFUSED


def test_a_password_is_not_in_what_is_said(host: str) -> None:
    uri = parse_uri(f"http://ann:secret-word@{host}/basic")
    with pytest.raises(SourceError) as told:
        open_network(uri, "door", OpenOptions())
    assert "secret-word" not in str(told.value)
    assert str(told.value).endswith(REFUSED)


@pytest.mark.parametrize("path", ["broken", "garbage"])
def test_what_says_nothing_of_use_is_told_as_before(host: str, path: str) -> None:
    assert why_refused(f"http://{host}/{path}", 5) is None
    with pytest.raises(SourceError, match="the stream is refused, or gave no answer in"):
        open_network(parse_uri(f"http://{host}/{path}"), "door", OpenOptions())


def test_a_server_that_is_silent_is_asked_no_longer_than_allowed(host: str) -> None:
    assert why_refused(f"http://{host}/silent", 0.2) is None


def test_a_port_where_nothing_answers() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    why = why_refused(f"http://ann:pw@127.0.0.1:{port}/x", 5)
    assert why == f"nothing answers at 127.0.0.1:{port}: check the port, and that the camera is on"


def test_a_host_that_there_is_not() -> None:
    why = why_refused("http://no-such-camera.invalid/x", 5)
    assert why == "there is no host no-such-camera.invalid: check the address"
