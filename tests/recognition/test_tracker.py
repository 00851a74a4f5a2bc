"""Ids stay on their faces: moving, crossing, hidden, gone, and when time or size jumps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetson_face.core.types import Detections
from jetson_face.recognition.tracker import Tracker

FRAME = 40_000_000
"""Nanoseconds of a frame at 25 per second."""
SIZE = (640, 480)


def faces(*centres: tuple[float, float], side: float = 60) -> Detections:
    boxes = [(x - side / 2, y - side / 2, x + side / 2, y + side / 2) for x, y in centres]
    n = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(n, 0.9, np.float32),
        np.zeros((n, 5, 2), np.float32),
    )


def lost(count: int) -> Detections:
    return Detections(
        np.zeros((count, 4), np.float32),
        np.zeros(count, np.float32),
        np.full((count, 5, 2), np.nan, np.float32),
    )


def test_a_moving_face_keeps_its_id_and_rows_stay_aligned() -> None:
    tracker = Tracker()
    assert tracker.update(faces((100, 100), (300, 100)), 0).tolist() == [1, 2]
    for n in range(1, 20):
        here = [(100 + 6 * n, 100), (300 - 2 * n, 100 + n)]
        swapped = n % 2 == 1
        ids = tracker.update(faces(*here[:: -1 if swapped else 1]), n * FRAME)
        assert ids.tolist() == ([2, 1] if swapped else [1, 2])


def test_no_faces_is_normal() -> None:
    tracker = Tracker()
    assert tracker.update(Detections.empty(), 0).shape == (0,)
    ids, boxes = tracker.predict(FRAME)
    assert (ids.shape, boxes.shape) == ((0,), (0, 4))
    assert tracker.advance(ids, Detections.empty(), FRAME).shape == (0,)


def test_two_faces_that_cross_keep_their_ids() -> None:
    tracker = Tracker()
    for n in range(41):
        ids = tracker.update(faces((100 + 10 * n, 200), (500 - 10 * n, 215)), n * FRAME)
        assert ids.tolist() == [1, 2], n


@pytest.mark.parametrize("every", [2, 5])
def test_they_cross_also_when_one_frame_in_n_is_searched(every: int) -> None:
    tracker = Tracker()
    for n in range(0, 41, every):
        ids = tracker.update(faces((100 + 10 * n, 180), (500 - 10 * n, 225)), n * FRAME)
        assert ids.tolist() == [1, 2], n


def test_prediction_follows_the_velocity_within_the_frame() -> None:
    tracker = Tracker()
    for n in range(20):
        tracker.update(faces((100 + 10 * n, 200)), n * FRAME, size=SIZE)
    ids, boxes = tracker.predict(22 * FRAME)
    assert ids.tolist() == [1]
    np.testing.assert_allclose(boxes[0], (290, 170, 350, 230), atol=1)
    for n in range(20, 40):
        tracker.update(faces((100 + 14 * n, 200)), n * FRAME)
    _, boxes = tracker.predict(43 * FRAME)
    assert boxes[0, 2] == SIZE[0]


def test_extrapolation_stops_after_half_a_second() -> None:
    tracker = Tracker()
    for n in range(20):
        tracker.update(faces((100 + 10 * n, 200)), n * FRAME)
    half = 19 * FRAME + 500_000_000
    np.testing.assert_array_equal(tracker.predict(half)[1], tracker.predict(half + 10 * FRAME)[1])


def test_a_hidden_face_comes_back_under_its_id_a_late_one_does_not() -> None:
    tracker = Tracker(max_gap_ns=10 * FRAME, misses_max=100)
    tracker.update(faces((100, 100)), 0)
    for n in range(1, 10):
        tracker.update(Detections.empty(), n * FRAME)
    assert tracker.visible().tolist() == []
    assert tracker.predict(9 * FRAME)[0].tolist() == []
    assert tracker.alive().tolist() == [1]
    assert tracker.update(faces((105, 100)), 10 * FRAME).tolist() == [1]
    for n in range(11, 21):
        tracker.update(Detections.empty(), n * FRAME)
    assert tracker.alive().tolist() == [1]
    tracker.update(Detections.empty(), 21 * FRAME)
    assert tracker.alive().tolist() == []
    assert tracker.update(faces((105, 100)), 22 * FRAME).tolist() == [2]


def test_too_many_misses_end_a_track() -> None:
    tracker = Tracker(misses_max=3, max_gap_ns=10**12)
    for n in (-1, 0):  # only those in a row count
        tracker.update(faces((100, 100)), n * FRAME)
    for n, alive in enumerate([[1], [1], []], start=1):
        tracker.update(Detections.empty(), n * FRAME)
        assert tracker.alive().tolist() == alive


def test_where_there_are_too_many_those_unseen_for_longest_end_first() -> None:
    tracker = Tracker(tracks_max=3)
    for n, x in enumerate((100, 200, 300)):
        tracker.update(faces((x, 100)), n * FRAME)
    assert tracker.alive().tolist() == [1, 2, 3]
    assert tracker.update(faces((300, 100), (400, 100), (500, 100)), 3 * FRAME).tolist() == [
        3,
        4,
        5,
    ]
    assert tracker.alive().tolist() == [3, 4, 5]
    found = tracker.update(faces((300, 100), (400, 100), (500, 100), (600, 100)), 4 * FRAME)
    assert found.tolist() == [3, 4, 5, 6], "whoever is seen now has a track"
    assert tracker.update(faces((200, 100)), 5 * FRAME).tolist() == [7]
    assert tracker.alive().tolist() == [5, 6, 7]


def test_a_seen_face_survives_however_seldom_it_is_searched() -> None:
    tracker = Tracker(max_gap_ns=FRAME)
    for n in range(10):
        for between in range(20):
            tracker.predict((20 * n + between) * FRAME)
        assert tracker.update(faces((100, 100)), (20 * n + 20) * FRAME).tolist() == [1]


def test_refined_faces_move_and_lost_ones_are_named_once() -> None:
    ids = np.array([1, 2])
    refined = faces((110, 100), (0, 0))
    refined.scores[1] = 0
    tracker = Tracker(again_ns=0)
    tracker.update(faces((100, 100), (300, 100)), 0)
    assert tracker.advance(ids, refined, FRAME).tolist() == [2]
    ids, boxes = tracker.predict(FRAME)
    assert ids.tolist() == [1]
    np.testing.assert_allclose(boxes[0], (80, 70, 140, 130))
    assert tracker.advance(np.array([1, 2, 77]), lost(3), 2 * FRAME).tolist() == [1]
    assert tracker.alive().tolist() == [1, 2]
    assert tracker.update(faces((112, 100), (300, 100)), 3 * FRAME).tolist() == [1, 2]


def test_a_lost_face_is_looked_for_again_where_it_should_be_and_then_given_up() -> None:
    tracker = Tracker(again_ns=4 * FRAME)
    tracker.update(faces((100, 100), (300, 100)), 0)
    tracker.advance(np.array([1, 2]), faces((110, 100), (300, 100)), FRAME)
    one = faces((0, 0), (300, 100))
    one.scores[0] = 0
    for frame in (2, 3, 4):
        assert tracker.advance(np.array([1, 2]), one, frame * FRAME).tolist() == []
        assert tracker.predict((frame + 1) * FRAME)[0].tolist() == [2]
        ids, places = tracker.lost((frame + 1) * FRAME)
        assert ids.tolist() == [1]
        # 10 pixels a frame, of which half is believed
        np.testing.assert_allclose(places[0], (80 + 5 * frame, 70, 140 + 5 * frame, 130))
    assert tracker.advance(np.array([1, 2]), one, 5 * FRAME).tolist() == [1]
    assert tracker.lost(6 * FRAME)[0].tolist() == []
    assert tracker.advance(np.array([1, 2]), one, 6 * FRAME).tolist() == [], "given up once"
    assert tracker.update(faces((130, 100), (300, 100)), 7 * FRAME).tolist() == [1, 2]


def test_a_lost_face_that_is_found_again_or_by_a_search_is_not_lost() -> None:
    def seen(at: int) -> tuple[list[int], list[int]]:
        return tracker.visible().tolist(), tracker.lost(at * FRAME)[0].tolist()

    tracker = Tracker(again_ns=9 * FRAME)
    tracker.update(faces((100, 100)), 0)
    tracker.advance(np.array([1]), lost(1), FRAME)
    assert seen(1) == ([], [1])
    tracker.advance(np.array([1]), faces((100, 100)), 2 * FRAME)
    assert seen(2) == ([1], [])
    tracker.advance(np.array([1]), lost(1), 3 * FRAME)
    tracker.update(faces((100, 100)), 4 * FRAME)
    assert seen(4) == ([1], [])


def test_a_search_that_does_not_find_a_lost_face_leaves_it_to_be_looked_for_again() -> None:
    """It may have been for large faces alone."""
    tracker = Tracker(again_ns=9 * FRAME)
    tracker.update(faces((100, 100), (300, 100)), 0)
    tracker.advance(np.array([1]), lost(1), FRAME)
    tracker.update(faces((300, 100)), 2 * FRAME)
    assert tracker.lost(3 * FRAME)[0].tolist() == [1]
    tracker.update(faces(), 3 * FRAME)
    assert tracker.lost(4 * FRAME)[0].tolist() == [1], "what only searches miss is not"


def test_no_face_is_looked_for_again_longer_than_it_is_held() -> None:
    tracker = Tracker(again_ns=9 * FRAME, hold_ns=2 * FRAME)
    tracker.update(faces((100, 100)), 0)
    assert tracker.advance(np.array([1]), lost(1), FRAME).tolist() == []
    assert tracker.advance(np.array([1]), lost(1), 2 * FRAME).tolist() == [1]


def test_at_a_low_rate_a_lost_face_is_given_up_at_once() -> None:
    tracker = Tracker()
    tracker.update(faces((100, 100)), 0)
    assert tracker.advance(np.array([1]), lost(1), 200_000_000).tolist() == [1]


def test_a_face_found_where_it_was_expected_moves_on_unseen_once() -> None:
    tracker = Tracker()
    for n in range(4):
        ids = tracker.update(faces((100 + 8 * n, 100), (300 + 40 * n * n, 200)), n * FRAME)
    here = 4 * FRAME
    assert tracker.coast(ids, here).tolist() == [True, False], "the second one is ever faster"
    assert tracker.coast(ids, here).tolist() == [False, False]
    _, boxes = tracker.predict(here)
    np.testing.assert_allclose(boxes[0], faces((131, 100)).boxes[0])
    _, boxes = tracker.predict(here + FRAME)
    tracker.advance(
        ids[:1],
        Detections(boxes[:1], np.ones(1, np.float32), np.zeros((1, 5, 2), np.float32)),
        here + FRAME,
    )
    assert tracker.coast(ids, here + 2 * FRAME).tolist() == [True, False]


@pytest.mark.parametrize(("later", "moves_on"), [(100_000_000, True), (100_000_001, False)])
def test_nobody_moves_on_who_was_not_seen_for_a_tenth_of_a_second(
    later: int, moves_on: bool
) -> None:
    tracker = Tracker()
    for n in range(2):
        ids = tracker.update(faces((100, 100)), n * FRAME)
    assert tracker.coast(ids, FRAME + later).tolist() == [moves_on]


@pytest.mark.parametrize(("aside", "moves_on"), [(6, True), (7, False)])  # of 60 pixels
def test_how_far_from_where_it_was_expected_a_face_may_be(aside: float, moves_on: bool) -> None:
    tracker = Tracker()
    tracker.update(faces((100, 100)), 0)
    ids = tracker.update(faces((100 + aside, 100)), FRAME)
    assert tracker.coast(ids, 2 * FRAME).tolist() == [moves_on]


def test_a_new_face_is_looked_for() -> None:
    tracker = Tracker()
    ids = tracker.update(faces((100, 100)), 0)
    assert tracker.coast(ids, FRAME).tolist() == [False]
    assert tracker.coast(ids[:0], FRAME).shape == (0,)


def test_time_that_goes_back_or_jumps_ends_all_tracks_and_no_id_is_used_again() -> None:
    tracker = Tracker(jump_max_ns=10 * FRAME)
    assert tracker.update(faces((100, 100)), 100 * FRAME).tolist() == [1]
    assert tracker.update(faces((100, 100)), 99 * FRAME).tolist() == [2]
    assert tracker.update(faces((100, 100)), 109 * FRAME).tolist() == [2]
    assert tracker.update(faces((100, 100)), 120 * FRAME).tolist() == [3]
    assert tracker.resets == 2


def test_another_frame_size_ends_all_tracks() -> None:
    tracker = Tracker()
    assert tracker.update(faces((100, 100)), 0, size=SIZE).tolist() == [1]
    assert tracker.update(faces((100, 100)), FRAME, size=SIZE).tolist() == [1]
    assert tracker.predict(2 * FRAME, size=(1280, 960))[0].tolist() == []
    assert tracker.update(faces((100, 100)), 3 * FRAME, size=(1280, 960)).tolist() == [2]
    tracker.reset()
    assert tracker.update(faces((100, 100)), 4 * FRAME).tolist() == [3]


def boxes(*corners: tuple[float, float, float, float]) -> Detections:
    found = faces(*[(0, 0)] * len(corners))
    found.boxes[:] = corners
    return found


def test_a_tall_face_is_held_by_its_overlap_where_its_centre_went_too_far() -> None:
    tracker = Tracker()
    tracker.update(boxes((100, 100, 140, 200)), 0)
    assert tracker.update(boxes((100, 150, 140, 250)), FRAME).tolist() == [1]


def test_a_faces_size_is_the_mean_of_both_sides() -> None:
    tracker = Tracker()
    tracker.update(faces((200, 200)), 0)
    assert tracker.update(boxes((110, 190, 290, 210)), FRAME).tolist() == [1]


def test_a_face_in_front_does_not_take_over_a_small_one() -> None:
    tracker = Tracker()
    tracker.update(faces((200, 200), side=150), 0)
    assert tracker.update(faces((200, 200), side=60), FRAME).tolist() == [2]


def test_somebody_may_walk_further_the_longer_they_are_unseen() -> None:
    for sizes, track in ((1.3, 1), (1.4, 2)):
        tracker = Tracker()
        tracker.update(faces((200, 200)), 0)
        assert tracker.update(faces((200 + 60 * sizes, 200)), 500_000_000).tolist() == [track]


def test_of_two_tracks_the_nearer_one_gets_the_face() -> None:
    tracker = Tracker()
    tracker.update(faces((100, 100), (232, 100)), 0)
    assert tracker.update(faces((162, 100)), 500_000_000).tolist() == [1]


@pytest.mark.parametrize(("missed", "track"), [(9, 1), (10, 2)])
def test_a_track_ends_after_ten_misses(missed: int, track: int) -> None:
    tracker = Tracker()
    tracker.update(faces((100, 100)), 0)
    for n in range(missed):
        tracker.update(Detections.empty(), (1 + n) * FRAME)
    assert tracker.update(faces((100, 100)), (1 + missed) * FRAME).tolist() == [track]


def test_a_face_that_is_followed_meanwhile_is_not_missed() -> None:
    tracker = Tracker(misses_max=2)
    tracker.update(faces((100, 100)), 0)
    tracker.update(Detections.empty(), FRAME)
    tracker.advance(np.array([1]), faces((100, 100)), 2 * FRAME)
    tracker.update(Detections.empty(), 3 * FRAME)
    assert tracker.alive().tolist() == [1]


def test_a_face_that_is_told_twice_of_one_frame_keeps_its_speed() -> None:
    once, twice = Tracker(), Tracker()
    for n in range(3):
        for tracker in (once, twice):
            tracker.update(faces((100 + 5 * n, 100)), n * FRAME)
    twice.advance(np.array([1]), faces((112, 100)), 2 * FRAME)
    expected = once.predict(3 * FRAME)[1] + np.array([2, 0, 2, 0])
    np.testing.assert_allclose(twice.predict(3 * FRAME)[1], expected)


def test_where_an_ended_track_is_told_no_other_moves() -> None:
    tracker = Tracker()
    tracker.update(faces((100, 100), (300, 100)), 0)
    tracker.advance(np.array([77]), faces((500, 400)), FRAME)
    assert tracker.predict(2 * FRAME)[1].tolist() == [[70, 70, 130, 130], [270, 70, 330, 130]]


def test_a_track_that_stands_for_another_person_gets_an_id_that_nobody_had() -> None:
    tracker = Tracker()
    tracker.update(faces((100, 100), (300, 100)), 0)
    assert tracker.renumber(np.array([2, 1])).tolist() == [3, 4]
    here = faces((100, 100), (300, 100), (500, 300))
    assert tracker.update(here, FRAME).tolist() == [4, 3, 5]


@pytest.mark.parametrize(
    ("away", "at_edge"), [((-25, 0), (0, 200)), ((25, 0), (639, 200)), ((0, -25), (320, 0))]
)
def test_a_lost_face_that_should_have_left_is_missed_at_the_edge(
    away: tuple[float, float], at_edge: tuple[float, float]
) -> None:
    tracker = Tracker()
    start = np.array(at_edge) - 4 * np.array(away)
    for n in range(4):
        tracker.update(faces(tuple(start + n * np.array(away))), n * FRAME, size=SIZE)
    tracker.update(Detections.empty(), 4 * FRAME, size=SIZE)
    (box,) = tracker.missing(10 * FRAME, size=SIZE)
    assert ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) == pytest.approx(at_edge)
    assert not len(tracker.missing(11 * FRAME, size=(1280, 960)))


def test_without_a_size_a_lost_face_is_missed_wherever_it_went() -> None:
    tracker = Tracker()
    for n in range(5):
        tracker.update(faces((600 + 25 * n, 600 + 25 * n)), n * FRAME)
    tracker.update(Detections.empty(), 5 * FRAME)
    (box,) = tracker.missing(6 * FRAME)
    assert box[:2].tolist() == pytest.approx([570 + 25 * 6] * 2, abs=5)


def test_a_small_face_does_not_take_over_a_large_one_behind_it() -> None:
    tracker = Tracker()
    tracker.update(faces((100, 100), side=120), 0)
    assert tracker.update(faces((100, 100), side=20), FRAME).tolist() == [2]


def test_a_fast_small_face_is_held_by_its_centre() -> None:
    tracker = Tracker()
    tracker.update(faces((100, 100), side=30), 0)
    assert tracker.update(faces((116, 100), side=30), FRAME).tolist() == [1]  # IoU 0.3


@given(st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_ids_are_unique_deterministic_and_memory_is_bounded(seed: int) -> None:
    def run() -> list[list[int]]:
        rng = np.random.default_rng(seed)
        tracker = Tracker(tracks_max=12, max_gap_ns=3 * FRAME, jump_max_ns=20 * FRAME)
        now, told, ended = 0, [], set[int]()
        before = set[int]()
        for _ in range(30):
            now += int(rng.integers(0, 4)) * FRAME
            count = int(rng.integers(0, 20))
            centres = [tuple(c) for c in rng.uniform(0, 500, (count, 2))]
            ids = tracker.update(faces(*centres, side=50), now).tolist()
            assert len(set(ids)) == count
            assert min(ids, default=1) >= 1
            alive = set(tracker.alive().tolist())
            assert set(ids) <= alive
            assert len(alive) <= max(12, count)
            ended |= before - alive
            assert not ended & alive
            before = alive
            told.append(ids)
        return told

    assert run() == run()
