"""The assignment against scipy's, and its edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetson_face.recognition.assignment import assign

optimize = pytest.importorskip("scipy.optimize")


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 2**31), st.floats(0, 1))
@settings(max_examples=300, deadline=None)
def test_it_makes_as_many_pairs_as_scipy_at_the_same_cost(
    rows: int, columns: int, seed: int, density: float
) -> None:
    rng = np.random.default_rng(seed)
    cost = np.round(rng.random((rows, columns)), 2)  # rounded: equal costs happen
    allowed = rng.random((rows, columns)) < density
    found = assign(cost, allowed)
    pairs = [(row, int(column)) for row, column in enumerate(found) if column >= 0]
    assert all(allowed[pair] for pair in pairs)
    assert len({column for _, column in pairs}) == len(pairs)
    if rows and columns:
        full = np.where(allowed, cost, 1e4)
        r, c = optimize.linear_sum_assignment(full)
        ours = allowed[r, c]
        assert len(pairs) == ours.sum()
        assert np.isclose(sum(cost[pair] for pair in pairs), cost[r[ours], c[ours]].sum())


@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_it_is_optimal_for_many_faces(rows: int, columns: int, seed: int) -> None:
    cost = np.random.default_rng(seed).normal(size=(rows, columns))
    found = assign(cost, np.ones(cost.shape, np.bool_))
    r, c = optimize.linear_sum_assignment(cost)
    chosen = found >= 0
    assert chosen.sum() == min(rows, columns)
    assert np.isclose(cost[np.flatnonzero(chosen), found[chosen]].sum(), cost[r, c].sum())


def test_the_cheapest_set_beats_the_cheapest_pair() -> None:
    # Greedy would take (0, 0) at 0 and leave (1, 1) at 10.
    cost = np.array([[0.0, 1.0], [1.0, 10.0]])
    assert assign(cost, np.ones((2, 2), np.bool_)).tolist() == [1, 0]


def test_nothing_allowed_gives_no_pair() -> None:
    assert assign(np.zeros((2, 3)), np.zeros((2, 3), np.bool_)).tolist() == [-1, -1]
    assert assign(np.zeros((0, 3)), np.zeros((0, 3), np.bool_)).shape == (0,)
    assert assign(np.zeros((2, 0)), np.zeros((2, 0), np.bool_)).tolist() == [-1, -1]


def test_who_gets_none_gets_minus_one_whoever_competes() -> None:
    alone = np.array([[True, False], [False, False]])
    assert assign(np.zeros((2, 2)), alone).tolist() == [0, -1]
    wanted_twice = np.array([[True, False], [True, False]])
    assert assign(np.array([[1.0, 0.0], [0.0, 0.0]]), wanted_twice).tolist() == [-1, 0]
    assert assign(np.array([[1.0], [0.0]]), wanted_twice[:, :1]).tolist() == [-1, 0]
