"""The status server and its client, over real sockets, with clients that misbehave."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetson_face.core.errors import InputMissingError, OutputError, SourceError
from jetson_face.service.http import BadRequestError, Page, Request, Routes, answer, parse_request
from jetson_face.service.status_server import StatusServer, ask


def fails() -> Page:
    raise RuntimeError("a bug in a page")


ROUTES: Routes = {
    ("GET", "/status"): lambda: Page(200, b'{"state": "ok"}'),
    ("GET", "/big"): lambda: Page(200, b"x" * 3_000_000),
    ("GET", "/bug"): fails,
    ("POST", "/reload"): lambda: Page(202, b"{}"),
}


class Running:
    """A server in a thread."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / ("long" * 30) / "status.sock"
        self.server = StatusServer(ROUTES, unix=self.path, port=0)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.server.run, args=(self.stop,))
        self.thread.start()

    def close(self) -> None:
        self.stop.set()
        self.server.wake()
        self.thread.join(1)
        assert not self.thread.is_alive()

    def get(self, path: str, host: str | None = None, method: str = "GET") -> tuple[int, bytes]:
        assert self.server.port is not None
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=5)
        connection.request(method, path, headers={} if host is None else {"Host": host})
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, body


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    server = Running(tmp_path)
    yield server
    server.close()
    assert not server.path.exists()


def test_both_ways_give_the_page(running: Running) -> None:
    page = ask(running.path, "/status")
    assert (page.status, json.loads(page.body)) == (200, {"state": "ok"})
    assert page.content_type == "application/json"
    assert running.get("/status?x=1") == (200, b'{"state": "ok"}')
    assert running.path.stat().st_mode & 0o777 == 0o660


def test_a_big_page_arrives_whole(running: Running) -> None:
    assert len(ask(running.path, "/big").body) == 3_000_000


def test_changes_are_taken_over_the_unix_socket_only(running: Running) -> None:
    assert ask(running.path, "/reload", "POST").status == 202
    assert running.get("/reload", method="POST")[0] == 403
    assert ask(running.path, "/reload").status == 405


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8470", 200),
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("", 403),
    ],
)
def test_a_foreign_host_name_is_refused(running: Running, host: str, status: int) -> None:
    assert running.get("/status", host)[0] == status


def test_an_unknown_page_says_which_there_are(running: Running) -> None:
    status, body = running.get("/statsu")
    assert status == 404
    assert b"/reload /status" in body


def test_a_bug_in_a_page_is_an_answer_and_a_log_line(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    assert running.get("/bug")[0] == 500
    assert "status_page_failed" in caplog.text
    assert running.get("/status")[0] == 200


def test_silent_clients_shut_nobody_out(running: Running) -> None:
    silent = []
    for _ in range(40):
        sock = socket.socket()
        sock.connect(("127.0.0.1", running.server.port))
        sock.send(b"GET /sta")
        silent.append(sock)
    assert running.get("/status")[0] == 200
    assert ask(running.path, "/status").status == 200
    for sock in silent:
        sock.close()


def test_a_silent_client_is_dropped_after_its_time(tmp_path: Path) -> None:
    now = [0.0]
    server = StatusServer(ROUTES, unix=tmp_path / "s", clock=lambda: now[0])
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(tmp_path / "s"))
        server.step(1)
        now[0] = 3.1
        server.step(0)
        client.settimeout(5)
        assert client.recv(10) == b""
    server.close()
    server.close()


def test_a_socket_left_by_a_killed_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    server = StatusServer(ROUTES, unix=path)
    server.close()


def test_another_file_in_its_place_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(OutputError, match="status_socket"):
        StatusServer(ROUTES, unix=path)
    assert path.read_text() == "precious"


def test_a_port_in_use_is_our_own_error() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(OutputError, match="status_port"):
            StatusServer(ROUTES, unix=None, port=other.getsockname()[1])


def test_asking_where_nothing_runs_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match="systemctl start jetson-face"):
        ask(tmp_path / "none", "/status")


def test_a_service_that_hangs_is_our_own_error(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        with pytest.raises(SourceError, match="does not answer"):
            ask(tmp_path / "s", "/status", timeout_s=0.05)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_our_own_error(data: bytes) -> None:
    for text in (data, data + b"\r\n\r\n", b"GET /" + data + b" HTTP/1.1\r\n\r\n"):
        try:
            request = parse_request(text)
        except BadRequestError:
            continue
        if request is not None:
            assert answer(request, {}, trusted=True).status == 404


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=100), max_size=5))
def test_the_server_outlives_any_bytes(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("s") / "s"
    server = StatusServer(ROUTES, unix=path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(path))
        server.step(1)
        for part in parts:
            try:
                client.send(part)
            except OSError:
                break
            server.step(0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(path))
        client.send(b"GET /status HTTP/1.0\r\n\r\n")
        for _ in range(6):
            server.step(0.01)
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
    server.close()


def test_a_request_is_parsed() -> None:
    text = b"GET /status?a=b HTTP/1.1\r\nHost: LocalHost:80\r\nX: y\r\n\r\n"
    assert parse_request(text) == Request("GET", "/status", "localhost", {"a": "b"})
    assert parse_request(text[:-1]) is None


@pytest.mark.parametrize(
    "text", [b"x" * 8193, b"get / HTTP/1.1\r\n\r\n", b"GET / HTTP/2\r\n\r\n",
             b"GET x HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n"],
)  # fmt: skip
def test_what_is_no_request_is_refused(text: bytes) -> None:
    with pytest.raises(BadRequestError):
        parse_request(text)


def test_what_cannot_be_served_is_named_with_its_own_key(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as raised:
        StatusServer({}, unix=Path("/proc/nowhere/status.sock"), port=0)
    assert str(raised.value).startswith("/proc/nowhere/status.sock: ")
    assert "status_port" not in str(raised.value)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OutputError) as raised:
            StatusServer({}, unix=tmp_path / "status.sock", port=port)
    assert str(raised.value).startswith(f"127.0.0.1:{port}: ")
    assert "status_socket" not in str(raised.value)
