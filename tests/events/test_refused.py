"""What a receiver will not take: set aside one by one, counted on disk, listed, sent again; what
it cannot take now waits."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jetson_face.cli.main import main
from jetson_face.cli.status import describe
from jetson_face.core.types import Person
from jetson_face.events.delivery import Deliverer
from jetson_face.events.outbox import Outbox, OutboxLimits
from jetson_face.events.outbox_file import OutboxFile
from jetson_face.events.outbox_rows import Changes
from jetson_face.events.redaction import NOBODY, mask_outbox
from jetson_face.events.webhook import WebhookSink
from jetson_face.output.run_report import RunFacts, RunReport
from jetson_face.service import pages
from jetson_face.service.notify import HealthVerdict
from jetson_face.util.backoff import Backoff
from jetson_face.util.metrics import to_prometheus
from tests.events.event_help import BOB, face_body, once, read_event


class Receiver:
    """A real HTTP server that keeps events by their id and answers what `answer` says."""

    def __init__(self) -> None:
        self.status = 200
        self.dislikes: set[int] = set()
        self.got: dict[str, int] = {}
        self.requests = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.requests += 1
                data = self.rfile.read(int(self.headers["Content-Length"]))
                body = json.loads(data, object_pairs_hook=once)
                events = [read_event(json.dumps(event)) for event in body["events"]]
                frames = {event["frame"] for event in events}
                status = 422 if frames & receiver.dislikes else receiver.status
                if status < 300:
                    receiver.got |= {event["id"]: event["frame"] for event in events}
                self.send_response(status)
                if status in (301, 302, 307, 308):
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    @property
    def frames(self) -> list[int]:
        return list(self.got.values())

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.close()


class Box:
    """An outbox and its deliverer to the receiver, started again and again."""

    def __init__(self, folder: Path, url: str) -> None:
        self.path, self.url = folder / "outbox.db", url
        self.start()

    def start(self) -> None:
        self.outbox = Outbox(self.path, OutboxLimits(retry_s=0))
        self.deliverer = Deliverer("web", self.outbox, WebhookSink(self.url, timeout_s=5), batch=50)

    def put(self, *frames: int, person: Person = BOB) -> None:
        bodies = [("decided", face_body(person, frame=frame)) for frame in frames]
        assert self.outbox.append(bodies).durable

    def restart(self) -> None:
        self.close()
        self.start()

    def close(self) -> None:
        self.deliverer.sink.close()
        self.outbox.close()

    def sink(self) -> dict[str, Any]:
        found: dict[str, Any] = pages.sinks([self.deliverer], self.outbox.state())["web"]
        return found

    def metrics(self) -> str:
        empty = RunReport("", 0.0, RunFacts(), (), (), (), None, None)
        good = HealthVerdict(True, True, "")
        return to_prometheus(
            pages.service_metrics(self.outbox.state(), [self.deliverer], empty, good, {})
        )


@pytest.fixture
def box(tmp_path: Path, receiver: Receiver) -> Iterator[Box]:
    made = Box(tmp_path, receiver.url)
    yield made
    made.close()


@pytest.mark.parametrize("status", [301, 302, 307, 308, 401, 403, 404, 405, 409, 410, 429, 500])
def test_a_backlog_waits_for_whoever_fixes_address_or_token(
    box: Box, receiver: Receiver, status: int
) -> None:
    box.put(*range(190))
    receiver.status = status
    delays = [box.deliverer.step() for _ in range(5)]
    assert all(0 < delay <= 60 for delay in delays)
    assert receiver.requests == 5
    box.restart()  # somebody corrects the configuration
    receiver.status = 200
    while box.outbox.read("web", 1):
        assert box.deliverer.step() == 0.0
    assert receiver.frames == list(range(190))
    assert box.outbox.state().counts == {}
    assert box.outbox.state().refused == {}


def test_only_what_is_malformed_is_set_aside_and_counted_for_good(
    box: Box, receiver: Receiver
) -> None:
    receiver.dislikes = {3, 77}
    box.put(*range(120))
    for _ in range(3):
        assert box.deliverer.step() == 0.0
    assert receiver.frames == [n for n in range(120) if n not in (3, 77)]
    for _ in range(2):
        state = box.outbox.state()
        assert (state.lag, state.set_aside, state.refused) == (
            {"web": 0}, {"web": 2}, {"web": 2},
        )  # fmt: skip
        assert box.sink()["refused"] == 2
        assert 'jetson_face_sink_refused_total{sink="web"} 2' in box.metrics()
        assert 'jetson_face_sink_set_aside{sink="web"} 2' in box.metrics()
        box.restart()


def test_while_a_receiver_is_down_nothing_is_set_aside(box: Box, receiver: Receiver) -> None:
    receiver.dislikes = {1}
    box.put(0, 1, 2)
    receiver.status = 403  # for those it does not dislike
    assert box.deliverer.step() > 0
    state = box.outbox.state()
    assert (state.set_aside, state.lag) == ({}, {"web": 3})


def test_the_status_says_since_when_and_why(box: Box, receiver: Receiver) -> None:
    box.put(0)
    receiver.status = 403
    before = time.time()
    for _ in range(3):
        box.deliverer.step()
    since = box.deliverer.down_since
    assert since is not None
    assert before <= since <= time.time()
    sink = box.sink()
    assert sink["failures"] == 3
    assert "403" in sink["error"]
    outbox = pages.outbox(box.outbox.state())
    lines = describe({"outbox": outbox, "sinks": {"web": sink}})
    assert f"1 waiting, down since {sink['down_since']}: {sink['error']}" in lines[-1]
    (down,) = (
        sample
        for family in text_string_to_metric_families(box.metrics())
        for sample in family.samples
        if sample.name == "jetson_face_sink_down_since_seconds"
    )
    assert down.labels == {"sink": "web", "why": sink["error"]}
    assert down.value == pytest.approx(since)
    assert 'jetson_face_sink_up{sink="web"} 0' in box.metrics()
    # A reload makes another deliverer: the sink is down for as long as before.
    older = box.deliverer
    box.restart()
    box.deliverer.go_on_from(older)
    assert box.sink()["down_since"] == sink["down_since"]
    receiver.status = 200
    assert box.deliverer.step() == 0.0
    assert (box.sink()["down_since"], box.sink()["error"]) == (None, None)
    assert "down_since" not in box.metrics()


def test_a_command_lists_what_was_refused_and_has_it_sent_again(
    box: Box, receiver: Receiver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = ("--set", f"state_dir={tmp_path}")
    receiver.dislikes = {1, 2}
    box.put(0, 1, 2, 3)
    box.deliverer.step()
    assert main(["events", "refused", *state]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "web  decided  door  Bob  refused 1x: 127.0.0.1:" in lines[0]
    assert "answered 422" in lines[0]
    first = lines[0].split()[0]
    assert main(["events", "refused", "--json", *state]) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [s["event"]["frame"] for s in shown] == [1, 2]
    # One of them, while the service runs; the receiver was fixed meanwhile.
    receiver.dislikes = set()
    assert main(["events", "retry", first, *state]) == 0
    assert capsys.readouterr().out.startswith("1 marked")
    assert not box.outbox.wait("web", 0)
    box.outbox.check()
    assert box.outbox.wait("web", 0)
    assert box.deliverer.step() == 0.0
    assert receiver.frames == [0, 3, 1]
    assert box.outbox.state().set_aside == {"web": 1}
    assert not box.outbox.wait("web", 0) or box.deliverer.step() == 0.0
    # The other one, while it does not; and it is refused again.
    receiver.dislikes = {2}
    box.close()
    assert main(["events", "retry", "--all", *state]) == 0
    box.start()
    assert box.deliverer.step() == 0.0
    assert main(["events", "refused", *state]) == 0
    assert "refused 2x: " in capsys.readouterr().out
    requests = receiver.requests
    assert box.deliverer.step() == 0.0
    assert receiver.requests == requests, "once is once"
    assert box.outbox.state().refused == {"web": 2}


def test_while_the_receiver_is_away_a_retry_waits(box: Box, receiver: Receiver) -> None:
    receiver.dislikes = {1}
    box.put(1)
    box.deliverer.step()
    file = OutboxFile(box.path)
    file.ask_again([("web", 1)])
    file.close()
    box.outbox.check()
    receiver.dislikes, receiver.status = set(), 503
    assert box.deliverer.step() > 0
    assert box.outbox.state().set_aside == {"web": 1}
    receiver.status = 200
    assert box.deliverer.step() == 0.0
    assert (receiver.frames, box.outbox.state().set_aside) == ([1], {})


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["refused"], 4, "no service has left events here"),
        (["retry", "--all"], 4, "no service has left events here"),
    ],
)
def test_where_there_are_no_events_it_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, says: str
) -> None:
    assert main(["events", *words, "--set", f"state_dir={tmp_path}"]) == code
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["retry"], "or --all"),
        (["retry", "x", "--all"], "or --all"),
        (["retry", "x"], "x: no refu"),
    ],
)
def test_a_retry_of_nothing_is_refused(
    box: Box, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert main(["events", *words, "--set", f"state_dir={tmp_path}"]) == 2
    assert says in capsys.readouterr().err
    assert main(["events", "refused", "--set", f"state_dir={tmp_path}"]) == 0
    assert capsys.readouterr().out == "no event was refused\n"


def test_a_damaged_outbox_is_one_line_for_the_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "outbox.db").write_bytes(b"no database")
    assert main(["events", "refused", "--set", f"state_dir={tmp_path}"]) == 5
    assert "cannot be used: file is not a database" in capsys.readouterr().err


def test_removing_a_person_reaches_what_was_refused(box: Box, receiver: Receiver) -> None:
    ada = Person("0f7a2c1e-1111-4111-8111-111111111111", "Ada")
    receiver.dislikes = {1}
    box.put(0, 1, person=ada)
    box.put(2)
    box.deliverer.step()
    with sqlite3.connect(box.path) as db:
        db.execute("UPDATE refused SET error = ?", (f"422: no {ada.id} here",))
    db.close()
    assert mask_outbox(box.path, ada.id) == 2
    file = OutboxFile(box.path)
    (item,) = file.refused()
    file.close()
    assert (item.error, read_event(item.event.body)["person"]) == ("", NOBODY)
    box.close()
    assert ada.id.encode() not in box.path.read_bytes()


def test_what_was_refused_grows_old_and_is_bounded(tmp_path: Path) -> None:
    now = 0.0
    limits = OutboxLimits(max_bytes=200_000, max_age_s=100)
    box = Outbox(tmp_path / "outbox.db", limits, clock=lambda: now)
    box.subscribe("web")
    for frame in range(1000):
        now += 0.01
        box.append([("decided", face_body(frame=frame))])
        assert box.refuse("web", box.read("web", 1)[0], "400")
    state = box.state()
    assert state.used_bytes < 300_000
    assert state.refused == {"web": 1000}
    assert 50 < state.set_aside["web"] == 1000 - state.counts["refused"]
    now += 101
    box.prune()
    assert box.state().set_aside == {}
    assert box.state().counts["refused"] == 1000
    box.close()


def test_a_disk_that_takes_no_note_of_a_refusal_keeps_the_event(
    box: Box, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.dislikes = {1}
    box.put(0, 1)

    def fail(self: OutboxFile, changes: Changes) -> None:
        if changes.refused:
            raise sqlite3.OperationalError("database or disk is full")
        write(self, changes)

    write = OutboxFile.write
    monkeypatch.setattr(OutboxFile, "write", fail)
    assert box.deliverer.step() > 0
    assert "disk takes no note" in str(box.deliverer.last_error)
    monkeypatch.undo()
    assert [read_event(e.body)["frame"] for e in box.outbox.read("web")] == [1]
    assert box.deliverer.step() == 0.0
    assert box.outbox.state().set_aside == {"web": 1}


@pytest.mark.parametrize("how", ["evicted", "unreadable"])
def test_nothing_to_read_costs_nothing(tmp_path: Path, how: str) -> None:
    """The delivery thread asked 31,000 times a second."""
    reads = 0
    broken = False

    class Counting(OutboxFile):
        def read(self, after: int, limit: int) -> Any:
            nonlocal reads
            reads += 1
            if broken:
                raise sqlite3.OperationalError("disk I/O error")
            return super().read(after, limit)

    age = 0.0
    limits = OutboxLimits(max_age_s=10)
    box = Outbox(tmp_path / "outbox.db", limits, clock=lambda: age + time.monotonic(),
                 open_file=Counting)  # fmt: skip
    sink = WebhookSink("http://127.0.0.1:9/", timeout_s=5)
    deliverer = Deliverer("web", box, sink, backoff=Backoff(5, 5))
    box.append([("decided", face_body())] * 5)
    if how == "evicted":
        age += 11
        box.prune()
        assert box.state().rows == 0
    else:
        broken = True
    stop = threading.Event()
    thread = threading.Thread(target=deliverer.run, args=(stop,))
    reads, before = 0, time.process_time()
    thread.start()
    stop.wait(1.5)
    used = time.process_time() - before
    stop.set()
    thread.join(5)
    assert reads <= 4
    assert used < 0.15  # the thread's start and end among it
    if how == "evicted":
        assert box.state().lag == {"web": 0}
    box.close()
