"""Resampling and open-set figures on cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetson_face.core.types import I64
from jetson_face.evaluation import openset as o
from jetson_face.evaluation.bootstrap import bootstrap, draw_groups, draw_people, draw_rows


def test_an_interval_of_a_mean_agrees_with_the_normal_one() -> None:
    right = np.array([True] * 900 + [False] * 100)
    got = bootstrap(
        lambda rows: float(right[rows].mean()),
        draw_rows(1000),
        np.random.default_rng(3),
        resamples=800,
    )
    half = 1.96 * (0.9 * 0.1 / 1000) ** 0.5
    assert got.low == pytest.approx(0.9 - half, abs=0.005)
    assert got.high == pytest.approx(0.9 + half, abs=0.005)
    assert (got.level, got.resamples) == (0.95, 800)


def test_the_same_generator_gives_the_same_interval() -> None:
    values = np.arange(30.0)

    def once() -> tuple[float, float]:
        got = bootstrap(
            lambda rows: float(values[rows].mean()),
            draw_rows(30),
            np.random.default_rng(7),
            resamples=50,
        )
        return got.low, got.high

    assert once() == once()


def test_people_who_repeat_widen_the_interval() -> None:
    # 10 people with 40 equal pairs each that are all right or all wrong together
    people = [f"p{i // 40}" for i in range(400)]
    right = np.array([i // 40 % 2 == 0 for i in range(400)])

    def mean(rows: I64) -> float:
        return float(right[rows].mean())

    by_pair = bootstrap(mean, draw_rows(400), np.random.default_rng(1), resamples=300)
    by_person = bootstrap(mean, draw_groups(people), np.random.default_rng(1), resamples=300)
    assert by_person.high - by_person.low > 3 * (by_pair.high - by_pair.low)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_a_pair_is_drawn_as_often_as_its_people(seed: int) -> None:
    first, second = ["a", "a", "b", "c"], ["a", "b", "c", "c"]
    rows = draw_people(first, second)(np.random.default_rng(seed))
    times = np.bincount(rows, minlength=4)
    draws = np.bincount(np.random.default_rng(seed).integers(0, 3, 3), minlength=3)
    expected = [draws[0], draws[0] * draws[1], draws[1] * draws[2], draws[2]]
    assert times.tolist() == expected


def test_resamples_without_a_value_are_counted_and_too_many_refused() -> None:
    calls = iter(range(1000))

    def sometimes(rows: I64) -> float:
        if next(calls) % 4 == 0:
            raise ValueError("no pair of one kind")
        return float(len(rows))

    got = bootstrap(sometimes, draw_rows(5), np.random.default_rng(0), resamples=100)
    assert got.resamples == 75

    def never(rows: I64) -> float:
        raise ValueError(str(len(rows)))

    with pytest.raises(ValueError, match="too few pairs"):
        bootstrap(never, draw_rows(5), np.random.default_rng(0), resamples=10)


def hand_case() -> o.Ranked:
    """Three templates of two people; five known probes, of which one undetected; five strangers."""
    nan = float("nan")
    rows = [
        [0.9, 0.1, 0.2],  # person 0, right
        [0.3, 0.8, 0.1],  # person 0, right by the second template
        [0.1, 0.2, 0.7],  # person 1, right
        [0.6, 0.1, 0.5],  # person 1, named 0
        [nan, nan, nan],  # person 1, no face
        [0.65, 0.0, 0.0],
        [0.5, 0.0, 0.0],
        [0.0, 0.0, 0.4],
        [0.3, 0.0, 0.0],
        [nan, nan, nan],
    ]
    ground_truth = [0, 0, 1, 1, 1, -1, -1, -1, -1, -1]
    return o.rank(np.array(rows), [0, 0, 1], ground_truth)


def test_rank_takes_the_best_template_of_a_person() -> None:
    ranked = hand_case()
    assert ranked.best.tolist() == [0, 0, 1, 0, -1, 0, 0, 1, 0, -1]
    assert ranked.top[1] == 0.8
    assert np.isnan(ranked.top[4])
    assert o.rank1(ranked) == pytest.approx(3 / 5)


def test_dir_at_fpir_by_hand() -> None:
    ranked = hand_case()
    quarter = o.dir_at_fpir(ranked, 0.25)
    assert quarter.fpir == 0.25
    assert 0.5 < quarter.threshold < 0.5000001
    assert quarter.dir == pytest.approx(3 / 5)
    assert quarter.misidentified == pytest.approx(1 / 5)
    all_in = o.dir_at_fpir(ranked, 1.0)
    assert all_in.fpir == 1.0
    assert all_in.dir == pytest.approx(3 / 5)
    strict = o.at_threshold(ranked, 0.75)
    assert (strict.fpir, strict.misidentified) == (0.0, 0.0)
    assert strict.dir == pytest.approx(2 / 5)


def test_an_fpir_that_the_strangers_cannot_show_is_refused() -> None:
    with pytest.raises(ValueError, match=r"FPIR 0.01 needs at least 100 strangers' probes, got 4"):
        o.dir_at_fpir(hand_case(), 0.01)


def test_equal_scores_of_strangers_pass_or_fail_together() -> None:
    ranked = o.rank(np.array([[0.9], [0.5], [0.5], [0.5], [0.1]]), [0], [0, -1, -1, -1, -1])
    assert o.dir_at_fpir(ranked, 0.5).fpir == 0.0


def test_the_confusion_matrix_counts_every_probe_once() -> None:
    ranked = hand_case()
    matrix = o.confusion_matrix(ranked, 2, 0.55)
    #            0  1  unknown  no face
    assert matrix.tolist() == [[2, 0, 0, 0], [1, 1, 0, 1], [1, 0, 3, 1]]
    assert matrix.sum() == 10
    wrong = [("Bob", "Ann", 1), ("not enrolled", "Ann", 1)]
    assert o.most_confused(matrix, ["Ann", "Bob"]) == wrong


def test_a_gallery_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="templates"):
        o.rank(np.zeros((2, 0)), [], [0, 1])
    with pytest.raises(ValueError, match="enrolled"):
        o.rank1(o.rank(np.zeros((1, 1)), [0], [-1]))
