"""From the outbox to sinks that are slow, down, picky or gone."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from jetson_face.events import delivery
from jetson_face.events.delivery import Deliverer, SinkDownError, SinkRefusedError
from jetson_face.events.older import id_of
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


class HangingSink(ListSink):
    """Takes nothing before it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.release = threading.Event(), threading.Event()

    def send(self, events: Sequence[Event]) -> None:
        self.entered.set()
        self.release.wait(30)
        super().send(events)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    box = Outbox(tmp_path / "outbox.db")
    yield box
    box.close()


def put(outbox: Outbox, *bodies: bytes) -> None:
    outbox.append([("decision", body) for body in bodies])


@contextmanager
def running(deliverer: Deliverer) -> Iterator[None]:
    """Its loop, until the end of the block."""
    stop = threading.Event()
    thread = threading.Thread(target=deliverer.run, args=(stop,), daemon=True)
    thread.start()
    yield
    stop.set()
    thread.join(5)
    assert not thread.is_alive()


def soon(done: Callable[[], bool]) -> bool:
    """Whether it comes true."""
    end = time.monotonic() + 10
    while not done() and time.monotonic() < end:
        time.sleep(0.01)
    return done()


def asked_again(outbox: Outbox, folder: Path, *bodies: bytes) -> tuple[Deliverer, ListSink]:
    """A sink that refused these events, which somebody wants to have sent again."""
    sink = ListSink()
    deliverer = Deliverer("list", outbox, sink, backoff=Backoff(1, 60), draw=lambda: 1.0)
    for body in bodies:
        sink.poison = body
        put(outbox, body)
        deliverer.step()
    sink.poison = None
    with closing(OutboxFile(folder / "outbox.db")) as file:
        file.ask_again([("list", item.event.seq) for item in file.refused()])
    outbox.check()
    return deliverer, sink


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


def test_what_is_left_at_the_end_is_delivered(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_LAST_S", "_DRAIN_S"):  # on a busy machine, too
        monkeypatch.setattr(delivery, name, 10.0)
    sink, stop = ListSink(), threading.Event()
    deliverer = Deliverer("list", outbox, sink)
    put(outbox, b"a", b"b")
    stop.set()
    deliverer.run(stop)
    assert sink.got == [b"a", b"b"]
    assert outbox.state().lag == {"list": 0}


def test_a_batch_is_no_larger_than_the_sink_wants(outbox: Outbox) -> None:
    sink = ListSink()
    deliverer = Deliverer("list", outbox, sink, batch=2)
    put(outbox, b"a", b"b", b"c")
    deliverer.step()
    assert sink.got == [b"a", b"b"]


def test_the_log_says_when_a_sink_went_and_when_it_came_back(
    outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    sink = ListSink()
    sink.errors = [SinkDownError("no route"), SinkDownError("no answer")]
    deliverer = Deliverer("list", outbox, sink)
    for body in (b"a", b"b"):
        put(outbox, body)
        deliverer.step()
    deliverer.step()
    put(outbox, b"c")
    deliverer.step()
    assert [record.getMessage() for record in caplog.records] == [
        "sink_down sink=list error=no route",
        "sink_back sink=list after_failures=2",
    ]


def test_after_a_reload_a_sink_has_sent_as_much_and_is_down_for_as_long(outbox: Outbox) -> None:
    sink = ListSink()
    older = Deliverer("list", outbox, sink, wall=lambda: 1.7e9)
    put(outbox, b"a")
    older.step()
    sink.errors = [SinkDownError("no route")]
    put(outbox, b"b")
    older.step()
    newer = Deliverer("list", outbox, sink)
    newer.go_on_from(older)
    assert (newer.sent, newer.down_since, newer.last_error) == (1, 1.7e9, "no route")


def test_what_is_asked_for_again_comes_in_batches_too(
    outbox: Outbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliverer, sink = asked_again(outbox, tmp_path, b"bad", b"worse")
    deliverer.batch = 1
    assert deliverer.step() == 0.0
    assert sink.got == [b"bad"]
    monkeypatch.setattr(outbox, "settle", lambda item, error: False)
    assert deliverer.step() > 0
    assert sink.got == [b"bad", b"worse"]
    assert deliverer.last_error == "sent again, and the disk takes no note of it"


def test_what_is_sent_again_counts_as_sent(outbox: Outbox, tmp_path: Path) -> None:
    deliverer, sink = asked_again(outbox, tmp_path, b"bad", b"worse")
    put(outbox, b"good")
    assert deliverer.step() == 0.0
    assert sink.got == [b"bad", b"worse", b"good"]
    assert deliverer.sent == 3


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (SinkDownError("no route"), "no route"),
        (ZeroDivisionError("x"), "a fault in the sink: ZeroDivisionError: x"),
    ],
)
def test_what_cannot_be_sent_again_now_waits(
    outbox: Outbox, tmp_path: Path, error: Exception, says: str
) -> None:
    deliverer, sink = asked_again(outbox, tmp_path, b"bad", b"worse")
    sink.errors = [error]
    assert deliverer.step() == 1.0
    assert (sink.got, deliverer.last_error) == ([], says)
    assert outbox.state().set_aside == {"list": 2}


def test_what_is_refused_again_is_kept_with_what_was_said_last(
    outbox: Outbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    deliverer, sink = asked_again(outbox, tmp_path, b"bad")
    sink.errors = [SinkRefusedError("no such field")]
    caplog.clear()
    assert deliverer.step() == 0.0
    with closing(OutboxFile(tmp_path / "outbox.db")) as file:
        (item,) = file.refused()
    assert (item.error, item.tries, item.again) == ("no such field", 2, False)
    (line,) = caplog.messages
    shown = f"sink_refused_again sink=list id={id_of(item.event)} error=no such field"
    assert line == shown
    assert deliverer.sent == 0


def test_a_loop_with_nothing_to_read_ends_when_it_is_told(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, wait = threading.Event(), outbox.wait

    def waiting(name: str, timeout_s: float) -> bool:
        waits.set()
        return wait(name, timeout_s)

    monkeypatch.setattr(outbox, "wait", waiting)
    with running(Deliverer("list", outbox, ListSink())):
        assert waits.wait(5)


def test_the_loop_tries_a_sink_that_was_down_again_after_a_while(outbox: Outbox) -> None:
    sink = ListSink()
    sink.errors = [SinkDownError("no route")]
    put(outbox, b"a")
    with running(Deliverer("list", outbox, sink, backoff=Backoff(0.01, 0.01))):
        assert soon(lambda: sink.got == [b"a"])


def test_a_slow_sink_gets_each_event_once_and_what_comes_later(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_LOOK_S", 0.01)
    sink = HangingSink()
    put(outbox, b"a")
    with running(Deliverer("list", outbox, sink)):
        assert sink.entered.wait(5)
        time.sleep(0.1)  # it is looked at more than once
        sink.release.set()
        put(outbox, b"b")
        assert soon(lambda: sink.got == [b"a", b"b"])


def test_the_thread_that_sends_has_the_name_of_the_sink(outbox: Outbox) -> None:
    names: list[str] = []

    class Naming(ListSink):
        def send(self, events: Sequence[Event]) -> None:
            names.append(threading.current_thread().name)

    put(outbox, b"a")
    with running(Deliverer("door", outbox, Naming())):
        assert soon(lambda: names == ["send-door"])


def test_a_sink_that_hangs_at_the_end_is_left_behind(outbox: Outbox) -> None:
    sink, stop = HangingSink(), threading.Event()
    put(outbox, b"a")
    stop.set()
    Deliverer("h", outbox, sink).run(stop)
    assert sink.entered.is_set()
    assert sink.got == []
    assert not sink.closed.is_set()
    sink.release.set()
    assert sink.closed.wait(5)


def test_a_sink_that_hangs_does_not_hold_up_the_end(outbox: Outbox) -> None:
    sink, stop = HangingSink(), threading.Event()
    thread = threading.Thread(target=Deliverer("h", outbox, sink).run, args=(stop,), daemon=True)
    put(outbox, b"a")
    thread.start()
    assert sink.entered.wait(5)
    stop.set()
    thread.join(1.8)
    assert not thread.is_alive()
    sink.release.set()


def test_at_the_end_what_is_left_goes_also_after_a_slow_call(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_LAST_S", "_DRAIN_S"):
        monkeypatch.setattr(delivery, name, 10.0)
    monkeypatch.setattr(delivery, "_LOOK_S", 0.01)
    sink, stop = HangingSink(), threading.Event()
    thread = threading.Thread(target=Deliverer("h", outbox, sink).run, args=(stop,), daemon=True)
    put(outbox, b"a")
    thread.start()
    assert sink.entered.wait(5)
    put(outbox, b"b")
    stop.set()
    time.sleep(0.1)  # the last look at the step goes by, and the end waits for it
    sink.release.set()
    thread.join(20)
    assert sink.got == [b"a", b"b"]


def test_at_the_end_no_batch_is_begun_after_a_while(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    class Slow(ListSink):
        def send(self, events: Sequence[Event]) -> None:
            nonlocal now
            now += 0.2
            super().send(events)

    sink, stop = Slow(), threading.Event()
    monkeypatch.setattr(delivery, "_LAST_S", 10.0)
    monkeypatch.setattr(delivery, "time", SimpleNamespace(monotonic=lambda: now))
    put(outbox, b"a", b"b", b"c", b"d")
    stop.set()
    Deliverer("list", outbox, sink, batch=1).run(stop)
    assert sink.got == [b"a", b"b"]


def test_an_end_with_nothing_left_waits_for_nothing(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    stop = threading.Event()

    def wait(name: str, timeout_s: float) -> bool:
        waits.append(timeout_s)
        return False

    monkeypatch.setattr(outbox, "wait", wait)
    stop.set()
    Deliverer("list", outbox, ListSink()).run(stop)
    assert waits == [0]


def test_the_end_waits_for_the_last_event(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_LAST_EVENT_S", "_LAST_S", "_DRAIN_S"):
        monkeypatch.setattr(delivery, name, 10.0)
    sink, stop, written = ListSink(), threading.Event(), threading.Event()

    def last() -> None:
        time.sleep(0.05)
        put(outbox, b"last")
        written.set()

    stop.set()
    threading.Thread(target=last).start()
    Deliverer("list", outbox, sink).run(stop, after=written)
    assert sink.got == [b"last"]


def test_the_end_does_not_wait_for_a_last_event_that_does_not_come(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_LAST_EVENT_S", 0.01)
    sink, stop = ListSink(), threading.Event()
    stop.set()
    deliverer = Deliverer("list", outbox, sink)
    thread = threading.Thread(
        target=deliverer.run, args=(stop,), kwargs={"after": threading.Event()}, daemon=True
    )
    thread.start()
    thread.join(5)
    assert not thread.is_alive()


def test_a_fault_in_a_sink_is_told_in_300_characters(outbox: Outbox) -> None:
    sink = ListSink()
    sink.errors = [ValueError("long words " * 100)]
    deliverer = Deliverer("list", outbox, sink)
    put(outbox, b"a")
    deliverer.step()
    assert len(str(deliverer.last_error)) == 300


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
