"""What the finder hands to the detector, the refiner, the tracker and the stopwatch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from jetson_face.core.types import F32, I64, Area, Detections, Frame, ImageU8
from jetson_face.detection.detector import moved
from jetson_face.recognition.detection_interval import DetectionInterval
from jetson_face.recognition.finder import FaceFinder, Found, _complete, _covered, _together
from jetson_face.recognition.motion import MovedAreas
from jetson_face.recognition.stopwatch import Stopwatch
from jetson_face.recognition.tracker import Tracker
from tests.recognition.test_finder_rough import Rough, TwoSizes
from tests.recognition.test_motion import FAR, HERE, SIZE, THERE, ByAreas, S
from tests.recognition.test_recognizer import (
    A_GREEN,
    A_RED,
    BLUE,
    GREEN,
    ColourDetector,
    Scene,
    frame,
)

STAGES = {"detect", "track", "refine", "motion"}


class Whole(Rough):
    """Does all that a detector can, and notes how many colours it was given."""

    takes_bgrx = True

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, set[int]] = {}

    def _note(self, what: str, image: ImageU8) -> ImageU8:
        self.given.setdefault(what, set()).add(image.shape[2])
        return np.ascontiguousarray(image[:, :, :3])

    def search(self, image: ImageU8) -> Detections:
        return super().search(self._note("search", image))

    def search_large(self, image: ImageU8) -> Detections:
        return super().search_large(self._note("search_large", image))

    def search_area(self, image: ImageU8, area: Area) -> Detections:
        left, top, right, bottom = area
        part = self._note("search_area", image)[top:bottom, left:right]
        return moved(self._off(self.detect(np.ascontiguousarray(part))), area)

    def takes_areas(self, size: tuple[int, int]) -> bool:
        return True

    def follow(self, image: ImageU8, boxes: F32) -> Detections:
        return super().follow(self._note("follow", image), boxes)

    def sharpen(self, image: ImageU8, boxes: F32) -> F32:
        return super().sharpen(self._note("sharpen", image), boxes)


class Noting(Tracker):
    """Notes which sizes it is told."""

    def __init__(self) -> None:
        super().__init__(0.3)
        self.sizes: dict[str, set[tuple[int, int] | None]] = {}

    def predict(self, captured_ns: int, *, size: tuple[int, int] | None = None) -> tuple[I64, F32]:
        self.sizes.setdefault("predict", set()).add(size)
        return super().predict(captured_ns, size=size)

    def missing(self, captured_ns: int, *, size: tuple[int, int] | None = None) -> F32:
        self.sizes.setdefault("missing", set()).add(size)
        return super().missing(captured_ns, size=size)

    def update(
        self, found: Detections, captured_ns: int, *, size: tuple[int, int] | None = None
    ) -> I64:
        self.sizes.setdefault("update", set()).add(size)
        return super().update(found, captured_ns, size=size)


def bgrx(seq: int, scene: Scene) -> Frame:
    seen = frame(seq, scene, size=SIZE)
    fourth = np.full((*seen.pixels.shape[:2], 1), 7, np.uint8)
    return Frame(np.concatenate([seen.pixels, fourth], axis=2), seq, seen.captured_ns, 0.0, "test")


def test_each_way_of_looking_gets_the_pixels_as_they_came_and_the_size_and_has_its_stage() -> None:
    detector, tracker = Whole(), Noting()
    stages: set[str] = set()
    for by_motion in (MovedAreas(S // 4), None):
        finder = FaceFinder(
            detector, detector, DetectionInterval(2), tracker, small_every=2, moved=by_motion
        )
        tracker.reset()
        for seq, scene in enumerate([[HERE, FAR]] * 4 + [[THERE, FAR]] * 20):
            watch = Stopwatch(lambda: 0)
            found = finder.find(bgrx(seq, scene), watch)
            rows = np.arange(len(found.tracks))
            finder.sharpen(bgrx(seq, scene), found, rows, watch)
            stages |= set(watch.ms)
    ways = ("search", "search_large", "search_area", "follow", "sharpen")
    assert detector.given == {way: {4} for way in ways}
    assert tracker.sizes == {"predict": {SIZE}, "update": {SIZE}, "missing": {SIZE}}
    assert stages == STAGES


class Misses(ColourDetector):
    """Searches find nobody after the first, and known faces are found again."""

    takes_bgrx = True

    def __init__(self) -> None:
        super().__init__()
        self.refined: list[int] = []

    def detect(self, image: ImageU8) -> Detections:
        found = super().detect(np.ascontiguousarray(image[:, :, :3]))
        return found if self.searches == 1 else found[:0]

    def refine(self, image: ImageU8, boxes: F32) -> Detections:
        self.refined.append(image.shape[2])
        found, count = ColourDetector(), len(boxes)
        seen = found.refine(np.ascontiguousarray(image[:, :, :3]), boxes)
        assert len(seen) == count
        return seen


def test_a_face_that_a_search_misses_is_looked_for_where_it_should_be() -> None:
    detector, tracker = Misses(), Noting()
    finder = FaceFinder(detector, detector, DetectionInterval(1), tracker)
    found: list[Found] = []
    stages: set[str] = set()
    for seq in range(3):
        watch = Stopwatch(lambda: 0)
        found.append(finder.find(bgrx(seq, [HERE]), watch))
        stages |= set(watch.ms)
    assert [one.tracks.tolist() for one in found] == [[1]] * 3
    assert set(detector.refined) == {4}
    assert tracker.sizes == {"predict": {SIZE}, "update": {SIZE}}
    assert stages == {"detect", "track", "refine"}


class Blind(ByAreas):
    """Finds nobody in a part."""

    def search_area(self, image: ImageU8, area: Area) -> Detections:
        return super().search_area(image, area)[:0]


@pytest.mark.parametrize("looks_again", [True, False])
def test_a_known_face_that_a_part_does_not_show_is_missed_unless_it_is_followed_for_sure(
    *, looks_again: bool
) -> None:
    detector = Blind()
    refiner = detector if looks_again else ByAreas()
    finder = FaceFinder(
        detector, refiner, DetectionInterval(1), Tracker(0.3), moved=MovedAreas(2 * S)
    )
    watch = Stopwatch(lambda: 0)
    finder.find(frame(0, [HERE, FAR], size=SIZE), watch)
    found = finder.find(frame(1, [THERE, FAR], size=SIZE), watch)
    assert found.spared == "part"
    assert found.searched is False
    assert len(found.tracks) == (2 if looks_again else 1)
    assert [480, 300, 540, 380] in found.faces.boxes.tolist()


def test_after_a_cut_and_after_a_part_the_next_search_is_for_all() -> None:
    detector = TwoSizes()
    finder = FaceFinder(
        detector, detector, DetectionInterval(1), Tracker(0.3), small_every=3
    )  # fmt: skip
    order = []
    for seq, size in enumerate([SIZE, SIZE, (320, 240), (320, 240)]):
        before = detector.searches, detector.large
        finder.find(frame(seq, (A_RED,), size=size), Stopwatch(lambda: 0))
        order.append((detector.searches - before[0], detector.large - before[1]))
    assert order == [(1, 0), (0, 1), (1, 0), (0, 1)]


@pytest.mark.parametrize(("refined", "stills"), [(False, False), (True, True)])
def test_large_faces_alone_are_for_those_that_are_followed(*, refined: bool, stills: bool) -> None:
    detector = TwoSizes()
    refiner = detector if refined else None
    finder = FaceFinder(
        detector, refiner, DetectionInterval(1), Tracker(0.3), small_every=2, stills=stills
    )
    for seq in range(4):
        finder.find(frame(seq, (A_RED,)), Stopwatch(lambda: 0))
    assert (detector.searches, detector.large) == (4, 0)


def test_after_a_part_was_searched_the_next_whole_search_is_for_all() -> None:
    detector = Whole()
    finder = FaceFinder(
        detector, detector, DetectionInterval(1), Tracker(0.3), small_every=2,
        moved=MovedAreas(S // 10),
    )  # fmt: skip
    calls: list[str] = []
    for seq, scene in enumerate([[HERE], [THERE], [THERE], [THERE]]):
        detector.given.clear()
        finder.find(frame(seq, scene, size=SIZE), Stopwatch(lambda: 0))
        calls += [way for way in detector.given if way.startswith("search")]
    assert calls == ["search", "search_area", "search"]


def test_the_whole_frame_is_searched_in_its_time_although_a_part_moves_all_the_while() -> None:
    detector = ByAreas()
    finder = FaceFinder(
        detector, detector, DetectionInterval(1), Tracker(0.3), moved=MovedAreas(S // 4)
    )
    whole = []
    for seq in range(20):
        found = finder.find(frame(seq, [(HERE, THERE)[seq % 2]], size=SIZE), Stopwatch(lambda: 0))
        assert found.spared in ("", "part")
        whole += [seq] if not found.spared else []
    assert whole == [0, 7, 14]


class Forgets(ByAreas):
    """Loses whom it follows."""

    def refine(self, image: ImageU8, boxes: F32) -> Detections:
        found = super().refine(image, boxes)
        return Detections(found.boxes, found.scores * 0, found.landmarks)


def test_where_the_lost_would_be_looked_for_in_most_of_the_frame_all_of_it_is_searched() -> None:
    detector = Forgets()
    finder = FaceFinder(
        detector, detector, DetectionInterval(1), Tracker(0.3), moved=MovedAreas(2 * S)
    )
    large = [((20, 40, 260, 420), GREEN), ((340, 40, 620, 440), BLUE)]
    watch = Stopwatch(lambda: 0)
    finder.find(frame(0, large, size=SIZE), watch)
    found = finder.find(frame(1, large, size=SIZE), watch)
    assert (found.searched, found.spared) == (True, "")


class Lost(TwoSizes):
    """Loses whom it follows, and sees nobody large."""

    def refine(self, image: ImageU8, boxes: F32) -> Detections:
        found = super().refine(image, boxes)
        return Detections(found.boxes, found.scores * 0, found.landmarks)

    def search_large(self, image: ImageU8) -> Detections:
        return super().search_large(image)[:0]


def test_whom_nobody_sees_in_a_search_for_large_faces_is_not_there() -> None:
    detector = Lost()
    finder = FaceFinder(detector, detector, DetectionInterval(1), Tracker(0.3), small_every=2)
    watch = Stopwatch(lambda: 0)
    assert len(finder.find(frame(0, (A_RED, A_GREEN)), watch).tracks) == 2
    assert len(finder.find(frame(1, (A_RED, A_GREEN)), watch).tracks) == 0


def detections(*boxes: Sequence[float]) -> Detections:
    found = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(
        found, np.full(len(found), 0.9, np.float32), np.zeros((len(found), 5, 2), np.float32)
    )


def test_a_box_is_covered_by_an_area_that_it_does_not_leave() -> None:
    boxes = np.array(
        [[10, 10, 20, 20], [0, 0, 50, 40], [45, 10, 55, 20], [10, 35, 20, 45], [60, 60, 70, 70]],
        np.float32,
    )
    assert _covered(boxes, [(0, 0, 50, 40)]).tolist() == [True, True, False, False, False]
    assert _covered(boxes, [(0, 0, 50, 40), (60, 55, 90, 90)]).tolist() == [
        True, True, False, False, True,
    ]  # fmt: skip
    beyond = np.array([[-5, 10, 20, 20], [10, -5, 20, 20], [10, 10, 50.5, 20]], np.float32)
    assert _covered(beyond, [(0, 0, 50, 40)]).tolist() == [False, False, False]


def test_a_face_at_the_edge_of_an_area_counts_where_the_frame_ends_there() -> None:
    whole = detections((0, 10, 20, 30), (30, 0, 50, 20), (80, 30, 99.5, 50), (30, 80, 50, 99.5))
    assert len(_complete(whole, (0, 0, 200, 200), (640, 480))) == 4
    assert len(_complete(whole, (0, 0, 100, 100), (640, 480))) == 2
    assert len(_complete(whole, (0, 0, 100, 100), (100, 100))) == 4
    for area in ((0, 0, 640, 480), (5, 0, 640, 480), (0, 5, 640, 480)):
        kept = _complete(detections((area[0], 100, 60, 140), (100, area[1], 160, 60)), area, SIZE)
        assert len(kept) == 2 - (area[0] > 0) - (area[1] > 0)


def test_a_face_is_another_where_it_overlaps_little() -> None:
    one = detections((0, 0, 100, 100))
    assert len(_together(one, detections((0, 0, 100, 90), (200, 0, 300, 100)))) == 2
    assert len(_together(one, detections((200, 0, 300, 100)), detections((205, 0, 300, 100)))) == 2
