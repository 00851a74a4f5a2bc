"""From a doubt to the review queue of a running service; and a queue that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jetson_face.errors import OutputError
from jetson_face.flow import BoundedQueue
from jetson_face.pictures import decode_picture
from jetson_face.report.outbox import Outbox
from jetson_face.review.queue import ReviewQueue
from jetson_face.service.events import EventTap, EventWriter, Occurrence
from jetson_face.service.questions import Asked, Questions
from jetson_face.types import Doubt, Frame, Person, Report, Sighting
from tests.review.review_fakes import face, open_queue

ADA = Person("ada", "Ada")
BOX = (20.0, 20.0, 100.0, 120.0)
MARKS = np.array([[45, 60], [75, 60], [60, 78], [48, 95], [72, 95]], np.float32)


def picture() -> Frame:
    image = np.random.default_rng(5).integers(0, 255, (160, 160, 3), np.uint8)
    return Frame(image, 3, 10, 1e9, "door")


class Doubtful:
    """Sees one face, of which it is not sure."""

    def __init__(self, seed: int = 1) -> None:
        self.doubt = Doubt(7, ADA, 0.4, 0.38, 0.8, face(seed), MARKS)

    def process(self, frame: Frame) -> Report:
        sighting = Sighting(7, BOX, "review", None, 0.4, 5, changed=True)
        return Report(
            frame.source, frame.seq, frame.captured_ns, frame.wall, (160, 160), (sighting,), {},
            searched=True, doubts=(self.doubt,),
        )  # fmt: skip


def test_a_doubt_is_on_the_disk_with_its_event(tmp_path: Path) -> None:
    pending: BoundedQueue[Occurrence | Asked] = BoundedQueue(10, "events")
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.subscribe("all")
    questions = Questions(lambda: open_queue(tmp_path), lambda: 0.9)
    writer = EventWriter(pending, outbox, None, questions)
    for _ in range(2):
        EventTap(Doubtful(), pending, review=True).process(picture())
    writer.drain()
    with open_queue(tmp_path) as queue:
        kept = queue.item(1).question
        assert queue.numbers() == [1]
    assert (kept.candidate, kept.source, kept.track, kept.time) == ("ada", "door", 7, 1e9)
    assert decode_picture(kept.portrait, "").shape == (256, 256, 3)
    assert np.isfinite(kept.landmarks).all()
    documents = [json.loads(e.body) for e in outbox.read("all")]
    assert [(d["state"], d["name"], d["person"]) for d in documents] == [("review", None, None)] * 2
    assert questions.state() == {
        "waiting": 1, "repeats": 1, "given_up": 0, "not_kept": 0, "error": None,
    }  # fmt: skip
    questions.close()
    outbox.close()


@pytest.mark.parametrize("review", [True, False])
def test_doubts_are_cut_out_only_where_they_are_wanted(review: bool) -> None:
    pending: BoundedQueue[Occurrence | Asked] = BoundedQueue(10, "events")
    EventTap(Doubtful(), pending, review=review).process(picture())
    assert pending.counts.waiting == 1 + review


def test_a_queue_that_cannot_be_used_costs_questions_and_comes_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = True

    def open_it() -> ReviewQueue:
        if bad:
            raise OutputError("review.db: the disk is full")
        return open_queue(tmp_path)

    pending: BoundedQueue[Occurrence | Asked] = BoundedQueue(10, "events")
    outbox = Outbox(tmp_path / "outbox.db")
    questions = Questions(open_it, lambda: 0.9)
    writer = EventWriter(pending, outbox, None, questions)
    for seed in (1, 2, 3):
        EventTap(Doubtful(seed), pending, review=True).process(picture())
        writer.drain()
        bad = False
    state = questions.state()
    assert (state["waiting"], state["not_kept"], state["error"]) == (2, 1, None)
    assert [r.message.split()[0] for r in caplog.records] == ["review_not_kept", "review_back"]
    assert outbox.state().rows == 3
    questions.close()
    outbox.close()
