"""Which frames are searched and which faces embedded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetson_face.core.types import I64
from jetson_face.recognition.detection_interval import Sampler
from jetson_face.recognition.embedding_scheduler import select_for_embedding


def searched(sampler: Sampler, count: int, lost: frozenset[int] = frozenset()) -> list[int]:
    found = []
    for n in range(count):
        if sampler.next():
            found.append(n)
        if n in lost:
            sampler.lose()
    return found


@pytest.mark.parametrize(
    ("every", "frames"), [(1, [0, 1, 2, 3, 4, 5, 6]), (3, [0, 3, 6]), (10, [0])]
)
def test_the_first_frame_then_every_nth(every: int, frames: list[int]) -> None:
    assert searched(Sampler(every), 7) == frames


def test_a_lost_face_is_searched_for_at_once() -> None:
    assert searched(Sampler(10, cooldown=1), 20, frozenset({3})) == [0, 4, 14]


def test_within_the_cooldown_it_waits_but_is_not_forgotten() -> None:
    assert searched(Sampler(10), 20, frozenset({1})) == [0, 5, 15]
    assert searched(Sampler(10), 20, frozenset({5})) == [0, 6, 16]


def test_a_face_lost_on_every_frame_at_most_doubles_the_searches() -> None:
    assert searched(Sampler(10), 31, frozenset(range(31))) == [0, 5, 10, 15, 20, 25, 30]


def test_the_rate_can_change_while_running() -> None:
    sampler = Sampler(10)
    assert searched(sampler, 3) == [0]
    sampler.set_every(2)
    assert (sampler.every_n, sampler.cooldown) == (2, 1)
    assert searched(sampler, 4) == [0, 2]
    sampler.reset()
    assert sampler.next()


def test_after_a_reset_nothing_is_left_of_what_was_lost() -> None:
    sampler = Sampler(4, cooldown=2)
    searched(sampler, 3, frozenset({2}))
    sampler.reset()
    assert searched(sampler, 6) == [0, 4]


@pytest.mark.parametrize("arguments", [{"every_n": 0}, {"every_n": 5, "cooldown": 0}])
def test_senseless_rates_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="1"):
        Sampler(**arguments)


@given(st.integers(1, 20), st.integers(1, 25), st.frozensets(st.integers(0, 99)))
def test_gaps_are_between_cooldown_and_n(every: int, cooldown: int, lost: frozenset[int]) -> None:
    sampler = Sampler(every, cooldown=cooldown)
    found = searched(sampler, 100, lost)
    gaps = np.diff([*found])
    assert found[0] == 0
    assert (gaps <= every).all()
    assert (gaps >= min(cooldown, every)).all()


def choose(rows: list[tuple[bool, int, int]], cap: int = 9, usable: str = "") -> list[int]:
    """rows: (sure, embeddings so far, frames waited); usable: indices that are not, as digits."""
    sure, frames, waited = (np.array(column) for column in zip(*rows, strict=True))
    good = np.array([str(n) not in usable for n in range(len(rows))])
    picked: I64 = select_for_embedding(
        sure, frames, waited, usable=good, embed_interval=5, per_frame=cap
    )
    assert picked.dtype == np.int64
    return [int(row) for row in picked]


def test_new_then_unsure_then_sure_faces_that_are_due() -> None:
    rows = [(True, 9, 7), (True, 9, 4), (False, 2, 3), (False, 0, 1), (False, 1, 9)]
    assert choose(rows) == [3, 4, 2, 0]
    assert choose(rows, cap=2) == [3, 4]
    assert choose(rows, usable="34") == [2, 0]
    assert choose(rows, cap=0) == []


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
