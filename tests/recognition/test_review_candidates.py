"""Which faces a person is asked about: those between sure and no, each track once."""

from __future__ import annotations

import numpy as np
import pytest

from jetson_face.core.types import Report
from tests.recognition.test_recognizer import (
    A_BLUE,
    A_GREEN,
    A_RED,
    ADA,
    BLUE,
    BOB,
    GREEN,
    MS,
    RED,
    SPACE,
    Rig,
    frame,
    gallery,
    landmarks_of,
    said,
    still,
    unit,
)

TWINS = gallery((ADA, RED), (BOB, RED))


def candidates(reports: list[Report]) -> list[tuple[int, int]]:
    return [(report.seq, c.track) for report in reports for c in report.review_candidates]


def test_a_face_between_two_people_is_a_candidate_once() -> None:
    rig = Rig(people=lambda _: TWINS, review_margin=0)
    reports = rig.see(*still(A_RED, A_BLUE, times=8))
    assert said(reports[-1]) == [(1, "review", None, False), (2, "unknown", None, False)]
    assert candidates(reports) == [(2, 1)]
    (candidate,) = reports[2].review_candidates
    assert candidate.nearest == ADA
    assert candidate.similarity == pytest.approx(1, abs=0.01)
    assert candidate.second == pytest.approx(candidate.similarity, abs=0.001)
    assert candidate.face.space == SPACE
    np.testing.assert_allclose(candidate.face.vectors[0], unit(RED), atol=0.05)
    box = np.array([A_RED[0]], np.float32)
    np.testing.assert_array_equal(candidate.landmarks, landmarks_of(box)[0])


def test_without_review_there_are_no_candidates() -> None:
    reports = Rig(people=lambda _: TWINS).see(*still(A_RED, times=8))
    assert said(reports[-1]) == [(1, "pending", None, False)]
    assert candidates(reports) == []


def test_a_face_just_below_the_bound_is_a_candidate_where_that_is_wanted() -> None:
    for margin, expected in ((0.0, []), (0.96, [(2, 1)])):
        reports = Rig(review_margin=margin).see(*still(A_BLUE, times=5))
        assert candidates(reports) == expected


def test_a_face_that_could_not_be_enrolled_waits_for_a_better_look() -> None:
    rig = Rig(people=lambda _: TWINS, review_margin=0, ask_quality_min=1.0)
    reports = rig.see(*still(A_RED, times=6))
    assert said(reports[-1]) == [(1, "review", None, False)]
    assert candidates(reports) == []


def test_known_people_are_no_candidates() -> None:
    assert candidates(Rig(review_margin=0).see(*still(A_RED, A_GREEN, times=6))) == []


def test_an_answer_names_the_face_while_it_is_in_view() -> None:
    answered = gallery((ADA, RED), (BOB, GREEN), revision=1)
    rig = Rig(people=lambda ns: TWINS if ns < 160 * MS else answered, review_margin=0)
    reports = rig.see(*still(A_RED, times=6))
    assert said(reports[3]) == [(1, "review", None, False)]
    assert said(reports[4]) == [(1, "known", "Ada", True)]


def test_a_reload_does_not_ask_again() -> None:
    old = Rig(people=lambda _: TWINS, review_margin=0)
    assert candidates(old.see(*still(A_RED, times=4))) == [(2, 1)]
    new = Rig(people=lambda _: TWINS, review_margin=0)
    new.recognizer.take_over(old.recognizer)
    later = [new.recognizer.process(frame(seq, [A_RED])) for seq in range(4, 8)]
    assert said(later[-1]) == [(1, "review", None, False)]
    assert candidates(later) == []


def test_a_face_that_nobody_enrolled_is_is_reported_once_in_a_good_crop() -> None:
    reports = Rig().see(*still(A_RED, A_BLUE, times=8))
    found = [(report.seq, one) for report in reports for one in report.unknown_faces]
    ((at, one),) = found
    decided = next(r.seq for r in reports if said(r)[1][1] == "unknown")
    assert (at, one.track) == (decided, 2), "with the decision"
    assert one.frames >= 3
    np.testing.assert_allclose(one.face.vectors[0], unit(BLUE), atol=0.05)
    box = np.array([A_BLUE[0]], np.float32)
    np.testing.assert_array_equal(one.landmarks, landmarks_of(box)[0])
    beside = Rig(embed_interval=1).see(*still(A_RED, A_BLUE, times=8))  # who is looked at, too
    assert [face.track for report in beside for face in report.unknown_faces] == [2]
    poor = Rig(ask_quality_min=1.0).see(*still(A_BLUE, times=8))
    assert not any(report.unknown_faces for report in poor)
