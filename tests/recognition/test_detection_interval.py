"""Which frames are searched and which faces embedded."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetson_face.core.types import I64
from jetson_face.recognition.detection_interval import DetectionInterval
from jetson_face.recognition.embedding_scheduler import select_for_embedding


def searched(
    interval: DetectionInterval, count: int, lost: dict[int, list[int]] | None = None
) -> list[int]:
    """The frames searched of `count`; lost: by frame, the tracks that are lost on it."""
    found = []
    for n in range(count):
        if interval.next():
            found.append(n)
        interval.lose((lost or {}).get(n, []))
    return found


def flaky(interval: DetectionInterval, count: int, track: int = 1) -> list[int]:
    """The same for a face that each search finds and the next frame loses."""
    found = []
    for n in range(count):
        if interval.next():
            found.append(n)
        elif found[-1] == n - 1:
            interval.lose([track])
    return found


@pytest.mark.parametrize(
    ("every", "frames"), [(1, [0, 1, 2, 3, 4, 5, 6]), (3, [0, 3, 6]), (10, [0])]
)
def test_the_first_frame_then_every_nth(every: int, frames: list[int]) -> None:
    assert searched(DetectionInterval(every), 7) == frames


def test_a_lost_face_is_searched_for_at_once() -> None:
    assert searched(DetectionInterval(10), 20, {3: [1]}) == [0, 4, 14]


def test_where_that_is_not_wanted_no_search_comes_sooner() -> None:
    lost = {n: [n] for n in range(100)}
    assert searched(DetectionInterval(10, on_loss=False), 100, lost) == list(range(0, 100, 10))


def test_a_face_that_is_lost_after_every_search_is_searched_for_no_sooner() -> None:
    found = flaky(DetectionInterval(10), 1000)
    assert found == [0, *range(2, 1000, 10)]


@pytest.mark.parametrize(
    ("losses", "ahead"),
    [
        ([2, 21], [3]),  # before frame 22 it may not ask
        ([2, 24], [3, 25]),
        ([2, 21, 60], [3]),  # nor, lost there, before 21 + 40
        ([2, 21, 64], [3, 65]),
        ([2, 24, 63], [3, 25]),  # nor before 24 + 40
        ([2, 24, 65], [3, 25, 66]),
        ([2, 44, 66], [3, 45, 67]),  # forgotten: it was not lost for twice as long
        ([2, 21, 199, 221], [3, 200, 222]),
    ],
)
def test_a_face_that_is_lost_soon_again_waits_twice_as_long_each_time(
    losses: list[int], ahead: list[int]
) -> None:
    found = searched(DetectionInterval(10), 240, {n: [7] for n in losses})
    assert [n for before, n in pairwise([-10, *found]) if n - before < 10] == ahead


def test_however_many_faces_are_lost_the_searches_at_most_double() -> None:
    everybody = {n: [n] for n in range(1000)}
    found = searched(DetectionInterval(10), 1000, everybody)
    assert len(found) <= 2 * 1000 / 10 + 3
    for start in range(900):
        assert sum(start <= n < start + 100 for n in found) <= 2 * 100 / 10 + 3


def test_a_loss_waits_until_a_search_may_be_brought_forward() -> None:
    lost = {1: [1], 3: [2], 5: [3], 7: [4]}
    # Three at once; the fourth face waits until there were ten frames for each.
    assert searched(DetectionInterval(10), 30, lost) == [0, 2, 4, 6, 12, 22]


def test_the_rate_can_change_while_running() -> None:
    interval = DetectionInterval(10)
    assert searched(interval, 3) == [0]
    interval.set_every(2)
    assert interval.every_n == 2
    assert searched(interval, 4) == [0, 2]
    interval.reset()
    assert interval.next()


def test_a_rate_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        DetectionInterval(0)


def test_what_is_remembered_of_lost_faces_is_bounded() -> None:
    interval = DetectionInterval(5)
    for n in range(5000):
        interval.next()
        interval.lose([n])
    assert len(interval._losers) <= 30


@given(
    st.integers(1, 20),
    st.booleans(),
    st.dictionaries(st.integers(0, 199), st.lists(st.integers(0, 5), max_size=3)),
)
def test_gaps_are_at_most_n_and_searches_bounded(
    every: int, on_loss: bool, lost: dict[int, list[int]]
) -> None:
    found = searched(DetectionInterval(every, on_loss=on_loss), 200, lost)
    assert found[0] == 0
    assert (np.diff([*found]) <= every).all()
    ahead = sum(b - a < every for a, b in pairwise(found))
    assert ahead <= (200 / every + 3 if on_loss else 0)
    if not on_loss:
        assert (np.diff([*found]) == every).all()


def choose(
    rows: list[tuple[bool, int, int]], cap: int = 9, usable: str = "", *, clear: bool = False
) -> list[int]:
    """rows: (sure, embeddings so far, frames waited); usable: indices that are not, as digits."""
    sure, frames, waited = (np.array(column) for column in zip(*rows, strict=True))
    good = np.array([str(n) not in usable for n in range(len(rows))])
    picked: I64 = select_for_embedding(
        sure,
        frames,
        waited,
        clear=np.full(len(rows), clear),
        usable=good,
        embed_interval=5,
        per_frame=cap,
    )
    assert picked.dtype == np.int64
    return [int(row) for row in picked]


def test_new_then_unsure_then_sure_faces_that_are_due() -> None:
    rows = [(True, 9, 7), (True, 9, 4), (False, 2, 3), (False, 0, 1), (False, 1, 9)]
    assert choose(rows) == [3, 4, 2, 0]
    assert choose(rows, cap=2) == [3, 4]
    assert choose(rows, usable="34") == [2, 0]
    assert choose(rows, cap=0) == []


def test_a_clear_face_is_embedded_more_seldom_where_it_was_often() -> None:
    waits = (4, 5, 9, 10, 14, 15)
    rows = [(True, seen, waited) for seen in (7, 8, 15, 16, 99) for waited in waits]
    due = [rows[row][1:] for row in sorted(choose(rows, cap=99, clear=True))]
    assert due == [
        *[(7, waited) for waited in (5, 9, 10, 14, 15)],
        *[(seen, waited) for seen in (8, 15) for waited in (10, 14, 15)],
        *[(seen, 15) for seen in (16, 99)],
    ]
    assert len(choose(rows, cap=99)) == 5 * 5
    assert choose([(False, 99, 1)], clear=True) == [0]


def test_a_sure_face_long_overdue_is_not_starved_by_unsure_ones() -> None:
    rows = [(False, 3, 2), (False, 3, 2), (True, 9, 20)]
    assert choose(rows, cap=1) == [2]
    assert choose([*rows[:2], (True, 9, 19)], cap=1) == [0]


def test_no_faces_give_no_indices() -> None:
    none = np.zeros(0, np.int64)
    assert select_for_embedding(
        np.zeros(0, np.bool_), none, none, embed_interval=5, per_frame=8
    ).shape == (0,)


@given(st.integers(0, 2**31), st.integers(1, 30), st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_over_time_everybody_is_embedded(seed: int, count: int, cap: int) -> None:
    rng = np.random.default_rng(seed)
    sure = rng.random(count) < 0.5
    frames, waited = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for _ in range(50 * count):
        waited += 1
        rows = select_for_embedding(sure, frames, waited, embed_interval=5, per_frame=cap)
        assert len(set(rows.tolist())) == len(rows) <= cap
        frames[rows] += 1
        waited[rows] = 0
    assert (frames >= 2).all()


@pytest.mark.parametrize(
    ("lost", "frames"),
    [
        # of two that are lost together one may ask
        ({1: [2], 3: [1, 2]}, [0, 2, 4, 14, 24]),
        ({1: [2], 3: [2, 1]}, [0, 2, 4, 14, 24]),
        # lost again after exactly two intervals it asks
        ({1: [1], 4: [5], 20: [1]}, [0, 2, 5, 15, 25]),
        ({1: [1], 4: [5], 21: [1]}, [0, 2, 5, 15, 22]),
    ],
)
def test_who_may_ask(lost: dict[int, list[int]], frames: list[int]) -> None:
    assert searched(DetectionInterval(10), 30, lost)[:5] == frames


def test_what_was_is_forgotten_after_twice_the_wait() -> None:
    lost = {1: [1], 30: [9], 42: [1], 50: [8], 63: [1]}
    assert searched(DetectionInterval(10), 70, lost) == [0, 2, 12, 22, 31, 41, 43, 51, 61, 64]


def test_a_shorter_interval_leaves_three_searches_to_bring_forward() -> None:
    interval = DetectionInterval(10)
    assert searched(interval, 1) == [0]
    interval.set_every(5)
    assert searched(interval, 8, {n: [n] for n in range(8)}) == [1, 2, 3, 6]
