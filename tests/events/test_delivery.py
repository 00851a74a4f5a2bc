"""From the outbox to sinks that are slow, down, picky or gone."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from jetson_face.core.errors import UsageError
from jetson_face.events.delivery import Deliverer, SinkDownError, SinkRefusedError
from jetson_face.events.outbox import Event, Outbox
from jetson_face.events.remote import MqttSink, WebhookSink, document
from jetson_face.util.backoff import Backoff


class ListSink:
    """Keeps what it gets; raises what it is told to."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.errors: list[Exception] = []
        self.poison: bytes | None = None
        self.closed = threading.Event()

    def send(self, events: Sequence[Event]) -> None:
        if self.errors:
            raise self.errors.pop(0)
        if self.poison in [event.body for event in events]:
            raise SinkRefusedError("422")
        self.got += [event.body for event in events]

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    box = Outbox(tmp_path / "outbox.db")
    yield box
    box.close()


def put(outbox: Outbox, *bodies: bytes) -> None:
    outbox.append([("decision", body) for body in bodies])


def test_a_sink_that_is_down_gets_everything_later_in_order(outbox: Outbox) -> None:
    sink = ListSink()
    sink.errors = [SinkDownError("no route"), SinkDownError("no route")]
    deliverer = Deliverer("list", outbox, sink, backoff=Backoff(1, 60), draw=lambda: 1.0)
    put(outbox, b"a", b"b")
    assert [deliverer.step(), deliverer.step()] == [1.0, 2.0]
    put(outbox, b"c")
    assert (deliverer.failures, deliverer.last_error) == (2, "no route")
    assert deliverer.step() == 0.0
    assert sink.got == [b"a", b"b", b"c"]
    assert (deliverer.sent, deliverer.failures, deliverer.last_error) == (3, 0, None)
    assert outbox.state().lag == {"list": 0}


def test_one_refused_event_does_not_hold_up_the_others(outbox: Outbox) -> None:
    sink = ListSink()
    sink.poison = b"bad"
    deliverer = Deliverer("list", outbox, sink)
    put(outbox, b"a", b"bad", b"c")
    deliverer.step()
    assert sink.got == [b"a", b"c"]
    assert (deliverer.sent, deliverer.refused) == (2, 1)
    assert outbox.read("list") == []


def test_the_loop_delivers_until_it_is_stopped_and_closes_the_sink(outbox: Outbox) -> None:
    sink, stop = ListSink(), threading.Event()
    deliverer = Deliverer("list", outbox, sink)
    thread = threading.Thread(target=deliverer.run, args=(stop,))
    thread.start()
    put(outbox, b"a")
    stop.set()
    put(outbox, b"b")
    thread.join(5)
    assert not thread.is_alive()
    assert sink.closed.wait(5)
    assert sink.got[:1] == [b"a"]


def test_a_sink_that_hangs_does_not_hold_up_the_end(outbox: Outbox) -> None:
    entered, release = threading.Event(), threading.Event()

    class Hanging(ListSink):
        def send(self, events: Sequence[Event]) -> None:
            entered.set()
            release.wait(30)
            super().send(events)

    stop = threading.Event()
    thread = threading.Thread(target=Deliverer("h", outbox, Hanging()).run, args=(stop,))
    put(outbox, b"a")
    thread.start()
    assert entered.wait(5)
    stop.set()
    thread.join(1.8)
    assert not thread.is_alive()
    release.set()


def test_a_bug_in_a_sink_is_not_hidden(outbox: Outbox) -> None:
    sink = ListSink()
    sink.errors = [ZeroDivisionError()]
    deliverer = Deliverer("list", outbox, sink)
    put(outbox, b"a")
    with pytest.raises(ZeroDivisionError):
        deliverer.run(threading.Event())
    assert [event.body for event in outbox.read("list")] == [b"a"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"name": "Ada"}', {"seq": 7, "kind": "decision", "wall": 1.5, "name": "Ada"}),
        (b" {} ", {"seq": 7, "kind": "decision", "wall": 1.5}),
        (b"{ }", {"seq": 7, "kind": "decision", "wall": 1.5}),
        (b"[1]", {"seq": 7, "kind": "decision", "wall": 1.5, "body": [1]}),
    ],
)
def test_an_event_is_one_json_object(body: bytes, expected: dict[str, object]) -> None:
    assert json.loads(document(Event(7, 0.0, 1.5, "decision", body))) == expected


class Hook:
    """A real HTTP server on loopback that answers what it is told."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                hook.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                hook.headers.append(dict(self.headers))
                self.send_response(hook.answers.pop(0) if hook.answers else 204)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
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


EVENT = Event(1, 0.0, 2.0, "decision", b'{"name": "Ada"}')


def test_a_webhook_gets_json_and_the_token(hook: Hook) -> None:
    sink = WebhookSink(hook.url, headers={"Authorization": "Bearer t"})
    sink.send([EVENT])
    sink.send([EVENT, EVENT])
    sink.close()
    assert json.loads(hook.bodies[0]) == {
        "events": [{"seq": 1, "kind": "decision", "wall": 2.0, "name": "Ada"}]
    }
    assert len(json.loads(hook.bodies[1])["events"]) == 2
    assert hook.headers[0]["Authorization"] == "Bearer t"


@pytest.mark.parametrize("status", [500, 503, 408, 429])
def test_answers_that_ask_for_another_try(hook: Hook, status: int) -> None:
    hook.answers = [status]
    sink = WebhookSink(hook.url)
    with pytest.raises(SinkDownError, match=str(status)):
        sink.send([EVENT])
    sink.send([EVENT])
    sink.close()


@pytest.mark.parametrize("status", [301, 400, 401, 404, 422])
def test_answers_that_refuse(hook: Hook, status: int) -> None:
    hook.answers = [status]
    sink = WebhookSink(hook.url)
    with pytest.raises(SinkRefusedError, match=str(status)):
        sink.send([EVENT])
    sink.close()


def test_a_webhook_that_nobody_serves_is_down() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(SinkDownError, match="ConnectionRefusedError"):
        WebhookSink(f"http://127.0.0.1:{port}/").send([EVENT])


def test_a_server_that_talks_nonsense_is_down() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def talk() -> None:
            connection, _ = server.accept()
            connection.recv(10_000)
            connection.sendall(b"\x00\xff nonsense\r\n\r\n")
            connection.close()

        thread = threading.Thread(target=talk)
        thread.start()
        with pytest.raises(SinkDownError):
            WebhookSink(f"http://127.0.0.1:{server.getsockname()[1]}/").send([EVENT])
        thread.join()


@pytest.mark.parametrize("url", ["ftp://host/x", "host/x", "http://", ""])
def test_an_address_that_is_no_webhook_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="http://HOST/PATH"):
        WebhookSink(url)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[tuple[int, Callable[[], None], Callable[[], None]]]:
    """A real mosquitto: (port, start, stop)."""
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    pytest.importorskip("paho.mqtt.client", reason="the extra `mqtt` is not installed")
    if program is None:
        pytest.skip("no mosquitto here: apt-get install mosquitto")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n")
    running: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        running.append(subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL))
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                threading.Event().wait(0.02)
            else:
                return

    def stop() -> None:
        while running:
            running[-1].kill()
            running.pop().wait()

    start()
    yield port, start, stop
    stop()


def test_mqtt_survives_its_broker(
    broker: tuple[int, Callable[[], None], Callable[[], None]], outbox: Outbox
) -> None:
    import paho.mqtt.client as paho

    port, start, stop = broker
    got: list[int] = []
    arrived = threading.Condition()

    def on_message(client: object, data: object, message: paho.MQTTMessage) -> None:
        with arrived:
            got.append(json.loads(message.payload)["seq"])
            arrived.notify_all()

    def listen() -> paho.Client:
        subscribed = threading.Event()
        listener = paho.Client(paho.CallbackAPIVersion.VERSION2)
        listener.on_message = on_message
        listener.on_subscribe = lambda *_: subscribed.set()
        listener.connect("127.0.0.1", port)
        listener.loop_start()
        listener.subscribe("faces", qos=1)
        assert subscribed.wait(5)
        return listener

    listener = listen()
    sink = MqttSink("127.0.0.1", port, topic="faces", timeout_s=2)
    deliverer = Deliverer("mqtt", outbox, sink)
    put(outbox, b"{}", b"{}")
    assert deliverer.step() == 0.0
    with arrived:
        assert arrived.wait_for(lambda: got == [1, 2], 5)
    listener.disconnect()
    listener.loop_stop()
    stop()
    put(outbox, b"{}")
    assert deliverer.step() > 0
    assert deliverer.step() > 0
    start()
    listener = listen()
    assert deliverer.step() == 0.0
    with arrived:
        assert arrived.wait_for(lambda: got == [1, 2, 3], 5)
    listener.disconnect()
    listener.loop_stop()
    sink.close()
