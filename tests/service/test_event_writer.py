"""From the recogniser's thread to the outbox, up to the last event of a run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jetson_face.core.types import Frame, Report
from jetson_face.events.history import History
from jetson_face.events.making import EventMaker
from jetson_face.events.outbox import Outbox
from jetson_face.events.recorder import EventRecorder
from jetson_face.events.snapshots import SnapshotStore
from jetson_face.service.events import EventTap, EventWriter, Occurrence, OnItsWay, tell_end
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
    queue: BoundedQueue[OnItsWay] = BoundedQueue(10, "events")
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
    queue: BoundedQueue[OnItsWay] = BoundedQueue(10, "events")
    stop, done = threading.Event(), threading.Event()
    stop.set()
    EventWriter(queue, EventRecorder(outbox), None).run(stop, told=threading.Event(), done=done)
    assert done.is_set()


def test_a_writer_that_failed_lets_the_recogniser_end(outbox: Outbox) -> None:
    queue: BoundedQueue[OnItsWay] = BoundedQueue(1, "events")
    queue.put(Occurrence({"kind": "decided", "similarity": float("nan")}, None))
    done, told = threading.Event(), threading.Event()
    with pytest.raises(ValueError, match="JSON"):
        EventWriter(queue, EventRecorder(outbox), None).run(threading.Event(), done=done)
    maker = EventMaker({"door"})
    maker.of(report(0, sighting("known", ADA)))
    tell_end(maker, queue, told)
    assert (done.is_set(), told.is_set()) == (True, True)


def test_what_was_kept_of_a_face_goes_when_it_proves_to_be_on_the_list(
    tmp_path: Path, outbox: Outbox
) -> None:
    """First unknown, with a crop in history and folder; then of the do-not-recognise list."""

    class Frames:
        def __init__(self, *reports: Report) -> None:
            self.reports = iter(reports)

        def process(self, frame: Frame) -> Report:
            return next(self.reports)

    hidden = replace(sighting("unknown"), withheld=True)
    other = sighting("known", ADA, track=2)
    frames = Frames(
        report(0, sighting("unknown"), other), report(1, hidden, other), report(2, hidden, other)
    )
    history = History(tmp_path / "history.db")
    snapshots = SnapshotStore(tmp_path / "crops", None, age=lambda: 0.0)
    queue: BoundedQueue[OnItsWay] = BoundedQueue(100, "events")
    writer = EventWriter(queue, EventRecorder(outbox, history), snapshots)
    tap = EventTap(frames, queue, EventMaker({"door"}), crops=True, history=True)
    frame = Frame(np.zeros((120, 160, 3), np.uint8), 0, 0, 0.0, "door")
    tap.process(frame)
    writer.drain()
    assert {one.event["track"] for one in history.page() if one.has_crop} == {1, 2}
    assert len(snapshots.stored()) == 2
    tap.process(frame)
    tap.process(frame)
    writer.drain()
    assert {one.event["track"] for one in history.page() if one.has_crop} == {2}
    assert [one.owner for one in snapshots.stored()] == [ADA.id]
    history.close()
