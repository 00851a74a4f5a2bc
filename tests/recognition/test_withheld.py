"""A face of the do-not-recognise list is nobody's, from the first word to the last."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jetson_face.config import Config
from jetson_face.core.types import Candidate, Match
from jetson_face.factory.parts import build_decider, build_matcher
from jetson_face.gallery.matcher import GallerySnapshot
from jetson_face.recognition.decision import Decision
from jetson_face.recognition.still import identify
from jetson_face.recognition.withheld import is_withheld, without
from tests.config.parts import ADA, BOB, Rig, Says, gallery, unit

ASKED = Config(state_dir=Path("/nowhere"), matching={"similarity_min": 0.5, "review_margin": 0.2})
HIDING = replace(gallery((ADA, [unit(1)]), (BOB, [unit(0, 1)])), withheld=frozenset({ADA.id}))


def rig(face: list[float], people: GallerySnapshot = HIDING) -> Rig:
    return Rig(ASKED, says=Says(unit(*face)), people=people)


def test_the_face_is_unknown_and_nothing_else_is_said_of_it() -> None:
    seen = rig([1])
    assert set(seen.see(8)) <= {"pending", "unknown"}
    (face,) = seen.report.sightings
    assert (face.state, face.person, face.similarity, face.candidates, face.withheld) == (
        "unknown", None, None, (), True,
    )  # fmt: skip
    assert seen.report.review_candidates == ()


def test_somebody_else_is_named_and_the_list_is_not_among_the_candidates() -> None:
    seen = rig([0.2, 1])
    assert seen.see(8)[-1] == "Bob"
    (face,) = seen.report.sightings
    assert not face.withheld
    assert [one.person for one in face.candidates] == [BOB]


@pytest.mark.parametrize("face", [[0.45, 0, 1], [0.5, 0.52, 0.8]])
def test_a_doubtful_face_is_no_review_item(face: list[float]) -> None:
    seen = rig(face)
    for _ in range(12):
        seen.see()
        assert seen.report.review_candidates == ()
    assert seen.report.sightings[0].withheld
    open_list = rig(face, replace(HIDING, withheld=frozenset()))
    assert any(open_list.see() and open_list.report.review_candidates for _ in range(12))


def test_once_withheld_a_track_stays_so_until_it_is_surely_somebody_else() -> None:
    at = Decision("unknown", None, 0.1, False, 0)
    nobody = Match(ADA, 0.1, 0.0, (Candidate(ADA, 0.1),))
    assert is_withheld(True, at, nobody, {ADA.id}, 0.4)
    assert not is_withheld(False, at, nobody, {ADA.id}, 0.4)
    assert is_withheld(False, at, replace(nobody, candidates=(Candidate(ADA, 0.4),)), {ADA.id}, 0.4)
    bob = Decision("known", BOB, 0.9, False, 0)
    assert not is_withheld(True, bob, nobody, {ADA.id}, 0.4)
    assert is_withheld(False, Decision("known", ADA, 0.9, False, 0), nobody, {ADA.id}, 0.4)
    assert without(nobody, set()) is nobody


def test_only_a_sure_look_at_the_two_nearest_withholds_a_face() -> None:
    near = (Candidate(ADA, 0.9),)
    looked = Match(ADA, 0.9, 0.0, near)
    pending = Decision("pending", None, None, False, 0)
    for before in (False, True):  # what was said before holds
        assert is_withheld(before, pending, looked, {ADA.id}, 0.4) is before
    unknown, bob = Decision("unknown", None, 0.9, False, 0), Candidate(BOB, 0.9)
    second, third = ((bob,) * count + near for count in (1, 2))
    assert is_withheld(False, unknown, replace(looked, candidates=second), {ADA.id}, 0.4)
    assert not is_withheld(False, unknown, replace(looked, candidates=third), {ADA.id}, 0.4)


def test_a_picture_says_nothing_of_them_either() -> None:
    parts = rig([1]).parts
    decider = build_decider(ASKED, parts.embedder, single=True)
    image = np.zeros((240, 320, 3), np.uint8)
    (face,) = identify(image, parts, build_matcher(ASKED, HIDING), decider)
    assert (face.state, face.person, face.candidates, face.withheld) == ("unknown", None, (), True)
