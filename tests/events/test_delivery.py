"""From the outbox to sinks that are slow, down, picky or gone."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from jetson_face.events.delivery import Deliverer, SinkDownError, SinkRefusedError
from jetson_face.events.outbox import Event, Outbox
from jetson_face.events.outbox_file import OutboxFile
from jetson_face.events.webhook import WebhookSink
from jetson_face.util.backoff import Backoff
from tests.events.event_help import face_body, read_event


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
    assert deliverer.step() == 0.0
    assert sink.got == [b"a", b"c"]
    state = outbox.state()
    assert (deliverer.sent, state.refused, state.set_aside) == (2, {"list": 1}, {"list": 1})
    assert outbox.read("list") == []
    assert (deliverer.failures, deliverer.down_since) == (0, None)


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


def test_the_loop_waits_for_as_long_as_there_is_nothing(outbox: Outbox) -> None:
    sink, stop = ListSink(), threading.Event()
    thread = threading.Thread(target=Deliverer("list", outbox, sink).run, args=(stop,))
    thread.start()
    for body in (b"a", b"b"):
        time.sleep(0.3)  # it has looked for the end more than once
        put(outbox, body)
    end = time.monotonic() + 5
    while len(sink.got) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    stop.set()
    thread.join(5)
    assert sink.got == [b"a", b"b"]


def test_what_is_left_at_the_end_is_delivered(outbox: Outbox) -> None:
    sink, stop = ListSink(), threading.Event()
    deliverer = Deliverer("list", outbox, sink)
    put(outbox, b"a", b"b")
    stop.set()
    deliverer.run(stop)
    assert sink.got == [b"a", b"b"]
    assert outbox.state().lag == {"list": 0}


def test_what_is_asked_for_again_comes_in_batches_too(
    outbox: Outbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = ListSink()
    deliverer = Deliverer("list", outbox, sink, batch=1)
    for body in (b"bad", b"worse"):
        sink.poison = body
        put(outbox, body)
        deliverer.step()
    with closing(OutboxFile(tmp_path / "outbox.db")) as file:
        assert file.ask_again([("list", 1), ("list", 2)]) == 2
    outbox.check()
    sink.poison = None
    assert deliverer.step() == 0.0
    assert sink.got == [b"bad"]
    monkeypatch.setattr(outbox, "settle", lambda item, error: False)
    assert deliverer.step() > 0
    assert sink.got == [b"bad", b"worse"]
    assert deliverer.last_error == "sent again, and the disk takes no note of it"


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


def test_a_bug_in_a_sink_is_told_once_and_the_sink_is_tried_again(
    outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    sink = ListSink()
    sink.errors = [ZeroDivisionError("s3cret"), ZeroDivisionError("s3cret"), KeyError("x")]
    deliverer = Deliverer("list", outbox, sink, backoff=Backoff(1, 60), draw=lambda: 1.0)
    put(outbox, b"a")
    assert [deliverer.step(), deliverer.step()] == [1.0, 2.0]
    assert deliverer.last_error == "a fault in the sink: ZeroDivisionError: s3cret"
    assert deliverer.step() == 4.0
    told = [record for record in caplog.records if "sink_failed" in record.message]
    assert len(told) == 2
    assert all(record.exc_info is not None for record in told)
    assert [event.body for event in outbox.read("list")] == [b"a"]
    assert deliverer.step() == 0.0
    assert sink.got == [b"a"]


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


def received(body: bytes) -> list[dict[str, object]]:
    """The events of a webhook's request, each valid by the schema and with no key twice."""
    (events,) = json.loads(body).values()
    for event in events:
        assert json.dumps(event, ensure_ascii=False).encode() in body  # so no key was there twice
    return [read_event(json.dumps(event)) for event in events]


EVENT = Event(1, 0.0, 2.0, "decided", face_body())


def test_a_webhook_gets_json_and_the_token(hook: Hook) -> None:
    sink = WebhookSink(hook.url, timeout_s=5, headers={"Authorization": "Bearer t"})
    sink.send([EVENT])
    sink.send([EVENT, EVENT])
    sink.close()
    (event,) = received(hook.bodies[0])
    assert (event["kind"], event["name"]) == ("decided", "Ada")
    assert received(hook.bodies[1]) == [event, event]
    assert hook.headers[0]["Authorization"] == "Bearer t"
