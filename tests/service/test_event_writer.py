"""From the recogniser's thread to the outbox, up to the last event of a run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetson_face.events.making import EventMaker
from jetson_face.events.outbox import Outbox
from jetson_face.events.recorder import EventRecorder
from jetson_face.service.events import EventWriter, Occurrence, tell_end
from jetson_face.service.review_writer import CapturedCandidate
from jetson_face.util.channels import BoundedQueue
from tests.events.event_help import ADA, read_event, report, sighting


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    box = Outbox(tmp_path / "outbox.db")
    box.subscribe("all")
    yield box
    box.close()


def stored(outbox: Outbox) -> list[str]:
    return [str(read_event(event.body)["kind"]) for event in outbox.read("all")]


def test_the_last_events_are_in_the_outbox_when_the_writer_is_done(outbox: Outbox) -> None:
    queue: BoundedQueue[Occurrence | CapturedCandidate] = BoundedQueue(10, "events")
    writer, maker = EventWriter(queue, EventRecorder(outbox), None), EventMaker({"door"})
    stop, told, done = threading.Event(), threading.Event(), threading.Event()
    thread = threading.Thread(target=writer.run, args=(stop,), kwargs={"told": told, "done": done})
    thread.start()
    for event in maker.of(report(0, sighting("known", ADA))):
        queue.put(Occurrence(event, None))
    stop.set()  # the program is told to end while the recogniser has a frame in work
    assert not done.wait(0.3)
    tell_end(maker, queue, told)
    assert done.wait(5)
    thread.join(5)
    assert stored(outbox) == ["appeared", "decided", "left"]
    assert [event["kind"] for event in writer.decisions] == ["decided"]


def test_a_recogniser_that_hangs_does_not_hold_up_the_writer(outbox: Outbox) -> None:
    queue: BoundedQueue[Occurrence | CapturedCandidate] = BoundedQueue(10, "events")
    stop, done = threading.Event(), threading.Event()
    stop.set()
    EventWriter(queue, EventRecorder(outbox), None).run(stop, told=threading.Event(), done=done)
    assert done.is_set()


def test_a_writer_that_failed_lets_the_recogniser_end(outbox: Outbox) -> None:
    queue: BoundedQueue[Occurrence | CapturedCandidate] = BoundedQueue(1, "events")
    queue.put(Occurrence({"kind": "decided", "similarity": float("nan")}, None))
    done, told = threading.Event(), threading.Event()
    with pytest.raises(ValueError, match="JSON"):
        EventWriter(queue, EventRecorder(outbox), None).run(threading.Event(), done=done)
    maker = EventMaker({"door"})
    maker.of(report(0, sighting("known", ADA)))
    tell_end(maker, queue, told)
    assert (done.is_set(), told.is_set()) == (True, True)
