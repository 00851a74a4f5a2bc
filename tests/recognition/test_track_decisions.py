"""What the evidence of a track is held against, and when."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jetson_face.core.types import F32, Embeddings
from jetson_face.gallery.matcher import GallerySnapshot, Matcher
from jetson_face.recognition.decision import Decider
from jetson_face.recognition.embedding_scheduler import NO_CROPS
from jetson_face.recognition.fusion import Fuser
from jetson_face.recognition.track_decisions import TrackDecisions
from jetson_face.recognition.track_state import TrackStates
from tests.gallery.gallery_fakes import SPACE, snapshot, unit

NOBODY_NEW = np.zeros(0, np.int64)


def evidence(**of: F32) -> Fuser:
    """A fuser with one vector for each track, t1, t2 …"""
    fuser = Fuser(SPACE)
    tracks = np.array([int(name[1:]) for name in of], np.int64)
    fuser.add(tracks, Embeddings(np.stack(list(of.values())), SPACE), np.ones(len(of), np.float32))
    return fuser


def people(revision: int, thresholds: tuple[float, ...] | None = None) -> Matcher:
    made = snapshot(ann=[unit(1)], bob=[unit(0, 1)])
    again = GallerySnapshot(made.space, made.vectors, made.person_index, made.people, revision)
    return Matcher(again, thresholds=thresholds)


def states_of(*tracks: int) -> TrackStates:
    states = TrackStates()
    states.begin(tracks, 5)
    return states


@pytest.mark.parametrize("revision", [0, 1, 2])
def test_with_a_gallery_not_seen_before_all_tracks_are_decided(revision: int) -> None:
    """Also those that were taken over from another recogniser."""
    states = states_of(1, 2)
    decisions = TrackDecisions(
        evidence(t1=unit(1), t2=unit(0, 1)), Decider(0.5), lambda _: people(revision)
    )
    decisions.decide(NOBODY_NEW, states, 77)
    found = [states[track].decision for track in (1, 2)]
    assert [d.person and d.person.name for d in found] == ["ann", "bob"]
    assert [d.since_ns for d in found] == [77, 77]
    assert states[2].match.person == found[1].person


def test_with_the_same_gallery_only_tracks_with_new_evidence_are_decided() -> None:
    states = states_of(1, 2)
    decisions = TrackDecisions(
        evidence(t1=unit(1), t2=unit(0, 1)), Decider(0.5), lambda _: people(3)
    )
    decisions.decide(NOBODY_NEW, TrackStates(), 0)
    decisions.decide(np.array([2]), states, 0)
    assert [states[track].decision.state for track in (1, 2)] == ["pending", "known"]


@pytest.mark.parametrize(("bound", "state"), [(0.6, "known"), (0.61, "unknown")])
def test_the_bounds_of_the_gallery_hold_before_those_of_the_decider(
    bound: float, state: str
) -> None:
    states, known = states_of(1), people(0, (bound, bound))
    decider = Decider(0.9, unknown_after=1)
    decisions = TrackDecisions(evidence(t1=unit(0.6, 0, 0.8)), decider, lambda _: known)
    decisions.decide(np.array([1]), states, 0)
    assert states[1].decision.state == state


@pytest.mark.parametrize(
    ("bounds", "found"),
    [
        ({}, [False, True]),
        ({"contradiction_below": 0.7}, [True, True]),
        ({"contradiction_below": -0.5}, [False, False]),
        ({"contradiction_below": -0.5, "doubted_below": 0.7}, [False, True]),
        ({"contradiction_below": 0.7, "doubted_below": -0.5}, [True, False]),
    ],
)
def test_a_doubted_face_is_held_against_a_bound_of_its_own(
    bounds: dict[str, float], found: list[bool]
) -> None:
    """The first face is 0.6 from its track's mean, the second, which is doubted, -0.1."""
    states = states_of(1, 2)
    states[2].doubted = True
    decisions = TrackDecisions(
        evidence(t1=unit(1), t2=unit(0, 1)), Decider(0.5), lambda _: people(0), **bounds
    )
    vectors = np.stack([unit(0.6, 0, 0.8), unit(0.995, -0.1)])
    seen = decisions.contradicted(np.array([1, 2]), Embeddings(vectors, SPACE), states)
    assert seen.tolist() == found


def test_what_is_fused_is_counted_and_ends_a_doubt() -> None:
    states, fuser = states_of(1, 2), Fuser(SPACE)
    states.next_frame([1, 2], 5)
    states[1].doubted = True
    decisions = TrackDecisions(fuser, Decider(0.5), lambda _: people(0))
    crops = replace(NO_CROPS, rows=np.array([0]), quality=np.array([0.5], np.float32))
    one = np.array([1])
    decisions.fuse(one, crops, Embeddings(unit(1)[None], SPACE), states)
    assert (states[1].waited, states[1].embeddings, states[1].doubted) == (0, 1, False)
    assert (states[2].waited, states[2].embeddings) == (1, 0)
    assert fuser.frames(np.array([1, 2])).tolist() == [1, 0]


def listed(*bounds: float) -> Matcher:
    """Ann and Bob, of whom Ann must not be recognised."""
    known = people(0, bounds).snapshot
    ann = next(person.id for person in known.people if person.name == "ann")
    return Matcher(replace(known, withheld=frozenset({ann})), thresholds=bounds)


@pytest.mark.parametrize(("bound", "withheld"), [(0.7, True), (0.9, False)])
def test_who_must_not_be_recognised_is_judged_by_the_bound_of_the_gallery(
    bound: float, withheld: bool
) -> None:
    states, known = states_of(1), listed(bound, bound)
    decider = Decider(2.0, unknown_after=1, withhold_margin=0.2)
    decisions = TrackDecisions(evidence(t1=unit(0.6, 0, 0.8)), decider, lambda _: known)
    decisions.decide(np.array([1]), states, 0)
    assert (states[1].withheld, states[1].told.state) == (withheld, "unknown")
    assert [one.person.name for one in states[1].match.candidates] == ["bob"]


def test_a_track_stays_withheld_when_the_next_look_shows_nobody() -> None:
    states, known = states_of(1), listed(0.7, 0.7)
    decider = Decider(2.0, unknown_after=1, withhold_margin=0.2)
    for look in (unit(0.6, 0, 0.8), unit(0, 0, 1)):
        decisions = TrackDecisions(evidence(t1=look), decider, lambda _: known)
        decisions.decide(np.array([1]), states, 0)
        assert states[1].withheld


def test_what_was_tried_in_vain_is_forgotten_with_new_evidence() -> None:
    states = states_of(1)
    states[1].tried_in_vain(20)
    states[1].doubt()
    states[1].tried_in_vain(20)
    decisions = TrackDecisions(Fuser(SPACE), Decider(0.5), lambda _: people(0))
    crops = replace(NO_CROPS, rows=np.array([0]), quality=np.ones(1, np.float32))
    vectors = Embeddings(unit(1)[None], SPACE)
    decisions.fuse(np.array([1]), crops, vectors, states)
    state = states[1]
    assert (state.embeddings, state.waited, state.doubted, state.in_vain) == (1, 0, False, 0)
