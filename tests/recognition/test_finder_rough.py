"""Searches for large faces alone, landmarks that are rough until a face is cut out, vain crops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from jetson_face.core.types import F32, Detections, Embeddings, ImageU8, Report
from jetson_face.embedding.align import Aligner
from jetson_face.embedding.quality import QualityGate
from jetson_face.recognition.decision import undecided
from jetson_face.recognition.detection_interval import DetectionInterval
from jetson_face.recognition.embedding_scheduler import (
    AlignedCrops,
    EmbeddingBudget,
    EmbeddingScheduler,
)
from jetson_face.recognition.finder import FaceFinder, Found, without_doubles
from jetson_face.recognition.stopwatch import Stopwatch
from jetson_face.recognition.track_state import TrackState
from jetson_face.recognition.tracker import Tracker
from tests.recognition.test_recognizer import (
    A_GREEN,
    A_RED,
    GREEN,
    ColourDetector,
    ColourEmbedder,
    Rig,
    frame,
    landmarks_of,
)

SMALL_GREEN = ((200, 60, 240, 110), GREEN)


class TwoSizes(ColourDetector):
    """Sees faces of 80 pixels and more in a search for large ones."""

    def __init__(self) -> None:
        super().__init__()
        self.large = 0

    def search_large(self, image: ImageU8) -> Detections:
        self.large += 1
        found = self.detect(image)
        self.searches -= 1
        return found[np.asarray(found.boxes[:, 2] - found.boxes[:, 0] >= 80, np.bool_)]

    def saves(self, size: tuple[int, int]) -> bool:
        return size != (160, 120)


class Rough(TwoSizes):
    """Its landmarks are 3 pixels off until it looks again; blind: that finds nothing."""

    blind = False

    def __init__(self) -> None:
        super().__init__()
        self.looked: list[int] = []

    def _off(self, found: Detections) -> Detections:
        return Detections(found.boxes, found.scores, found.landmarks + np.float32(3))

    def search(self, image: ImageU8) -> Detections:
        return self._off(self.detect(image))

    def search_large(self, image: ImageU8) -> Detections:
        return self._off(super().search_large(image))

    def follow(self, image: ImageU8, boxes: F32) -> Detections:
        return self._off(self.refine(image, boxes))

    def sharpen(self, image: ImageU8, boxes: F32) -> F32:
        self.looked.append(len(boxes))
        if self.blind:
            return np.full((len(boxes), 5, 2), np.nan, np.float32)
        return landmarks_of(boxes)


def finder_of(detector: ColourDetector, every: int = 2, small_every: int = 2) -> FaceFinder:
    return FaceFinder(
        detector, detector, DetectionInterval(every), Tracker(0.3), small_every=small_every
    )


def look(finder: FaceFinder, *scenes: Sequence[object]) -> list[Found]:
    watch = Stopwatch(lambda: 0)
    return [finder.find(frame(seq, scene), watch) for seq, scene in enumerate(scenes)]  # type: ignore[arg-type]


def test_every_other_search_is_for_large_faces_and_known_small_ones_are_followed() -> None:
    detector = TwoSizes()
    found = look(finder_of(detector), *[(A_RED, SMALL_GREEN)] * 8)
    assert [f.searched for f in found] == [True, False] * 4
    assert (detector.searches, detector.large) == (2, 2)
    assert {tuple(f.tracks) for f in found} == {(1, 2)}
    assert len({tuple(f.faces.boxes[1]) for f in found}) == 1


def test_a_new_small_face_waits_for_its_search_and_a_large_one_does_not() -> None:
    scenes = [(A_RED,)] * 2 + [(A_RED, SMALL_GREEN)] * 4
    assert [len(f.tracks) for f in look(finder_of(TwoSizes()), *scenes)] == [1, 1, 1, 1, 2, 2]
    scenes = [(A_RED,)] * 2 + [(A_RED, A_GREEN)] * 4
    assert [len(f.tracks) for f in look(finder_of(TwoSizes()), *scenes)] == [1, 1, 2, 2, 2, 2]


def test_the_first_search_after_another_size_is_for_all() -> None:
    detector = TwoSizes()
    finder, watch = finder_of(detector, every=1), Stopwatch(lambda: 0)
    for seq, size in enumerate([(320, 240), (640, 480), (640, 480)]):
        finder.find(frame(seq, (A_RED,), size=size), watch)
    assert (detector.searches, detector.large) == (2, 1)


def test_where_nothing_is_saved_all_are_looked_for() -> None:
    detector = TwoSizes()
    finder, watch = finder_of(detector, every=1), Stopwatch(lambda: 0)
    for seq in range(4):
        finder.find(frame(seq, (A_RED,), size=(160, 120)), watch)
    assert (detector.searches, detector.large) == (4, 0)


def test_a_detector_that_cannot_and_stills_look_for_all_each_time() -> None:
    plain = ColourDetector()
    look(finder_of(plain), *[(A_RED,)] * 6)
    assert plain.searches == 3
    detector = TwoSizes()
    alone = FaceFinder(
        detector, detector, DetectionInterval(1), Tracker(0.3), stills=True, small_every=2
    )
    look(alone, *[(A_RED,)] * 4)
    assert (detector.searches, detector.large) == (4, 0)


class Misses(ColourDetector):
    """Its search finds nothing from the second one on."""

    def detect(self, image: ImageU8) -> Detections:
        found = super().detect(image)
        return found if self.searches == 1 else found[np.zeros(len(found), np.bool_)]

    def refine(self, image: ImageU8, boxes: F32) -> Detections:
        return ColourDetector().refine(image, boxes)


def test_a_known_face_that_a_search_misses_is_looked_for_where_it_was() -> None:
    found = look(finder_of(Misses(), every=1), (A_RED,), (A_RED,), (A_GREEN,))
    assert [f.tracks.tolist() for f in found] == [[1], [1], []]
    assert all(f.searched for f in found)


def test_a_known_face_that_a_search_finds_is_not_there_twice() -> None:
    found = look(finder_of(ColourDetector(), every=1), *[(A_RED, A_GREEN)] * 3)
    assert [f.tracks.tolist() for f in found] == [[1, 2]] * 3


def test_where_less_is_asked_of_a_known_face_the_search_decides() -> None:
    class Easy(Misses, Rough):
        """Rough, and misses."""

    easy = Easy()
    found = look(finder_of(easy, every=1, small_every=1), (A_RED,), (A_RED,))
    assert [f.tracks.tolist() for f in found] == [[1], []]


@pytest.mark.parametrize(("blind", "off"), [(False, 0), (True, 3)])
def test_only_faces_that_are_cut_out_are_looked_at_again(blind: bool, off: int) -> None:
    detector = Rough()
    detector.blind = blind
    finder = finder_of(detector)
    (found,) = look(finder, (A_RED, A_GREEN))
    np.testing.assert_array_equal(found.faces.landmarks, landmarks_of(found.faces.boxes) + 3)
    image = frame(0, (A_RED, A_GREEN))
    sharp = finder.sharpen(image, found, np.array([1]), Stopwatch(lambda: 0))
    wanted = landmarks_of(found.faces.boxes)
    np.testing.assert_array_equal(sharp.faces.landmarks[0], wanted[0] + 3)
    np.testing.assert_array_equal(sharp.faces.landmarks[1], wanted[1] + off)
    assert detector.looked == [1]
    finder.sharpen(image, found, np.zeros(0, np.int64), Stopwatch(lambda: 0))
    assert detector.looked == [1]


def told(found: list[Found]) -> list[list[bool]]:
    """Of each frame, which of its faces were seen."""
    return [(each.faces.scores > 0).tolist() for each in found]


def looking(finder: FaceFinder, wanted: Sequence[set[int]], *scenes: object) -> list[Found]:
    """As `look`; after each frame it is told whom the next one wants."""
    found = []
    for seq, (scene, tracks) in enumerate(zip(scenes, wanted, strict=True)):
        found.append(finder.find(frame(seq, scene), Stopwatch(lambda: 0)))  # type: ignore[arg-type]
        finder.want(tracks)
    return found


def test_a_face_that_is_where_it_was_expected_is_looked_for_on_every_second_frame() -> None:
    found = looking(finder_of(Rough(), every=9), [set()] * 6, *[(A_RED, A_GREEN)] * 6)
    yes, no = [True, True], [False, False]
    assert told(found) == [yes, yes, no, yes, no, yes]
    assert [each.tracks.tolist() for each in found] == [[1, 2]] * 6
    for each in found:
        np.testing.assert_array_equal(each.faces.boxes, found[0].faces.boxes)
        unseen = each.faces.scores == 0
        assert np.isnan(each.faces.landmarks[unseen]).all()
        assert np.isfinite(each.faces.landmarks[~unseen]).all()


def test_without_a_word_of_who_is_wanted_all_are_looked_for() -> None:
    assert told(look(finder_of(Rough(), every=9), *[(A_RED,)] * 4)) == [[True]] * 4


def test_where_landmarks_cost_no_more_all_are_looked_for() -> None:
    found = looking(finder_of(ColourDetector(), every=9), [set()] * 4, *[(A_RED,)] * 4)
    assert told(found) == [[True]] * 4


def test_a_face_that_is_wanted_is_looked_for_and_its_landmarks_are_exact() -> None:
    detector = Rough()
    finder = finder_of(detector, every=9)
    red, small = A_RED, SMALL_GREEN
    wanted: list[set[int]] = [set(), {2}, {2}, {1, 2}, set()]
    found = looking(finder, wanted, *[(red, small)] * 5)
    assert [
        dict(zip(each.tracks.tolist(), seen, strict=True))
        for each, seen in zip(found, told(found), strict=True)
    ] == [
        {1: True, 2: True},
        {1: True, 2: True},
        {1: False, 2: True},
        {1: True, 2: True},
        {1: True, 2: True},
    ]
    for each, sharp in zip(found, [set[int](), set[int](), {2}, {2}, {1, 2}], strict=True):
        for track, box, points in zip(
            each.tracks, each.faces.boxes, each.faces.landmarks, strict=True
        ):
            off = 0 if track in sharp else np.nan if (each is found[2]) else 3
            np.testing.assert_array_equal(points, landmarks_of(box[None])[0] + np.float32(off))
    again = finder.sharpen(frame(4, (red, small)), found[4], np.array([0, 1]), Stopwatch(lambda: 0))
    assert again is found[4]
    assert detector.looked == []


def test_a_search_looks_for_those_as_well_that_could_move_on_unseen() -> None:
    found = looking(finder_of(Rough(), every=2), [set()] * 7, *[(A_RED, SMALL_GREEN)] * 7)
    assert [each.searched for each in found] == [True, False] * 3 + [True]
    assert [all(seen) for seen in told(found)] == [True, True, True, False, True, False, True]


def test_where_another_follows_the_faces_all_landmarks_are_exact() -> None:
    detector = Rough()
    finder = FaceFinder(detector, ColourDetector(), DetectionInterval(1), Tracker(0.3))
    (found,) = look(finder, (A_RED,))
    np.testing.assert_array_equal(found.faces.landmarks, landmarks_of(found.faces.boxes))


class Blind(EmbeddingScheduler):
    """None of its crops shows anybody."""

    tried: list[int]

    def recognisable(
        self, crops: AlignedCrops, vectors: Embeddings
    ) -> tuple[AlignedCrops, Embeddings]:
        self.tried.append(len(crops))
        nothing = np.zeros(0, np.int64)
        return (
            AlignedCrops(nothing, crops.images[:0], crops.quality[:0]),
            Embeddings(vectors.vectors[:0], vectors.space),
        )


def test_a_face_that_shows_nobody_is_tried_ever_more_seldom() -> None:
    rig = Rig(embed_interval=5)
    scheduler = Blind(
        Aligner("arcface112"), QualityGate(), ColourEmbedder(), EmbeddingBudget(5, 8, 0.0)
    )
    scheduler.tried = []
    rig.recognizer.embedding = scheduler
    said: list[Report] = rig.see(*[(A_RED,)] * 18)
    assert [i for i, tried in enumerate(scheduler.tried) if tried] == [0, 2, 6, 11, 16]
    assert said[-1].sightings[0].state == "pending"


def test_a_face_that_suddenly_looks_different_is_tried_at_once() -> None:
    state = TrackState(undecided(0))
    for _ in range(3):
        state.tried_in_vain(5)
    assert state.rest == 5
    state.doubt()
    assert (state.rest, state.doubted) == (0, True)
    state.tried_in_vain(5)
    state.doubt()  # it is in doubt already
    assert state.rest == 2


@pytest.mark.parametrize(
    ("known_score", "left"),
    [(0.9, [0.9, 0.0, 0.8, 0.0]), (0.0, [0.0, 0.7, 0.8, 0.0])],
    ids=["found", "lost as well"],
)
def test_a_lost_face_is_no_other_ones_that_was_found(known_score: float, left: list[float]) -> None:
    """Two that are looked for again may land on one face, too."""
    boxes = np.array(
        [[0, 0, 80, 80], [10, 0, 90, 80], [300, 0, 380, 80], [310, 0, 390, 80]], np.float32
    )
    scores = np.array([known_score, 0.7, 0.8, 0.9], np.float32)
    points = np.ones((4, 5, 2), np.float32)
    found = without_doubles(Detections(boxes, scores, points), 1)
    np.testing.assert_allclose(found.scores, left)
    assert np.isnan(found.landmarks[3]).all()
    assert not np.isnan(points).any()
