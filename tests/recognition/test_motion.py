"""Searches only where something moved: what is seen as moved, and what is searched then."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from jetson_face.core.types import F32, Area, Detections, Frame, ImageU8, Pixels
from jetson_face.recognition.detection_interval import DetectionInterval
from jetson_face.recognition.finder import FaceFinder, Found
from jetson_face.recognition.motion import MovedAreas
from jetson_face.recognition.scene_cut import SceneCuts
from jetson_face.recognition.stopwatch import Stopwatch
from jetson_face.recognition.tracker import Tracker
from tests.recognition.test_recognizer import BLUE, GREEN, MS, RED, ColourDetector, Scene, frame

S = 1000 * MS
SIZE = (640, 480)
NOBODY = np.zeros((0, 4), np.float32)
HERE, THERE = ((40, 60, 100, 140), GREEN), ((48, 64, 108, 144), GREEN)
FAR = ((480, 300, 540, 380), BLUE)


def room(seed: int = 1, noise: float = 0.0, light: float = 1.0) -> ImageU8:
    """Large tiles; the sensor's noise is another in each picture."""
    width, height = SIZE
    tiles = np.random.default_rng(0).uniform(30, 170, (height // 40, width // 40, 3))
    image = light * np.kron(tiles, np.ones((40, 40, 1)))
    image += np.random.default_rng(seed).normal(0, noise, image.shape) if noise else 0
    return np.asarray(np.clip(image, 0, 255), np.uint8)


def changed(before: Pixels, now: Pixels) -> Sequence[Area] | None:
    """What is to be searched of a picture, some time after another was."""
    moved = MovedAreas(2 * S)
    assert not moved.look(before, 0)
    moved.searched(None, 0)
    return seen(moved, now, S)


def seen(moved: MovedAreas, image: Pixels, at_ns: int) -> Sequence[Area] | None:
    """What is to be searched now; None: all."""
    return moved.areas(NOBODY) if moved.look(image, at_ns) else None


@pytest.mark.parametrize("noise", [0, 2, 6, 12])
def test_noise_is_no_motion(noise: float) -> None:
    assert changed(room(1, noise), room(2, noise)) == []


@pytest.mark.parametrize("light", [0.7, 0.9, 1.2])
def test_more_or_less_light_is_no_motion(light: float) -> None:
    assert changed(room(1, 2), room(2, 2, light)) == []


@pytest.mark.parametrize(("noise", "contrast"), [(0, 8), (2, 10), (6, 25), (12, 60)])
@pytest.mark.parametrize("channels", [3, 4])
def test_what_changed_is_seen_through_the_noise(noise: float, contrast: int, channels: int) -> None:
    before, now = room(1, noise), room(2, noise)
    now[200:240, 320:360] = np.clip(now[200:240, 320:360].astype(int) + contrast, 0, 255)
    before, now = (np.concatenate([p, p[..., :1]], axis=2)[..., :channels] for p in (before, now))
    ((left, top, right, bottom),) = changed(before, now) or []
    assert left <= 320 - 40 <= 360 + 40 <= right  # a block more on each side: a face is there
    assert top <= 200 - 40 <= 240 + 40 <= bottom
    assert (right - left) * (bottom - top) < 0.15 * SIZE[0] * SIZE[1]


@pytest.mark.parametrize(("contrast", "is_seen"), [(45, True), (36, False)])
def test_a_change_counts_with_the_eight_cells_around_it(contrast: int, is_seen: bool) -> None:
    """A ninth of 45 levels is above the least change, of 36 it is not."""
    now = room()
    now[200:205, 300:305] += np.uint8(contrast)  # one cell
    assert bool(changed(room(), now)) == is_seen


@pytest.mark.parametrize(("noise", "light", "contrast"), [(6, 1.0, 6), (2, 0.7, 8), (2, 0.5, 8)])
def test_little_more_than_the_noise_is_seen_also_in_another_light(
    noise: float, light: float, contrast: int
) -> None:
    now = room(2, noise, light)
    now[200:280, 320:400] = np.clip(now[200:280, 320:400].astype(int) + contrast, 0, 255)
    assert changed(room(1, noise), now)


def test_areas_do_not_touch_and_most_of_the_frame_is_all_of_it() -> None:
    def with_boxes(*boxes: Area) -> ImageU8:
        image = room()
        for left, top, right, bottom in boxes:
            image[top:bottom, left:right] = 250
        return image

    two = changed(room(), with_boxes((20, 20, 60, 60), (564, 404, 596, 436)))
    assert two is not None
    assert sorted(two) == [(0, 0, 120, 120), (520, 360, 640, 480)]
    joined = changed(room(), with_boxes((204, 104, 236, 136), (264, 184, 296, 216)))
    assert joined == [(160, 40, 360, 280)]
    assert changed(room(), with_boxes((0, 0, 640, 200))) is None
    corners = ((0, 0, 40, 40), (600, 0, 640, 40), (0, 440, 40, 480), (600, 440, 640, 480))
    assert changed(room(), with_boxes(*corners)) is None  # more than three would be one around all


def test_three_areas_stay_three_and_four_become_one_around_all() -> None:
    def where(*corners: tuple[int, int]) -> list[Area]:
        now = room()
        for left, top in corners:
            now[top + 4 : top + 36, left + 4 : left + 36] = 250
        return sorted(changed(room(), now) or [])

    three = [(80, 80), (280, 80), (480, 80)]
    assert where(*three) == [(left - 40, 40, left + 80, 160) for left, _ in three]
    four = [(40, 40), (240, 40), (40, 240), (240, 240)]
    assert where(*four) == [(0, 0, 320, 320)]


def test_a_lost_face_is_looked_for_in_one_and_a_half_of_its_longer_side_around() -> None:
    moved = MovedAreas(2 * S)
    moved.look(room(), 0)
    moved.searched(None, 0)
    assert moved.look(room(), S)
    assert moved.areas(np.array([[205, 245, 225, 285]], np.float32)) == [(120, 160, 320, 360)]
    assert moved.areas(np.array([[205, 245, 245, 265]], np.float32)) == [(120, 160, 320, 360)]


@pytest.mark.parametrize("other", [(280, 40), (280, 360), (40, 200), (520, 200)])
def test_an_area_that_was_searched_says_nothing_of_what_is_beside_it(
    other: tuple[int, int],
) -> None:
    moved, now = MovedAreas(100 * S), room()
    moved.look(room(), 0)
    moved.searched(None, 0)
    for left, top in ((280, 200), other):
        now[top + 4 : top + 36, left + 4 : left + 36] = 250
    moved.look(now, S)
    moved.searched([(240, 160, 360, 280)], S)
    left, top = other
    around = (max(0, left - 40), max(0, top - 40), left + 80, top + 80)
    assert seen(moved, now, 2 * S) == [around]


def test_upright_and_odd_pictures_have_their_areas_inside() -> None:
    for size in ((480, 640), (647, 361), (160, 120)):
        image = np.full((size[1], size[0], 3), 60, np.uint8)
        now = image.copy()
        now[-20:, -20:] = 200
        ((left, top, right, bottom),) = changed(image, now) or []
        assert (right, bottom) == size
        assert 0 < left < size[0] - 20
        assert 0 < top < size[1] - 20


def test_slow_motion_is_seen_once_it_went_far_enough() -> None:
    moved, saw = MovedAreas(100 * S), []
    for step in range(30):
        image = room()
        image[200:280, 100:180] = 60 + 2 * step
        areas = seen(moved, image, step * S)
        if step == 0:
            moved.searched(None, 0)
        saw.append(bool(areas))
    assert saw == [False] * 3 + [True] * 27  # 6 grey levels of 60


def test_only_what_was_searched_is_compared_with_now() -> None:
    moved = MovedAreas(100 * S)
    seen(moved, room(), 0)
    moved.searched(None, 0)
    now = room()
    now[20:60, 20:60] = now[404:436, 564:596] = 250
    areas = seen(moved, now, S)
    assert areas is not None
    assert len(areas) == 2
    moved.searched(areas[:1], S)
    assert seen(moved, now, 2 * S) == areas[1:]


def test_the_whole_frame_is_due_after_its_time_at_first_and_when_time_goes_back() -> None:
    moved = MovedAreas(2 * S)
    image = room()
    assert seen(moved, image, 5 * S) is None
    moved.searched(None, 5 * S)
    assert seen(moved, image, 7 * S - 1) == []
    assert seen(moved, image, 7 * S) is None
    assert seen(moved, image, 5 * S - 1) is None
    moved.reset()
    assert seen(moved, image, 6 * S) is None


class Counting(ColourDetector):
    """Counts the pixels that it searches."""

    def __init__(self) -> None:
        super().__init__()
        self.pixels: list[int] = []
        self.areas: list[Area] = []

    def detect(self, image: ImageU8) -> Detections:
        self.pixels.append(image.shape[0] * image.shape[1])
        return super().detect(image)

    def refine(self, image: ImageU8, boxes: F32) -> Detections:
        before = list(self.pixels)
        found = super().refine(image, boxes)
        self.pixels = before
        return found

    def searched(self) -> int:
        """Pixels since it was last asked."""
        count, self.pixels = sum(self.pixels), []
        return count


class ByAreas(Counting):
    """Can search a part alone."""

    def search_area(self, image: ImageU8, area: Area) -> Detections:
        left, top, right, bottom = area
        self.areas.append(area)
        found = self.detect(np.ascontiguousarray(image[top:bottom, left:right]))
        corner = np.array([left, top], np.float32)
        return Detections(found.boxes + np.tile(corner, 2), found.scores, found.landmarks + corner)

    def takes_areas(self, size: tuple[int, int]) -> bool:
        return size == SIZE


ALL = SIZE[0] * SIZE[1]


def finder_of(
    detector: Counting, every: int = 5, full_search_s: float = 2.0, *, refine: bool = True,
    tracker: Tracker | None = None, cuts: SceneCuts | None = None, stills: bool = False,
) -> FaceFinder:  # fmt: skip
    return FaceFinder(
        detector,
        detector if refine else None,
        DetectionInterval(every),
        tracker or Tracker(0.3),
        cuts=cuts,
        stills=stills,
        moved=MovedAreas(round(full_search_s * S)),
    )


def look(finder: FaceFinder, *scenes: Scene, first: int = 0) -> list[Found]:
    watch = Stopwatch(lambda: 0)
    return [
        finder.find(frame(first + n, scene, size=SIZE), watch) for n, scene in enumerate(scenes)
    ]


def spared(found: Sequence[Found]) -> list[str]:
    """Of each search that was due: what was left out."""
    return [f.spared or "nothing" for f in found if f.searched or f.spared]


def test_a_still_scene_is_searched_once_and_again_after_its_time() -> None:
    detector = ByAreas()
    finder = finder_of(detector)
    found = look(finder, *[[HERE]] * 50)  # 40 ms each: frame 50 is 2 s after the first
    assert detector.searched() == ALL
    assert spared(found) == ["nothing", *["all"] * 9]
    assert {tuple(f.tracks) for f in found} == {(1,)}
    assert not any(f.searched for f in found[1:])
    found = look(finder, *[[HERE]] * 5, first=50)
    assert detector.searched() == ALL
    assert spared(found) == ["nothing"]


def test_only_the_moving_part_is_searched_and_boxes_are_the_frames() -> None:
    detector = ByAreas()
    finder = finder_of(detector, every=1)
    look(finder, [HERE, FAR])
    detector.searched()
    (found,) = look(finder, [THERE, FAR], first=1)
    assert found.spared == "part"
    assert 0 < detector.searched() < 0.2 * ALL
    ((left, top, right, bottom),) = detector.areas
    assert (left, top) == (0, 0)
    assert right <= 200
    assert bottom <= 240
    assert found.tracks.tolist() == [1, 2] or found.tracks.tolist() == [2, 1]
    by_track = dict(zip(found.tracks.tolist(), found.faces.boxes.tolist(), strict=True))
    assert by_track == {1: [48, 64, 108, 144], 2: [480, 300, 540, 380]}


def test_somebody_who_comes_is_found_at_the_next_search() -> None:
    detector = ByAreas()
    found = look(finder_of(detector), *[[]] * 12, *[[FAR]] * 4)
    assert [len(f.tracks) for f in found] == [0] * 15 + [1]
    np.testing.assert_allclose(found[-1].faces.boxes[0], FAR[0])
    assert found[-1].faces.landmarks[0, 0, 0] == pytest.approx(480 + 0.3 * 60)


def test_tracks_in_parts_that_are_not_searched_stay() -> None:
    """What moves is elsewhere for 1.6 s, longer than a track that is missed goes on."""
    detector = ByAreas()
    tracker = Tracker(0.3, max_gap_ns=400 * MS, misses_max=3)
    finder = finder_of(detector, every=1, tracker=tracker)
    scenes = [[(((40 + 8 * (n % 2)), 60, 100 + 8 * (n % 2), 140), GREEN), FAR] for n in range(40)]
    found = look(finder, *scenes)
    assert spared(found) == ["nothing", *["part"] * 39]
    assert {tuple(sorted(f.tracks.tolist())) for f in found} == {(1, 2)}


def test_a_lost_face_is_looked_for_where_it_was_until_its_track_ends() -> None:
    class Loses(ByAreas):
        lost = False

        def refine(self, image: ImageU8, boxes: F32) -> Detections:
            found = super().refine(image, boxes)
            return Detections(found.boxes, found.scores * (not self.lost), found.landmarks)

    detector = Loses()
    finder = finder_of(detector, every=1)
    look(finder, [FAR])
    detector.lost = True
    (found,) = look(finder, [FAR], first=1)
    assert found.tracks.tolist() == [1]
    ((left, top, right, bottom),) = detector.areas
    assert left < 480
    assert top < 300
    assert right > 540
    assert bottom > 380
    assert (right - left) * (bottom - top) < 0.3 * ALL


def test_a_track_whose_place_is_searched_in_vain_ends_and_then_nothing_is_searched() -> None:
    detector = ByAreas()
    tracker = Tracker(0.3, max_gap_ns=400 * MS)
    finder = finder_of(detector, every=1, tracker=tracker)
    look(finder, [FAR])
    found = look(finder, *[[]] * 15, first=1)
    assert not len(tracker.alive())
    assert [f.spared for f in found[-2:]] == ["all", "all"]


def test_somebody_who_left_the_frame_is_not_kept() -> None:
    detector = ByAreas()
    tracker = Tracker(0.3, max_gap_ns=200 * MS)
    finder = finder_of(detector, every=1, tracker=tracker)
    out = [[((530 + 16 * n, 300, min(590 + 16 * n, 640), 380), RED)] for n in range(7)]
    look(finder, *out, *[[]] * 10)
    assert not len(tracker.alive())


def test_a_cut_and_another_size_are_searched_whole() -> None:
    detector = ByAreas()
    finder = finder_of(detector, cuts=SceneCuts())
    look(finder, *[[HERE]] * 3)
    detector.searched()
    bright = Frame(np.full((480, 640, 3), 40, np.uint8), 3, 3 * 40 * MS, 0.0, "test")
    pixels = np.array(bright.pixels)
    pixels[:, :, 2] = 220
    cut = finder.find(Frame(pixels, 3, 3 * 40 * MS, 0.0, "test"), Stopwatch(lambda: 0))
    assert cut.searched
    assert detector.searched() == ALL
    other = finder.find(frame(4, [HERE]), Stopwatch(lambda: 0))
    assert other.searched
    assert detector.searched() == 320 * 240


@pytest.mark.parametrize("late", [0, 4])
def test_after_a_gap_in_which_all_tracks_ended_the_frame_is_searched_whole(late: int) -> None:
    """Also where a frame between two searches is the first after the gap."""
    detector = ByAreas()
    finder = finder_of(detector, full_search_s=100)
    look(finder, *[[HERE]] * (5 - late))
    found = look(finder, *[[HERE]] * 5, first=105)
    assert spared(found) == ["nothing"]
    assert [f.tracks.tolist() for f in found[late:]] == [[2]] * (5 - late)


def test_a_face_that_was_not_followed_for_too_long_is_searched_for() -> None:
    """Frames of 0.8 a second, and boxes are held for 1 s."""
    detector = ByAreas()
    finder = finder_of(detector, every=1, full_search_s=100, tracker=Tracker(0.3, hold_ns=S))
    found = [
        finder.find(
            Frame(frame(0, [HERE], size=SIZE).pixels, seq, seq * 1250 * MS, 0.0, "test"),
            Stopwatch(lambda: 0),
        )
        for seq in range(4)
    ]
    assert [f.tracks.tolist() for f in found] == [[1]] * 4
    assert spared(found) == ["nothing", *["part"] * 3]


def test_a_moving_camera_searches_all_of_each_frame() -> None:
    detector = ByAreas()
    finder = finder_of(detector, every=1)
    for seq in range(5):
        pixels = np.roll(room(), 37 * seq, axis=1)
        finder.find(Frame(pixels, seq, seq * 40 * MS, 0.0, "test"), Stopwatch(lambda: 0))
    assert detector.searched() == 5 * ALL


def test_a_detector_that_cannot_search_a_part_searches_all_where_something_moved() -> None:
    detector = Counting()
    finder = finder_of(detector, every=1)
    found = look(finder, [HERE], [HERE], [THERE], [THERE])
    assert spared(found) == ["nothing", "all", "nothing", "all"]
    assert detector.searched() == 2 * ALL
    odd, finder = ByAreas(), finder_of(ByAreas(), every=1)
    finder = finder_of(odd, every=1)
    for seq, scene in enumerate(([HERE], [HERE], [THERE])):
        finder.find(frame(seq, scene), Stopwatch(lambda: 0))
    assert odd.searched() == 2 * 320 * 240  # its `takes_areas` says no


def test_where_faces_are_only_predicted_a_face_in_view_is_searched_for() -> None:
    detector = ByAreas()
    found = look(finder_of(detector, every=1, refine=False), [], [], [HERE], [HERE])
    assert spared(found) == ["nothing", "all", "part", "nothing"]


def test_pictures_that_stand_alone_are_searched_whole() -> None:
    detector = ByAreas()
    found = look(finder_of(detector, every=1, stills=True), [HERE], [HERE], [THERE])
    assert all(f.searched for f in found)
    assert detector.searched() == 3 * ALL


def test_a_face_that_the_edge_of_a_part_cuts_is_left_to_another_search() -> None:
    detector = ByAreas()
    finder = finder_of(detector, every=1)
    long = ((20, 150, 400, 180), RED)  # not found at first, and longer than what moves
    blind = detector.detect
    detector.detect = lambda image: blind(image[:0])  # type: ignore[method-assign]
    look(finder, [long, HERE])
    detector.detect = blind  # type: ignore[method-assign]
    (found,) = look(finder, [long, THERE], first=1)
    assert found.spared == "part"
    assert found.faces.boxes.tolist() == [[48, 64, 108, 144]]
