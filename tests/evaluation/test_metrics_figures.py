"""The figures against scikit-learn on random cases, and against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jetson_face.core.types import BoolArray
from jetson_face.evaluation import metrics as m


@st.composite
def scored_pairs(draw: st.DrawFn) -> tuple[m.F64, BoolArray]:
    """Scores on a coarse grid (many ties) and labels with at least one of each kind."""
    n = draw(st.integers(4, 60))
    scores = draw(hnp.arrays(np.int64, n, elements=st.integers(-8, 8))) / 8.0
    same = draw(hnp.arrays(np.bool_, n))
    same[0], same[1] = True, False
    return scores, same


@settings(max_examples=60, deadline=None)
@given(scored_pairs())
def test_roc_and_auc_agree_with_scikit_learn(case: tuple[m.F64, BoolArray]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")

    scores, same = case
    curve = m.roc(scores, same)
    far, tar, thresholds = metrics.roc_curve(same, scores, drop_intermediate=False)
    np.testing.assert_allclose(curve.far, far)
    np.testing.assert_allclose(curve.tar, tar)
    np.testing.assert_allclose(curve.thresholds, thresholds)
    assert m.auc(curve) == pytest.approx(metrics.roc_auc_score(same, scores))


@settings(max_examples=60, deadline=None)
@given(scored_pairs(), st.integers(-9, 9))
def test_confusion_and_f1_agree_with_scikit_learn(
    case: tuple[m.F64, BoolArray], eighths: int
) -> None:
    metrics = pytest.importorskip("sklearn.metrics")

    scores, same = case
    got = m.confusion_at(scores, same, eighths / 8)
    answer = scores >= eighths / 8
    (tn, fp), (fn, tp) = metrics.confusion_matrix(same, answer, labels=[False, True])
    assert (got.tp, got.fp, got.fn, got.tn) == (tp, fp, fn, tn)
    assert got.f1 == pytest.approx(metrics.f1_score(same, answer, zero_division=0))
    assert got.accuracy == pytest.approx(metrics.accuracy_score(same, answer))


@settings(max_examples=60, deadline=None)
@given(scored_pairs(), st.integers(0, 3))
def test_sweep_says_what_counting_at_each_threshold_says(
    case: tuple[m.F64, BoolArray], lost: int
) -> None:
    scores, same = case
    scores[2 : 2 + lost] = np.nan
    if np.isnan(scores).all():
        return
    curve = m.sweep(scores, same)
    assert (np.diff(curve.thresholds) > 0).all()
    for threshold, accuracy, f1 in zip(curve.thresholds, curve.accuracy, curve.f1, strict=True):
        counted = m.confusion_at(scores, same, threshold)
        assert accuracy == pytest.approx(counted.accuracy)
        assert f1 == pytest.approx(counted.f1)


@settings(max_examples=60, deadline=None)
@given(scored_pairs())
def test_no_threshold_beats_the_best_one(case: tuple[m.F64, BoolArray]) -> None:
    scores, same = case
    best = m.confusion_at(scores, same, m.best_threshold(scores, same)).accuracy
    everywhere = np.append(scores, scores + 1e-6)
    assert best >= max(m.confusion_at(scores, same, t).accuracy for t in everywhere) - 1e-12


@settings(max_examples=60, deadline=None)
@given(scored_pairs(), st.sampled_from([0.25, 0.5, 1.0]))
def test_tar_at_far_is_the_best_allowed_operating_point(
    case: tuple[m.F64, BoolArray], far_max: float
) -> None:
    scores, same = case
    curve = m.roc(scores, same)
    if far_max * curve.negatives < 1:
        with pytest.raises(ValueError, match="needs at least"):
            m.tar_at_far(curve, far_max)
        return
    point = m.tar_at_far(curve, far_max)
    allowed = [(scores[same] >= t).mean() for t in scores if (scores[~same] >= t).mean() <= far_max]
    assert point.tar == pytest.approx(max(allowed, default=0.0))
    assert (scores[~same] >= point.threshold).mean() == pytest.approx(point.far)
    assert (scores[same] >= point.threshold).mean() == pytest.approx(point.tar)


SAME = [True] * 4 + [False] * 4
EER_CASES = {
    # name: (scores of 4 equal then 4 different pairs, rate, threshold)
    "separated": ([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2], 0.0, 0.6),
    "one of each on the wrong side": ([0.9, 0.8, 0.7, 0.3, 0.6, 0.2, 0.1, 0.0], 0.25, 0.6),
    "all the wrong way round": ([0.1, 0.1, 0.1, 0.1, 0.9, 0.9, 0.9, 0.9], 1.0, 0.9),
    # points (0, 0) and (1, 1): the straight line between them crosses at a half
    "one tie": ([0.5] * 8, 0.5, 0.5),
    # (0, 0.5), then one tie of an equal and a different pair to (0.25, 0.75): meets at 0.25
    "tie at the crossing": ([0.9, 0.8, 0.5, 0.1, 0.5, 0.05, 0.04, 0.03], 0.25, 0.5),
}


@pytest.mark.parametrize("name", EER_CASES)
def test_eer_of_cases_worked_by_hand(name: str) -> None:
    scores, rate, threshold = EER_CASES[name]
    point = m.eer(m.roc(scores, SAME))
    assert point.far == pytest.approx(rate)
    assert point.threshold == pytest.approx(threshold)


def test_eer_between_two_points_lies_on_their_line() -> None:
    # 2 equal, 3 different; the ROC goes (0, 0.5) -> (2/3, 1) by one tie of one equal, two different
    point = m.eer(m.roc([0.9, 0.5, 0.5, 0.5, 0.1], [True, True, False, False, False]))
    # far = 2/3 t, tar = 1/2 + 1/2 t, far = 1 - tar -> t = 3/7
    assert point.far == pytest.approx(2 / 7)


def test_tar_at_far_of_a_case_worked_by_hand() -> None:
    scores = [0.9, 0.8, 0.55, 0.3, 0.6, 0.4, 0.2, 0.1]
    curve = m.roc(scores, SAME)
    quarter = m.tar_at_far(curve, 0.25)
    assert (quarter.tar, quarter.far, quarter.threshold) == (0.75, 0.25, 0.55)
    half = m.tar_at_far(curve, 0.49)
    assert half == quarter, "0.49 of 4 negatives allows one, like 0.25"
    assert m.tar_at_far(curve, 0.5).tar == 1.0


@pytest.mark.parametrize("far", [0.24, 1e-3, 0.0, -0.1, 1.5])
def test_a_far_that_the_negatives_cannot_show_is_refused(far: float) -> None:
    with pytest.raises(ValueError, match="FAR"):
        m.tar_at_far(m.roc([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2], SAME), far)


def test_the_refusal_names_the_pairs_it_would_take() -> None:
    with pytest.raises(ValueError, match=r"FAR 0.001 needs at least 1000 different pairs, got 4"):
        m.tar_at_far(m.roc([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2], SAME), 1e-3)


def test_a_threefold_table_uses_only_the_other_folds() -> None:
    # fold 3 wants a threshold of 0.1 for itself; folds 1 and 2 say 0.5
    scores = [0.8, 0.2, 0.9, 0.3, 0.15, 0.05]
    same = [True, False, True, False, True, False]
    table = m.kfold(scores, same, [1, 1, 2, 2, 3, 3])
    assert [row.fold for row in table.folds] == [1, 2, 3]
    assert table.folds[2].threshold == pytest.approx(0.55)
    assert [row.confusion.accuracy for row in table.folds] == [0.5, 0.5, 0.5]
    assert table.folds[2].confusion == m.Confusion(tp=0, fp=0, fn=1, tn=1)
    assert table.accuracy == pytest.approx(table.correct.mean())


def test_std_is_the_sample_deviation_over_folds() -> None:
    scores = [0.9, 0.8, 0.1, 0.2] * 2 + [0.9, 0.1, 0.2, 0.1]
    same = [True, True, False, False] * 3
    table = m.kfold(scores, same, [1] * 4 + [2] * 4 + [3] * 4)
    assert [row.confusion.accuracy for row in table.folds] == [1.0, 1.0, 0.75]
    assert table.accuracy == pytest.approx(11 / 12)
    assert table.std == pytest.approx(0.25 / 3**0.5)


def test_a_pair_without_a_face_is_wrong_and_never_helps() -> None:
    scores = np.array([0.9, 0.8, 0.2, 0.1, np.nan, np.nan])
    same = np.array([True, True, False, False, True, False])
    got = m.confusion_at(scores, same, 0.5)
    assert got == m.Confusion(tp=2, fp=1, fn=1, tn=2, missing=2)
    assert got.accuracy == pytest.approx(4 / 6)
    curve = m.roc(scores, same)
    assert (curve.positives, curve.negatives) == (3, 2)
    assert curve.tar.max() == pytest.approx(2 / 3)
    assert m.auc(curve) == pytest.approx(2 / 3)
    assert m.auc(m.roc(m.worst_case(scores, same), same)) == pytest.approx(2 / 3 * 2 / 3)
    folds = m.kfold(np.tile(scores, 2), np.tile(same, 2), [1] * 6 + [2] * 6)
    assert folds.accuracy == pytest.approx(4 / 6)


@pytest.mark.parametrize(
    ("scores", "same", "says"),
    [
        ([0.1, 0.2], [True], "two columns"),
        ([np.nan, np.nan], [True, False], "no face was found"),
        ([0.1, 0.2], [True, True], "both kinds"),
    ],
    ids=["lengths differ", "nothing scored", "one kind only"],
)
def test_what_cannot_be_measured_is_refused(
    scores: list[float], same: list[bool], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        m.roc(scores, same)


def test_one_fold_is_refused() -> None:
    with pytest.raises(ValueError, match="2 folds"):
        m.kfold([0.1, 0.9], [False, True], [1, 1])


def test_assigned_folds_hold_every_pair_once_and_both_kinds() -> None:
    same = np.array([True, False] * 25)
    folds = m.assign_folds(same, 10)
    assert sorted(set(folds)) == list(range(1, 11))
    for name in range(1, 11):
        assert 2 <= same[folds == name].sum() <= 3
        assert 2 <= (~same[folds == name]).sum() <= 3
    with pytest.raises(ValueError, match="10 folds need"):
        m.assign_folds([True] * 20 + [False] * 3)


def test_midpoint_of_neighbouring_floats_still_separates() -> None:
    low = 0.5
    high = float(np.nextafter(0.5, 1))
    scores, same = [high, low], [True, False]
    assert m.confusion_at(scores, same, m.best_threshold(scores, same)).accuracy == 1.0


def test_distribution_counts_every_finite_score() -> None:
    edges = [-1.0, 0.0, 0.5, 1.0]
    assert m.distribution([-2.0, -0.5, 0.0, 0.6, 1.0, np.nan], edges) == [2, 1, 2]
