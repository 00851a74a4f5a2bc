"""A hundred hostile requests: each gets an answer that refuses it, and nothing breaks."""

from __future__ import annotations

import base64
import json
import socket
import struct
import zlib
from collections.abc import Iterator

import pytest

from tests.web.web_box import WebBox, web_box

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebBox]:
    with web_box(tmp_path_factory.mktemp("h")) as box:
        yield box


def raw(box: WebBox, data: bytes) -> bytes:
    """The status line that these bytes get, empty where the connection is just closed."""
    with socket.create_connection(("127.0.0.1", box.port), timeout=20) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while part := sock.recv(65536):
                answer += part
        except ConnectionResetError:
            pass
    return answer.split(b"\r\n")[0]


TRAVERSALS = [
    "/static/" + path
    for path in (
        "../app.py", "..%2fapp.py", "%2e%2e/app.py", "%2e%2e%2fapp.py", "..%5capp.py",
        "....//app.py", "/etc/passwd", "%00", "app.js%00.css", "..;/app.py", ".", "..",
        "app.js/../../app.py", "%c0%ae%c0%ae/app.py", "\\..\\app.py", "app.js/", "~root",
        "file:///etc/passwd", "app.js?/../../x/../../app.pyc/..", "APP.JS",
    )
] + [
    "/api/v1/people/" + path
    for path in ("..%2f..%2freceipts", "%2e%2e", "a%00", "a/../../settings", "*", "'", "%22%3b--")
]  # fmt: skip
HOSTS = [
    "evil.example", "127.0.0.1.evil.example", "evil.example:8642", "localhost.evil.example",
    "localhost@evil.example", "169.254.169.254", "0.0.0.0", "[::]", "", "localhost evil.example",
    "xn--lclhost-y0a", "127.1", "2130706433", "LOCALHOST.", "127.0.0.1:x",
]  # fmt: skip
QUERIES = [
    "/people?limit=-1", "/people?limit=0", "/people?limit=1e9", "/people?limit=NaN",
    "/people?limit=99999999999999999999", "/people?search=" + "x" * 500,
    "/events?since=1970", "/events?kind=%27%20or%201=1", "/events?state=root",
    "/events?person=%3Cscript%3E", "/events?source=../..", "/events?cursor=1;drop",
    "/events?until=2020-13-45T99:99:99Z", "/events/1/crop", "/events/export?format=exe",
    "/review?cursor=-1", "/review/0/face", "/review/99999999999/face", "/audit?cursor=x",
    "/receipts?limit=501", "/cameras/..%2f/frame", "/cameras/door/frame?width=99999",
    "/cameras/door/frame?after=-5", "/cameras/%00/frame",
]  # fmt: skip
LINES = [
    b"GET /",
    b"GET / FTP/1.1",
    b"GET / HTTP/1.1 x",
    b"\x00\x01\x02",
    b"G\x00T / HTTP/1.1",
    b"GET http://evil.example/ HTTP/1.1",
    b"\x16\x03\x01\x02\x00\x01\x00\x01",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1",
]
HEADERS = [
    b"X: " + b"a" * 70_000,
    b"X Y: z",
    b": z",
    b"Content-Length: 5\r\nContent-Length: 6",
    b"Content-Length: -1",
    b"Content-Length: 5\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked, identity",
]


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is so large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\x00" * 100_000)
    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


PICTURES = [
    b"", b"x", b"\xff\xd8\xff", b"GIF89a", b"\xff\xd8" * 5000, bomb(60_000, 60_000),
    bomb(2**31 - 1, 1), bomb(0, 0), bomb(30_000, 30_000), b"<svg onload='x()'/>", b"PK\x03\x04" * 9,
    b"BM" + b"\xff" * 60, b"II*\x00" + b"\xff" * 60, b"RIFF\xff\xff\xff\xffWEBPVP8 ",
]  # fmt: skip
DEEP = "[" * 5_000 + "]" * 5_000
DOCUMENTS = [
    ("POST", "/people", {}),
    ("POST", "/people", {"name": "", "pictures": [{"data": ""}]}),
    ("POST", "/people", {"name": "a\u202eb", "pictures": [{"data": "AAAA"}]}),
    ("POST", "/people", {"name": "a", "pictures": []}),
    ("POST", "/people", {"name": "a", "pictures": [{"data": "no base64!"}]}),
    ("POST", "/people", {"name": "a", "pictures": [{"data": "AAAA"}] * 25}),
    ("POST", "/people", {"name": "a", "pictures": "AAAA"}),
    ("POST", "/people", {"name": "a", "pictures": [{"data": "AAAA"}], "force": "yes"}),
    ("POST", "/people", {"name": "a", "pictures": [{"data": "AAAA"}], "admin": True}),
    ("POST", "/people/x/merge", {"into": "y" * 5000}),
    ("PATCH", "/people/x", {"name": "z" * 5000}),
    ("POST", "/settings", {"changes": {"state_dir": "/etc"}}),
    ("POST", "/settings", {"changes": {"service.sinks.0.url": "http://evil.example"}}),
    ("POST", "/settings", {"changes": {"sources.0.uri": "/etc/passwd"}}),
    ("POST", "/settings", {"changes": {"__class__": 1}}),
    ("POST", "/settings", {"changes": {"matching.similarity_min": [1]}}),
    ("POST", "/settings", {"changes": {"matching.similarity_min": 99}}),
    ("POST", "/settings", {"changes": {}}),
    ("POST", "/review/decide", {"answers": [{"number": -1, "answer": "yes"}]}),
    ("POST", "/review/decide", {"answers": [{"number": 1, "answer": "yes"}] * 300}),
    ("POST", "/review/undo", {"numbers": [2**70]}),
]


def test_there_are_a_hundred() -> None:
    some = [*TRAVERSALS, *HOSTS, *QUERIES]
    bytes_too = [*LINES, *HEADERS, *PICTURES]
    assert len(some) + len(bytes_too) + len(DOCUMENTS) >= 100


def refused(status: int) -> bool:
    return 400 <= status < 500


def test_paths_lead_nowhere(box: WebBox) -> None:
    for path in TRAVERSALS:
        line = raw(box, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode("latin-1"))
        status = int(line.split()[1]) if line else 400
        # What follows "?" is no path: that one is a file of ours.
        known = path == "/static/app.js?/../../x/../../app.pyc/.."
        assert refused(status) or (known and status == 200), (path, line)


def test_other_hosts_are_refused(box: WebBox) -> None:
    for host in HOSTS:
        line = raw(box, f"GET /api/v1/session HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert line.split()[1] in (b"400", b"421"), (host, line)


def test_queries_are_checked(box: WebBox) -> None:
    client = box.client("admin")
    for path in QUERIES:
        assert refused(client.get(path).status_code), path


def test_what_is_no_http_is_refused(box: WebBox) -> None:
    for first in LINES:
        line = raw(box, first + b"\r\nHost: localhost\r\n\r\n")
        assert not line or refused(int(line.split()[1])) or b"evil" in first, (first[:40], line)
    for header in HEADERS:
        data = b"POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\n" + header + b"\r\n\r\nabcdef"
        line = raw(box, data)
        assert not line or refused(int(line.split()[1])), (header[:40], line)


def test_pictures_that_are_none(box: WebBox) -> None:
    client = box.client("operator")
    for data in PICTURES:
        answer = client.post("/identify", content=data)
        assert refused(answer.status_code), (data[:30], answer.text)
        wanted = {"name": "x", "pictures": [{"data": base64.b64encode(data).decode()}]}
        found = client.post("/people", json=wanted)
        assert found.status_code == 200, found.text
        assert len(found.json()["refused"]) == 1


def test_documents_that_ask_for_too_much(box: WebBox) -> None:
    client = box.client("admin")
    for method, path, document in DOCUMENTS:
        answer = client.request(method, path, json=document)
        assert refused(answer.status_code), (path, document, answer.text)
    for text in (DEEP, '{"changes": ' + DEEP + "}", '{"a":1}' * 1000, "NaN", '"\\ud800"'):
        answer = client.post(
            "/settings", content=text, headers={"Content-Type": "application/json"}
        )
        assert refused(answer.status_code), answer.text
    big = json.dumps({"changes": {"matching.similarity_min": "9" * 5000}})
    answer = client.post("/settings", content=big, headers={"Content-Type": "application/json"})
    assert refused(answer.status_code)


def test_nothing_broke(box: WebBox) -> None:
    assert box.client("viewer").get("/people").json()["items"] == []
    assert box.service.status()["alive"]
    log = box.log.read_text()
    assert "Traceback" not in log
    assert "Traceback" not in box.service.log.read_text()
