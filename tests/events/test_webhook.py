"""The webhook sink with receivers that are decent, slow, hostile, gone, or behind TLS."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from jetson_face.core.errors import MissingDependencyError, UsageError
from jetson_face.core.version import __version__
from jetson_face.events.delivery import SinkDownError, SinkRefusedError
from jetson_face.events.outbox import Event
from jetson_face.events.webhook import WebhookSink
from tests.events.hostile import Hostile, make_certificate, read_request

EVENT = Event(1, 0.0, 2.0, "decision", b'{"name": "Ada"}')
TIMEOUT_S = 0.7
# What a busy machine may add to the deadline; nobody is hostile for less than five seconds.
LATE_S = 2.5
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


class Hook:
    """A decent receiver that answers what it is told, and keeps its connections."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.targets: list[str] = []
        self.clients: set[tuple[str, int]] = set()
        self.close_silently = False
        hook = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                hook.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                hook.headers.append(dict(self.headers))
                hook.targets.append(self.path)
                hook.clients.add(self.client_address)
                answer = hook.answers.pop(0) if hook.answers else (204, {}, b"")
                status, headers, body = answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                # A real one closes an idle connection after a while, and says nothing.
                self.close_connection = hook.close_silently

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?box=1"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def hook() -> Iterator[Hook]:
    server = Hook()
    yield server
    server.close()


@pytest.fixture
def sink_for() -> Iterator[Callable[..., WebhookSink]]:
    """Makes sinks that are closed at the end."""
    made: list[WebhookSink] = []

    def make(url: str, **options: Any) -> WebhookSink:
        made.append(WebhookSink(url, **{"timeout_s": 5.0, **options}))
        return made[-1]

    yield make
    for sink in made:
        sink.close()


Make = Callable[..., WebhookSink]


def down(sink: WebhookSink, matches: str, event: Event = EVENT) -> str:
    """The sink says that it is down, in time, and why."""
    started = time.monotonic()
    with pytest.raises(SinkDownError, match=matches) as caught:
        sink.send([event])
    assert time.monotonic() - started < TIMEOUT_S + LATE_S
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 400
    return text


def test_a_webhook_gets_json_and_the_token(hook: Hook, sink_for: Make) -> None:
    sink = sink_for(hook.url, headers={"Authorization": "Bearer t"})
    sink.send([EVENT])
    sink.send([EVENT, EVENT])
    assert [len(json.loads(body)["events"]) for body in hook.bodies] == [1, 2]
    assert json.loads(hook.bodies[0])["events"][0]["name"] == "Ada"
    assert hook.headers[0]["Authorization"] == "Bearer t"
    assert hook.headers[0]["Content-Type"] == "application/json"
    assert hook.headers[0]["User-Agent"] == f"jetson-face/{__version__}"
    assert hook.targets == ["/hook?box=1"] * 2
    # One connection for both.
    assert len(hook.clients) == 1


def test_any_letters_are_good_in_an_address(hook: Hook, sink_for: Make) -> None:
    sink_for(hook.url.replace("/hook?box=1", "/tür?kasten=süd")).send([EVENT])
    assert hook.targets == ["/t%C3%BCr?kasten=s%C3%BCd"]


def test_user_and_password_of_an_address_are_sent(hook: Hook, sink_for: Make) -> None:
    for who in ("ada:p%40ss", "a%64a"):
        sink_for(hook.url.replace("http://", f"http://{who}@")).send([EVENT])
    told = [headers["Authorization"].removeprefix("Basic ") for headers in hook.headers]
    assert [base64.b64decode(text) for text in told] == [b"ada:p@ss", b"ada:"]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_is_malformed_for_the_receiver_is_refused(
    hook: Hook, sink_for: Make, status: int
) -> None:
    hook.answers = [(status, {}, b"no")]
    sink = sink_for(hook.url)
    with pytest.raises(SinkRefusedError, match=str(status)):
        sink.send([EVENT])
    sink.send([EVENT])


@pytest.mark.parametrize(
    "status", [300, 301, 302, 307, 308, 401, 402, 403, 404, 405, 408, 409, 410, 425, 429, 451,
               500, 502, 503, 507]
)  # fmt: skip
def test_everything_else_is_down_and_loses_nothing(hook: Hook, sink_for: Make, status: int) -> None:
    hook.answers = [(status, {"Location": "/elsewhere"}, b"no")]
    sink = sink_for(hook.url)
    text = down(sink, f"127.0.0.1:[0-9]+ answered {status}")
    assert ("redirects are not followed" in text) == (status < 400)
    sink.send([EVENT])
    # No redirect was followed.
    assert hook.targets == ["/hook?box=1"] * 2


def test_the_text_says_what_to_do(hook: Hook, sink_for: Make) -> None:
    hook.answers = [
        (301, {"Location": "https://new.example/x?token=s3cret\x1b[2J"}, b""),
        (401, {}, b""),
        (404, {}, b""),
    ]
    sink = sink_for(hook.url)
    text = down(sink, "301 Moved Permanently")
    assert "https://new.example/x?token=***" in text
    assert "redirects are not followed" in text
    assert "token" in down(sink, "401 Unauthorized")
    assert "`url`" in down(sink, "404 Not Found")


def test_an_answer_that_says_little_is_told_as_it_is(hook: Hook, sink_for: Make) -> None:
    hook.answers = [(599, {}, b""), (302, {}, b""), (302, {"Location": "/" + "x" * 999}, b"")]
    sink = sink_for(hook.url)
    assert down(sink, "answered 599").endswith(" answered 599")
    assert ": it is at somewhere else now; " in down(sink, "302 Found")
    assert ": it is at /" + "x" * 198 + "… now; " in down(sink, "302 Found")


def test_a_long_answer_is_not_read_to_its_end(hook: Hook, sink_for: Make) -> None:
    hook.answers = [(200, {}, b"x" * (8 << 20))]
    sink = sink_for(hook.url)
    sink.send([EVENT])
    sink.send([EVENT])
    assert len(hook.bodies) == 2


def test_an_answer_without_an_end_is_read_to_the_limit(sink_for: Make) -> None:
    def endless(connection: socket.socket, stop: threading.Event) -> None:
        read_request(connection)
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        servers[0].pour(connection, b"1000\r\n" + b"x" * 4096 + b"\r\n")

    servers: list[Hostile] = []
    with Hostile(endless) as server:
        servers.append(server)
        # The status is the acknowledgement: what follows is of no interest.
        sink_for(f"http://127.0.0.1:{server.port}/").send([EVENT])
        assert server.sent < 8 << 20


def test_proxies_and_passwords_of_the_environment_are_not_used(
    hook: Hook, sink_for: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ada password s3cret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    sink_for(hook.url).send([EVENT])
    assert "Authorization" not in hook.headers[0]


def test_failures_leave_no_descriptor(sink_for: Make) -> None:
    def closes(connection: socket.socket, stop: threading.Event) -> None:
        read_request(connection)

    with Hostile(closes) as server:
        sink = sink_for(f"http://127.0.0.1:{server.port}/")
        down(sink, "RemoteProtocolError")
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(20):
            down(sink, "RemoteProtocolError")
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2


def test_a_packed_answer_is_not_unpacked(hook: Hook, sink_for: Make) -> None:
    bomb = gzip.compress(bytes(64 << 20))
    hook.answers = [(200, {"Content-Encoding": "gzip"}, bomb[:60_000])]
    sink_for(hook.url).send([EVENT])
    assert hook.headers[0]["Accept-Encoding"] == "identity"


def silent(server: Hostile, connection: socket.socket) -> None:
    read_request(connection)
    server.stop.wait(5)


def drips_status(server: Hostile, connection: socket.socket) -> None:
    read_request(connection)
    server.drip(connection, HEAD + b"Content-Length: 0\r\n\r\n")


def drips_headers(server: Hostile, connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(HEAD)
    server.drip(connection, b"X: y\r\n" * 1000)


def drips_body(server: Hostile, connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n")
    server.drip(connection, b"x" * 1000)


def drips_chunks(server: Hostile, connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    server.drip(connection, b"1\r\nx\r\n" * 1000, 0.01)


def continues_for_ever(server: Hostile, connection: socket.socket) -> None:
    read_request(connection)
    server.pour(connection, b"HTTP/1.1 100 Continue\r\n\r\n" * 50)


def hints_for_ever(server: Hostile, connection: socket.socket) -> None:
    read_request(connection)
    server.drip(connection, b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 100, 0.002)


def chunk_of_minus_one(server: Hostile, connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n")
    server.pour(connection, b"x" * 65_536)


def header_for_ever(server: Hostile, connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(HEAD + b"X: ")
    server.pour(connection, b"x" * 65_536)


def headers_for_ever(server: Hostile, connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(HEAD)
    server.pour(connection, b"X: y\r\n" * 1000)


def chunk_extension_for_ever(server: Hostile, connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;x=")
    server.pour(connection, b"x" * 65_536)


def nonsense(server: Hostile, connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(b"\x00\xff\x1b[2J nonsense\r\n\r\n")


def says_nothing_and_closes(server: Hostile, connection: socket.socket) -> None:
    read_request(connection)


def resets(server: Hostile, connection: socket.socket) -> None:
    read_request(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def closes_in_the_body(server: Hostile, connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\nabc")


def never_reads(server: Hostile, connection: socket.socket) -> None:
    server.stop.wait(5)


def switches_protocols(server: Hostile, connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")
    server.pour(connection, b"x" * 65_536)


@pytest.mark.parametrize(
    ("behaviour", "matches"),
    [
        (silent, "no answer"),
        (drips_status, "no answer"),
        (drips_headers, "no answer"),
        (drips_body, "answered 200, and .* in the body"),
        (drips_chunks, "answered 200, and .* in the body"),
        (continues_for_ever, "no answer"),
        (hints_for_ever, "no answer"),
        (chunk_of_minus_one, "answered 200, .*RemoteProtocolError"),
        (header_for_ever, "RemoteProtocolError"),
        (headers_for_ever, "RemoteProtocolError"),
        (chunk_extension_for_ever, "RemoteProtocolError"),
        (nonsense, "RemoteProtocolError"),
        (says_nothing_and_closes, "RemoteProtocolError: Server disconnected"),
        (resets, "ConnectionResetError|ReadError"),
        (closes_in_the_body, "answered 200, .*RemoteProtocolError"),
        (switches_protocols, "answered 101|RemoteProtocolError"),
    ],
)
def test_a_hostile_receiver_is_down_in_time(
    sink_for: Make,
    behaviour: Callable[[Hostile, socket.socket], None],
    matches: str,
) -> None:
    servers: list[Hostile] = []
    with Hostile(lambda connection, _: behaviour(servers[0], connection)) as server:
        servers.append(server)
        # What ends by itself has time: a busy machine must not be what ends it.
        by_deadline = matches == "no answer" or matches.endswith(" in the body")
        timeout_s = TIMEOUT_S if by_deadline else 5
        sink = sink_for(f"http://127.0.0.1:{server.port}/", timeout_s=timeout_s)
        down(sink, matches)
        if behaviour is not continues_for_ever:
            # What the kernel holds, and what one header may be: not what the server has.
            assert server.sent < 8 << 20
        # Once is enough: only a kept connection is tried again.
        assert server.connections == 1


def test_a_receiver_that_does_not_read_is_down_in_time(sink_for: Make) -> None:
    large = Event(1, 0.0, 2.0, "decision", json.dumps({"name": "x" * (16 << 20)}).encode())
    servers: list[Hostile] = []
    with Hostile(lambda connection, _: never_reads(servers[0], connection)) as server:
        servers.append(server)
        sink = sink_for(f"http://127.0.0.1:{server.port}/", timeout_s=TIMEOUT_S)
        down(sink, "while sending", large)


def test_a_name_server_that_is_silent_is_in_the_deadline(
    sink_for: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    def silent_name_server(*args: object, **options: object) -> list[object]:
        released.wait(10)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", silent_name_server)
    try:
        text = down(sink_for("http://bücher.example/", timeout_s=TIMEOUT_S), "while connecting")
    finally:
        released.set()
    assert "xn--bcher-kva.example" in text


def test_a_name_that_is_not_known_is_down(sink_for: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: object, **options: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    down(sink_for("http://nobody.example/"), "nobody.example: .*Name or service not known")


def test_a_connection_that_cannot_even_be_closed_is_down_and_no_more(
    hook: Hook, sink_for: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx

    async def odd(*args: object, **options: object) -> None:
        raise RuntimeError("a fault of the library")

    sink = sink_for(hook.url)
    with monkeypatch.context() as broken:
        broken.setattr(httpx.AsyncHTTPTransport, "handle_async_request", odd)
        broken.setattr(httpx.AsyncHTTPTransport, "aclose", odd)
        down(sink, "RuntimeError: a fault of the library, while connecting")
    sink.send([EVENT])
    assert len(hook.bodies) == 1


def test_what_is_down_is_told_without_user_and_password(sink_for: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(SinkDownError) as told:
        sink_for(f"http://ada:s3cret@127.0.0.1:{port}/hook").send([EVENT])
    assert str(told.value).startswith(f"127.0.0.1:{port}: ")


def test_a_webhook_that_nobody_serves_is_down(sink_for: Make) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    down(sink_for(f"http://127.0.0.1:{port}/"), f"127.0.0.1:{port}: ConnectionRefusedError")


def test_an_idle_connection_that_the_receiver_closed_is_not_down(
    hook: Hook, sink_for: Make
) -> None:
    hook.close_silently = True
    sink = sink_for(hook.url)
    for _ in range(3):
        sink.send([EVENT])
        time.sleep(0.05)
    assert len(hook.bodies) == len(hook.clients) == 3


def test_a_connection_that_was_long_unused_is_made_new(
    hook: Hook, sink_for: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jetson_face.events.webhook._KEPT_S", 0.05)
    sink = sink_for(hook.url)
    sink.send([EVENT])
    time.sleep(0.1)
    sink.send([EVENT])
    assert len(hook.clients) == 2


def test_closing_ends_the_kept_connection(sink_for: Make) -> None:
    ended = threading.Event()

    def waits_for_the_end(connection: socket.socket, stop: threading.Event) -> None:
        read_request(connection)
        connection.sendall(HEAD + b"Content-Length: 0\r\n\r\n")
        if not connection.recv(1):
            ended.set()

    with Hostile(waits_for_the_end) as server:
        sink = sink_for(f"http://127.0.0.1:{server.port}/")
        sink.send([EVENT])
        kept = sink._transport
        sink.close()
        assert ended.wait(4)
        assert kept is not None


def test_a_connection_closed_while_we_ask_is_tried_once_more(sink_for: Make) -> None:
    requests: list[int] = []

    def once(connection: socket.socket, stop: threading.Event) -> None:
        """Answers the first request of each connection, and hangs up at the second."""
        for number in (1, 2):
            if not read_request(connection):
                return
            requests.append(number)
            if number == 1:
                connection.sendall(HEAD + b"Content-Length: 0\r\n\r\n")

    with Hostile(once) as server:
        sink = sink_for(f"http://127.0.0.1:{server.port}/")
        for _ in range(3):
            sink.send([EVENT])
    assert requests == [1, 2, 1, 2, 1]


def test_a_connection_closed_in_an_answer_is_not_tried_again(sink_for: Make) -> None:
    def half(connection: socket.socket, stop: threading.Event) -> None:
        read_request(connection)
        connection.sendall(HEAD + b"Content-Length: 0\r\n\r\n")
        read_request(connection)
        connection.sendall(HEAD + b"Content-Length: 9\r\n\r\nabc")

    with Hostile(half) as server:
        sink = sink_for(f"http://127.0.0.1:{server.port}/")
        sink.send([EVENT])
        # It has the events, perhaps, and something is wrong with it: that is worth a line.
        down(sink, "answered 200, and RemoteProtocolError")
        assert server.connections == 1


def test_a_fault_in_the_exchange_is_down_and_tells_no_token(
    hook: Hook, sink_for: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx

    from jetson_face.util.redact import remember

    remember("s3cret-token-of-the-hook")

    async def odd(*args: object, **options: object) -> None:
        raise ValueError("Illegal header value b'Bearer s3cret-token-of-the-hook\\nx'")

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", odd)
    text = down(sink_for(hook.url), "ValueError")
    assert "s3cret" not in text


@pytest.mark.parametrize(
    "url", ["ftp://host/x", "host/x", "http://", "", "http:///x", "http://h:99999/", "http://h:0/",
            "http://a..b/", "http://h/a b", "http://h/\r\nHost: x", "http://" + "a" * 64]
)  # fmt: skip
def test_an_address_that_is_no_webhook_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match=r"an address|a host|there is no port 0"):
        WebhookSink(url, timeout_s=1)


@pytest.mark.parametrize("value", ["Bearer s3cret\nX: y", "Bearer s3crét", "s3cret\0", ""])
def test_a_header_that_cannot_be_sent_is_refused_without_its_value(value: str) -> None:
    with pytest.raises(UsageError, match="the header Authorization") as caught:
        WebhookSink("http://127.0.0.1/", timeout_s=1, headers={"Authorization": value})
    assert "s3cr" not in str(caught.value)


def test_without_httpx_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "httpx", None)
    with pytest.raises(MissingDependencyError, match="pip install httpx"):
        WebhookSink("http://127.0.0.1/", timeout_s=1)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls") / "server.pem")


@pytest.fixture
def tls_hook(certificate: Path) -> Iterator[Hook]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = Hook(context)
    server.url = server.url.replace("http://", "https://")
    yield server
    server.close()


def test_a_receiver_behind_tls(
    tls_hook: Hook, certificate: Path, sink_for: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = sink_for(tls_hook.url)
    with pytest.raises(SinkDownError, match="CERTIFICATE_VERIFY_FAILED"):
        sink.send([EVENT])
    # What the machine trusts is read again after a failure.
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    for _ in range(2):
        sink.send([EVENT])
    assert len(tls_hook.clients) == 1


def test_a_receiver_that_only_a_librarys_own_list_trusts_is_down(
    tls_hook: Hook, certificate: Path, sink_for: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certifi.where", lambda: str(certificate))
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    down(sink_for(tls_hook.url), "CERTIFICATE_VERIFY_FAILED")


def test_a_handshake_that_never_ends_is_in_the_deadline(sink_for: Make) -> None:
    def never_greets(connection: socket.socket, stop: threading.Event) -> None:
        stop.wait(5)

    with Hostile(never_greets) as server:
        sink = sink_for(f"https://127.0.0.1:{server.port}/", timeout_s=TIMEOUT_S)
        down(sink, "while connecting")


def test_plain_http_behind_https_is_down(hook: Hook, sink_for: Make) -> None:
    down(sink_for(hook.url.replace("http://", "https://")), "SSLError|WRONG_VERSION|record layer")
