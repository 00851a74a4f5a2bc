"""The whole way of a frame, with faces that are coloured squares and a network that sees colour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

import numpy as np
import pytest

from jetson_face.core.types import (
    F32,
    Detections,
    Embeddings,
    EmbeddingSpace,
    Frame,
    ImageU8,
    Person,
    Report,
)
from jetson_face.embedding.align import Aligner
from jetson_face.embedding.quality import QualityGate
from jetson_face.events.making import EventMaker
from jetson_face.gallery.matcher import GallerySnapshot, Matcher
from jetson_face.recognition.decision import Decider
from jetson_face.recognition.detection_interval import DetectionInterval
from jetson_face.recognition.embedding_scheduler import EmbeddingBudget, EmbeddingScheduler
from jetson_face.recognition.finder import FaceFinder
from jetson_face.recognition.fusion import Fuser
from jetson_face.recognition.recognizer import FaceRecognizer
from jetson_face.recognition.still_faces import StillFaces
from jetson_face.recognition.track_decisions import TrackDecisions
from jetson_face.recognition.tracker import Tracker

SPACE = EmbeddingSpace("colour", "0" * 64, 3)
RED, GREEN, BLUE = (40, 40, 230), (40, 230, 40), (230, 40, 40)
ADA, BOB = Person("1", "Ada"), Person("2", "Bob")
MS = 1_000_000
Scene = Sequence[tuple[tuple[int, int, int, int], tuple[int, int, int]]]


def frame(seq: int, scene: Scene, *, size: tuple[int, int] = (320, 240)) -> Frame:
    """A grey picture with coloured squares at the given boxes, 40 ms after the last."""
    image = np.full((size[1], size[0], 3), 90, np.uint8)
    for (x0, y0, x1, y1), colour in scene:
        image[y0:y1, x0:x1] = colour
    return Frame(image, seq, seq * 40 * MS, 0.0, "test")


def landmarks_of(boxes: F32) -> F32:
    """Five points where a frontal face has them."""
    shares = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.78], [0.65, 0.78]], np.float32)
    corner, size = boxes[:, None, :2], (boxes[:, None, 2:] - boxes[:, None, :2])
    return np.asarray(corner + shares * size, np.float32)


class ColourDetector:
    """Finds the squares: every connected block that is not grey. Also refines."""

    name = "colour"

    def __init__(self) -> None:
        self.searches = 0
        self.refinements = 0

    def detect(self, image: ImageU8) -> Detections:
        self.searches += 1
        boxes = []
        for colour in (RED, GREEN, BLUE):
            rows, columns = np.nonzero((image == colour).all(axis=2))
            if len(rows):
                boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        found = np.array(boxes, np.float32).reshape(-1, 4)
        return Detections(found, np.full(len(found), 0.9, np.float32), landmarks_of(found))

    def refine(self, image: ImageU8, boxes: F32) -> Detections:
        self.refinements += 1
        found = self.detect(image)
        self.searches -= 1
        out = np.array(boxes, np.float32)
        scores = np.zeros(len(boxes), np.float32)
        points = np.full((len(boxes), 5, 2), np.nan, np.float32)
        for row, box in enumerate(boxes):
            for index, other in enumerate(found.boxes):
                if np.abs((box[:2] + box[2:]) - (other[:2] + other[2:])).max() < 60:
                    out[row], scores[row], points[row] = other, 0.9, found.landmarks[index]
        return Detections(out, scores, points)

    def close(self) -> None:
        pass


class ColourEmbedder:
    """The direction of a crop's mean colour."""

    space = SPACE
    alignment = "arcface112"
    similarity_min = 0.95

    def __init__(self) -> None:
        self.faces = 0

    def embed(self, crops: ImageU8) -> Embeddings:
        self.faces += len(crops)
        means = crops[:, 40:90, 40:70].reshape(len(crops), -1, 3).mean(axis=1) - 39
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        return Embeddings((means / lengths).astype(np.float32), SPACE)

    def close(self) -> None:
        pass


def unit(colour: tuple[int, int, int]) -> F32:
    vector = np.array(colour, np.float32) - 39
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def gallery(*people: tuple[Person, tuple[int, int, int]], revision: int = 0) -> Matcher:
    vectors = np.array([unit(c) for _, c in people], np.float32).reshape(-1, 3)
    index = np.arange(len(people), dtype=np.int64)
    return Matcher(GallerySnapshot(SPACE, vectors, index, tuple(p for p, _ in people), revision))


class Rig:
    """A recogniser over the fakes, and what went in."""

    def __init__(
        self,
        *,
        every: int = 5,
        refine: bool = True,
        people: Callable[[int], Matcher] | None = None,
        embed_interval: int = 5,
        per_frame: int = 8,
        review_margin: float | None = None,
        ask_quality_min: float = 0.0,
        mirror: bool = False,
        embedder: ColourEmbedder | None = None,
        pictures: StillFaces | None = None,
        detector: ColourDetector | None = None,
    ) -> None:
        self.detector = detector or ColourDetector()
        self.embedder = embedder or ColourEmbedder()
        ticks = count(step=MS)
        known = gallery((ADA, RED), (BOB, GREEN))
        decider = Decider(
            0.95, margin_min=0.03, frames_min=2, unknown_after=3, review_margin=review_margin
        )
        budget = EmbeddingBudget(embed_interval, per_frame, 0.0, mirror)
        self.recognizer = FaceRecognizer(
            FaceFinder(
                self.detector,
                self.detector if refine else None,
                DetectionInterval(every),
                Tracker(0.3),
            ),
            EmbeddingScheduler(Aligner("arcface112"), QualityGate(), self.embedder, budget),
            TrackDecisions(
                Fuser(SPACE), decider, people or (lambda _: known), contradiction_below=0.5
            ),
            review_quality_min=ask_quality_min,
            still=pictures,
            timer_ns=lambda: next(ticks),
        )

    def see(self, *scenes: Scene) -> list[Report]:
        return [self.recognizer.process(frame(seq, scene)) for seq, scene in enumerate(scenes)]


def still(
    *faces: tuple[tuple[int, int, int, int], tuple[int, int, int]], times: int
) -> list[Scene]:
    return [faces] * times


A_RED = ((30, 40, 110, 140), RED)
A_GREEN = ((200, 60, 280, 160), GREEN)
A_BLUE = ((200, 60, 280, 160), BLUE)


def said(report: Report) -> list[tuple[int, str, str | None, bool]]:
    return [
        (s.track, s.state, s.person.name if s.person else None, s.changed) for s in report.sightings
    ]


def test_two_people_and_a_stranger_are_decided_once_each() -> None:
    reports = Rig(embed_interval=3).see(*still(A_RED, A_BLUE, times=5))
    assert [said(report) for report in reports] == [
        [(1, "pending", None, False), (2, "pending", None, False)],
        [(1, "known", "Ada", True), (2, "pending", None, False)],
        [(1, "known", "Ada", False), (2, "unknown", None, True)],
        [(1, "known", "Ada", False), (2, "unknown", None, False)],
        [(1, "known", "Ada", False), (2, "unknown", None, False)],
    ]
    last = reports[-1].sightings[0]
    assert last.box == (30, 40, 110, 140)
    assert last.similarity == pytest.approx(1.0, abs=0.01)


class SideEmbedder(ColourEmbedder):
    """Notes on which side of a crop it is brighter."""

    def __init__(self) -> None:
        super().__init__()
        self.sides: list[str] = []

    def embed(self, crops: ImageU8) -> Embeddings:
        for crop in crops.astype(int):
            self.sides.append("left" if crop[:, :56].sum() > crop[:, 56:].sum() else "right")
        return super().embed(crops)


@pytest.mark.parametrize(("mirror", "second"), [(True, "right"), (False, "left")])
def test_every_other_look_at_a_track_is_mirrored(mirror: bool, second: str) -> None:
    embedder = SideEmbedder()
    rig = Rig(embed_interval=1, mirror=mirror, embedder=embedder)
    beside = ((0, 40, 60, 140), (250, 250, 250))  # bright, left of the face, and in its crop
    rig.see(*[(A_RED, beside)] * 4)
    assert embedder.sides == ["left", second, "left", second]


def test_one_frame_in_n_is_searched_and_the_boxes_follow_in_between() -> None:
    rig = Rig(every=5)
    scenes: list[Scene] = [[((30 + 4 * i, 40, 110 + 4 * i, 140), RED)] for i in range(11)]
    reports = rig.see(*scenes)
    assert [report.seq for report in reports if report.searched] == [0, 5, 10]
    assert (rig.detector.searches, rig.detector.refinements) == (3, 8)
    for i, report in enumerate(reports):
        assert report.sightings[0].box == (30 + 4 * i, 40, 110 + 4 * i, 140)
        assert report.sightings[0].track == 1


def test_a_known_face_is_embedded_seldom_and_a_new_one_at_once() -> None:
    rig = Rig(every=5, embed_interval=4)
    reports = rig.see(*still(A_RED, times=6), *still(A_RED, A_GREEN, times=6))
    assert [report.embedded for report in reports] == [1, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1]
    assert said(reports[-1]) == [(1, "known", "Ada", False), (2, "known", "Bob", True)]


def test_a_lost_face_is_looked_for_where_it_was_and_then_searched_for() -> None:
    rig = Rig(every=50)
    moved = ((180, 90, 260, 190), RED)
    reports = rig.see(*still(A_RED, times=3), *still(moved, times=6))
    assert [report.seq for report in reports if report.searched] == [0, 6]
    assert [len(report.sightings) for report in reports[2:7]] == [1, 0, 0, 0, 1]
    assert reports[6].sightings[0].box == (180, 90, 260, 190)


def test_a_face_that_is_back_in_a_moment_is_not_searched_for() -> None:
    rig = Rig(every=50)
    reports = rig.see(*still(A_RED, times=3), [], [], *still(A_RED, times=8))
    assert [report.seq for report in reports if report.searched] == [0]
    assert [len(report.sightings) for report in reports] == [1, 1, 1, 0, 0, *[1] * 8]
    assert {s.track for report in reports for s in report.sightings} == {1}


def test_a_lost_face_is_not_found_again_in_another_ones() -> None:
    rig = Rig(every=50)
    beside = [((120 - 23 * n, 40, 200 - 23 * n, 140), GREEN) for n in range(4)]
    reports = rig.see(*still(A_RED, beside[0], times=2), *([green] for green in beside[1:]))
    assert [[s.track for s in report.sightings] for report in reports] == [[1, 2]] * 2 + [[2]] * 3


def test_without_a_refiner_the_boxes_are_predicted_and_marked_so() -> None:
    rig = Rig(every=5, refine=False)
    reports = rig.see(*still(A_RED, times=6))
    assert [r.sightings[0].detected for r in reports] == [True, False, False, False, False, True]
    assert rig.embedder.faces == 2


def test_somebody_added_while_running_gets_the_name_without_a_new_vector() -> None:
    before, after = gallery((ADA, RED)), gallery((ADA, RED), (BOB, GREEN), revision=1)
    rig = Rig(every=5, embed_interval=100, people=lambda ns: before if ns < 240 * MS else after)
    reports = rig.see(*still(A_GREEN, times=8))
    assert said(reports[5]) == [(1, "unknown", None, False)]
    assert said(reports[6]) == [(1, "known", "Bob", True)]
    assert reports[6].embedded == 0


def test_another_name_is_told_as_a_change() -> None:
    before, after = gallery((ADA, RED)), gallery((BOB, RED), revision=1)
    rig = Rig(people=lambda ns: before if ns < 120 * MS else after)
    reports = rig.see(*still(A_RED, times=5))
    assert [said(report)[0][2:] for report in reports] == [
        (None, False), ("Ada", True), ("Ada", False), ("Bob", True), ("Bob", False),
    ]  # fmt: skip


def test_another_frame_size_starts_new_tracks() -> None:
    rig = Rig()
    rig.see(*still(A_RED, times=2))
    report = rig.recognizer.process(frame(2, [A_RED], size=(400, 300)))
    assert report.searched
    assert said(report) == [(2, "pending", None, False)]
    assert report.size == (400, 300)


def test_a_report_says_which_frame_it_is_of() -> None:
    image = frame(7, [A_RED]).image
    report = Rig().recognizer.process(Frame(image, 7, 280 * MS, 1.5e9, "door"))
    assert (report.source, report.seq, report.captured_ns, report.wall, report.size) == (
        "door", 7, 280 * MS, 1.5e9, (320, 240),
    )  # fmt: skip


def test_a_picture_loses_the_name_it_had_and_who_moves_keeps_it() -> None:
    pictures = StillFaces(150 * MS)
    rig = Rig(every=1, embed_interval=1, pictures=pictures)
    scenes: list[Scene] = [
        (A_RED, ((200 + 24 * (i % 2), 60, 280 + 24 * (i % 2), 160), GREEN)) for i in range(8)
    ]
    reports = rig.see(*scenes)
    assert [said(report)[0][1:3] for report in reports] == [
        ("pending", None), *[("known", "Ada")] * 3, *[("pending", None)] * 4,
    ]  # fmt: skip
    assert [report.embedded for report in reports] == [2] * 4 + [1] * 4
    assert all(said(report)[1][2] == "Bob" for report in reports[1:])
    assert reports[-1].sightings[0].candidates == ()
    assert reports[-1].sightings[0].frames == 0
    hung_elsewhere = [((30, 70, 110, 170), RED)]
    again = [rig.recognizer.process(frame(seq, hung_elsewhere)) for seq in (8, 9)]
    assert [said(report)[0][1:3] for report in again] == [("pending", None), ("known", "Ada")]
    rig.recognizer.process(frame(10, [A_RED], size=(400, 300)))  # all tracks end
    assert pictures._tracks.keys() == {3}


def test_an_empty_scene_and_an_empty_gallery_are_normal() -> None:
    nobody = gallery()
    reports = Rig(people=lambda _: nobody).see(*still(times=2), *still(A_RED, times=12))
    assert reports[0].sightings == ()
    assert reports[0].embedded == 0
    assert reports[-1].sightings[0].state == "unknown"
    assert reports[-1].sightings[0].similarity is None


def test_the_budget_caps_the_faces_of_a_frame_and_nobody_starves() -> None:
    rig = Rig(per_frame=1)
    reports = rig.see(*still(A_RED, A_GREEN, times=6))
    assert max(report.embedded for report in reports) == 1
    assert {name for _, _, name, _ in said(reports[-1])} == {"Ada", "Bob"}


def test_only_stages_that_ran_are_timed() -> None:
    reports = Rig(every=3).see(*still(A_RED, times=2))
    assert set(reports[0].stages_ms) == {"detect", "track", "align", "embed", "decide"}
    assert set(reports[1].stages_ms) >= {"refine", "track", "decide"}
    assert "detect" not in reports[1].stages_ms


@pytest.mark.slow
def test_what_is_remembered_is_bounded_by_who_is_in_view() -> None:
    rig = Rig(every=1)
    for seq in range(400):
        x = (seq * 37) % 200
        scene = [((x, 40, x + 60, 120), RED)] if seq % 3 == 0 else []
        rig.recognizer.process(frame(seq * 10, scene))
    assert len(rig.recognizer._states) <= 12
    assert len(rig.recognizer.decisions.fuser) <= 12


def test_a_sighting_says_landmarks_quality_and_whom_else_the_face_is_like() -> None:
    searched, predicted = Rig(every=2, refine=False).see(*still(A_RED, times=2))
    (face,) = searched.sightings
    box = np.array([A_RED[0]], np.float32)
    assert face.landmarks is not None
    assert face.landmarks == pytest.approx(landmarks_of(box)[0])
    assert face.quality is not None
    assert 0 <= face.quality <= 1
    assert [candidate.person for candidate in face.candidates] == [ADA, BOB]
    (guessed,) = predicted.sightings
    assert (guessed.detected, guessed.landmarks, guessed.quality) == (False, None, None)
    assert guessed.candidates == face.candidates


def test_a_report_names_the_tracks_that_go_on_unseen_and_no_others() -> None:
    """What an event that somebody left is made from."""
    rig = Rig(every=1, refine=False)
    reports = rig.see(*still(A_RED, A_GREEN, times=2), *still(A_GREEN, times=40))
    assert reports[1].unseen == ()
    assert [r.unseen for r in reports[2:4]] == [(1,), (1,)]
    assert reports[-1].unseen == ()
    assert [s.track for s in reports[-1].sightings] == [2]


def test_another_size_ends_all_tracks() -> None:
    rig = Rig(every=1)
    rig.see(*still(A_RED, times=2))
    report = rig.recognizer.process(frame(2, [], size=(400, 240)))
    assert (report.sightings, report.unseen) == ((), ())


def test_a_recogniser_of_another_network_begins_with_other_numbers() -> None:
    old, new = Rig(), Rig()
    maker = EventMaker(())
    maker.of(old.see(*still(A_RED, A_GREEN, times=2))[-1])
    new.recognizer.begin_after(old.recognizer)
    report = new.recognizer.process(frame(2, [A_RED]))
    assert [(e["kind"], e["track"]) for e in maker.of(report)] == [
        ("left", 1), ("left", 2), ("appeared", 3),
    ]  # fmt: skip


class BgrxDetector(ColourDetector):
    """Takes the pixels as they came."""

    takes_bgrx = True

    def detect(self, image: ImageU8) -> Detections:
        assert image.shape[2] == 4
        return super().detect(image[..., :3])


def test_bgrx_frames_are_decided_alike_and_made_bgr_for_those_only_who_want_it() -> None:
    scenes = [*still(A_RED, A_GREEN, times=6), *still(A_RED, times=2)]
    wanted = Rig(every=3).see(*scenes)
    rigs = [Rig(every=3), Rig(every=3)]
    finder = rigs[1].recognizer.finder
    finder.detector = finder.refiner = BgrxDetector()
    for rig, is_made in zip(rigs, (True, False), strict=True):
        for seq, scene in enumerate(scenes):
            bgr = frame(seq, scene)
            four = np.dstack([bgr.image, np.full(bgr.image.shape[:2], 255 - seq, np.uint8)])
            bgrx = Frame(four, seq, bgr.captured_ns, bgr.wall, bgr.source)
            report = rig.recognizer.process(bgrx)
            assert report.sightings == wanted[seq].sightings
            assert report.size == (320, 240)
            assert (bgrx._bgr is not None) == is_made
