"""From a review candidate to the queue of a running service; and a queue that cannot be used."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jetson_face.cli.status import describe
from jetson_face.config import Config, load_config
from jetson_face.core.errors import OutputError
from jetson_face.core.types import Frame, Person, Report, ReviewCandidate, Sighting
from jetson_face.events.making import EventMaker
from jetson_face.events.outbox import Outbox
from jetson_face.events.recorder import EventRecorder
from jetson_face.privacy.audit import files_that_hold
from jetson_face.review.queue import ReviewQueue
from jetson_face.service import pages, plumbing
from jetson_face.service.events import EventTap, EventWriter, OnItsWay
from jetson_face.service.review_writer import ReviewWriter
from jetson_face.util.channels import BoundedQueue
from jetson_face.util.images import decode_picture
from tests.events.event_help import kinds, read_event
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
        self.candidate = ReviewCandidate(7, ADA, 0.4, 0.38, 0.8, face(seed), MARKS)

    def process(self, frame: Frame) -> Report:
        sighting = Sighting(7, BOX, "review", None, 0.4, 5, changed=True)
        return Report(
            frame.source, frame.seq, frame.captured_ns, frame.wall, (160, 160), (sighting,), {},
            searched=True, review_candidates=(self.candidate,),
        )  # fmt: skip


def test_a_review_candidate_is_on_the_disk_with_its_event(tmp_path: Path) -> None:
    pending: BoundedQueue[OnItsWay] = BoundedQueue(10, "events")
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.subscribe("all")
    review_writer = ReviewWriter(lambda: open_queue(tmp_path), lambda: 0.9)
    writer = EventWriter(pending, EventRecorder(outbox), None, review_writer)
    for _ in range(2):
        EventTap(Doubtful(), pending, EventMaker({"door"}), review=True).process(picture())
    writer.drain()
    with open_queue(tmp_path) as queue:
        kept = queue.read(1).item
        assert queue.numbers() == [1]
    assert (kept.candidate, kept.source, kept.track, kept.time) == ("ada", "door", 7, 1e9)
    assert decode_picture(kept.portrait, "").shape == (256, 256, 3)
    assert np.isfinite(kept.landmarks).all()
    documents = [read_event(e.body) for e in outbox.read("all")]
    assert kinds(documents) == 2 * [
        (3, "appeared", 7, "review", None), (3, "decided", 7, "review", None),
    ]  # fmt: skip
    assert review_writer.state() == {
        "waiting": 1, "repeats": 1, "given_up": 0, "not_kept": 0, "error": None,
    }  # fmt: skip
    review_writer.close()
    outbox.close()


@pytest.mark.parametrize("review", [True, False])
def test_candidates_are_cut_out_only_where_they_are_wanted(review: bool) -> None:
    pending: BoundedQueue[OnItsWay] = BoundedQueue(10, "events")
    EventTap(Doubtful(), pending, EventMaker({"door"}), review=review).process(picture())
    assert pending.waiting == 2 + review


def test_a_queue_that_cannot_be_used_costs_items_and_comes_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = True

    def open_it() -> ReviewQueue:
        if bad:
            raise OutputError("review.db: the disk is full")
        return open_queue(tmp_path)

    pending: BoundedQueue[OnItsWay] = BoundedQueue(10, "events")
    outbox = Outbox(tmp_path / "outbox.db")
    review_writer = ReviewWriter(open_it, lambda: 0.9)
    writer = EventWriter(pending, EventRecorder(outbox), None, review_writer)
    for seed in (1, 2, 3):
        EventTap(Doubtful(seed), pending, EventMaker({"door"}), review=True).process(picture())
        writer.drain()
        bad = False
    state = review_writer.state()
    assert (state["waiting"], state["not_kept"], state["error"]) == (2, 1, None)
    assert [r.message.split()[0] for r in caplog.records] == ["review_not_kept", "review_back"]
    assert outbox.state().rows == 6
    review_writer.close()
    outbox.close()


def test_a_queue_deleted_under_the_service_is_begun_again(tmp_path: Path) -> None:
    pending: BoundedQueue[OnItsWay] = BoundedQueue(10, "events")
    outbox = Outbox(tmp_path / "outbox.db")
    review_writer = ReviewWriter(lambda: open_queue(tmp_path), lambda: 0.9)
    writer = EventWriter(pending, EventRecorder(outbox), None, review_writer)
    for seed in (1, 2):
        EventTap(Doubtful(seed), pending, EventMaker({"door"}), review=True).process(picture())
        writer.drain()
        if seed == 1:
            (tmp_path / "review.db").unlink()
    with open_queue(tmp_path) as queue:
        assert len(queue.numbers()) == 1
    assert review_writer.state()["waiting"] == 1
    review_writer.close()
    outbox.close()


@pytest.mark.parametrize(
    ("review", "line"),
    [
        ({"waiting": 3, "error": None}, "review: 3 doubtful faces wait: jetson-face review list"),
        ({"waiting": 1, "error": None}, "review: 1 doubtful face waits: jetson-face review list"),
        ({"waiting": None, "error": "disk full"}, "review: doubtful faces are not kept: disk full"),
    ],
)
def test_the_status_names_what_waits(review: dict[str, object], line: str) -> None:
    assert line in describe({"review": review})
    assert not any("review" in line for line in describe({"review": {"waiting": 0}}))


def test_somebody_removed_has_no_name_in_the_status() -> None:
    last: list[dict[str, Any]] = [
        {"name": name, "person": person} for name, person in (("Ada", "1"), ("Bob", "2"))
    ]
    last.append({"name": None, "person": None})
    last.append({"name": None, "person": None, "before": last[0]})
    last.append({"name": None, "person": None, "before": last[1]})
    shown = pages.decisions(last, {"2"})
    assert [d["name"] for d in shown] == [None, "Bob", None, None, None]
    assert [d["before"]["name"] for d in shown[3:]] == [None, "Bob"]
    assert last[0]["name"] == "Ada"


class Crowd:
    """A new person on every frame."""

    def __init__(self) -> None:
        self.seen = 0

    def process(self, frame: Frame) -> Report:
        self.seen += 1
        person = Person(f"p{self.seen}", "N")
        sighting = Sighting(self.seen, BOX, "known", person, 0.9, 5, changed=True)
        return Report(
            frame.source, frame.seq, frame.captured_ns, frame.wall, (160, 160), (sighting,), {},
            searched=True,
        )  # fmt: skip


def watch(config: Config, frames: int) -> Path:
    """The service's way from decision to disk; the folder of crops."""
    pending: BoundedQueue[OnItsWay] = BoundedQueue(200, "events")
    outbox, crops = plumbing.open_outbox(config)
    tap, writer = Crowd(), EventWriter(pending, EventRecorder(outbox), crops)
    inner = EventTap(tap, pending, EventMaker({"door"}), crops=config.service.crops)
    for _ in range(frames):
        inner.process(picture())
    writer.drain()
    outbox.close()
    return config.state_dir / "crops"


def test_crops_are_off_unless_asked_for(tmp_path: Path) -> None:
    assert not watch(load_config(None, [f"state_dir={tmp_path}"]), 2).exists()


def test_crops_of_a_service_are_private_sealed_and_bounded(tmp_path: Path) -> None:
    settings = [f"state_dir={tmp_path}", "service.crops=true", "service.retention.crops_mib=1"]
    config = load_config(None, settings)
    folder = watch(config, 60)
    files = sorted(folder.iterdir())
    sizes = [path.stat().st_size for path in files]
    assert (1 << 20) - max(sizes) < sum(sizes) <= 1 << 20
    assert len(files) < 60
    assert files[-1].name.endswith("-p60.crop")  # the newest stay
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert files_that_hold([b"JFIF"], files) == []
    _, crops = plumbing.open_outbox(config)
    assert crops is not None
    assert decode_picture(crops.read(crops.stored("p60")[0]), "").shape == (160, 133, 3)
    aged = load_config(None, [*settings, "service.retention.crops_days=1e-12"])
    _, crops = plumbing.open_outbox(aged)
    assert crops is not None
    assert crops.prune() == len(files)
