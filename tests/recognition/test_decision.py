"""When a name is given, kept and taken back."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetson_face.core.types import NO_MATCH, Match, Person
from jetson_face.recognition.decision import Decider, Decision, undecided

ANN, BOB = Person("1", "Ann"), Person("2", "Bob")
DECIDER = Decider(
    0.5, similarity_leave=0.4, margin_min=0.1, margin_leave=0.05, frames_min=2, unknown_after=4
)
PENDING = undecided(0)
KNOWN = Decision("known", ANN, 0.6, False, 0)
UNKNOWN = Decision("unknown", None, 0.2, False, 0)


def match(person: Person | None, similarity: float, second: float = -1.0) -> Match:
    return Match(person, similarity, second)


@pytest.mark.parametrize(
    ("previous", "found", "frames", "state", "person"),
    [
        # a name is given
        (PENDING, match(ANN, 0.5, 0.39), 2, "known", ANN),
        (PENDING, match(ANN, 0.5), 9, "known", ANN),
        (UNKNOWN, match(ANN, 0.5), 9, "known", ANN),
        # not before there are enough frames
        (PENDING, match(ANN, 0.9), 1, "pending", None),
        (PENDING, match(ANN, 0.9), 0, "pending", None),
        (PENDING, match(ANN, 0.1), 3, "pending", None),
        (PENDING, NO_MATCH, 3, "pending", None),
        # not without similarity
        (PENDING, match(ANN, 0.499), 3, "pending", None),
        (PENDING, match(ANN, 0.499), 4, "unknown", None),
        (PENDING, NO_MATCH, 4, "unknown", None),
        # not without margin: ambiguous is not nobody
        (PENDING, match(ANN, 0.9, 0.81), 9, "pending", None),
        (UNKNOWN, match(ANN, 0.9, 0.81), 9, "unknown", None),
        # kept within the leaving bounds
        (KNOWN, match(ANN, 0.4, 0.3), 9, "known", ANN),
        (KNOWN, match(ANN, 0.9, 0.85), 9, "known", ANN),
        # taken back
        (KNOWN, match(ANN, 0.399), 9, "unknown", None),
        (KNOWN, match(ANN, 0.399), 3, "pending", None),
        (KNOWN, match(ANN, 0.9, 0.86), 9, "pending", None),
        (KNOWN, NO_MATCH, 9, "unknown", None),
        (KNOWN, match(ANN, 0.9), 0, "pending", None),
        # another person must earn the name like anybody
        (KNOWN, match(BOB, 0.5, 0.39), 9, "known", BOB),
        (KNOWN, match(BOB, 0.5, 0.45), 9, "pending", None),
        (KNOWN, match(BOB, 0.45), 9, "unknown", None),
        # unknown stays
        (UNKNOWN, match(ANN, 0.49), 9, "unknown", None),
        (UNKNOWN, match(ANN, 0.1), 2, "pending", None),
    ],
)
def test_table(
    previous: Decision, found: Match, frames: int, state: str, person: Person | None
) -> None:
    decision = DECIDER.decide(previous, found, frames, 77)
    assert (decision.state, decision.person) == (state, person)
    assert decision.changed == ((state, person) != (previous.state, previous.person))
    assert decision.since_ns == (77 if decision.changed else 0)
    if frames and found.person is not None:
        assert decision.similarity == found.similarity
    else:
        assert decision.similarity is None


@pytest.mark.parametrize(
    ("margin", "previous", "found", "frames", "state"),
    [
        # margin 0: what was known or unknown stays so, only the ambiguous are asked about
        (0.0, PENDING, match(ANN, 0.9, 0.81), 9, "review"),
        (0.0, KNOWN, match(ANN, 0.9, 0.86), 9, "review"),
        (0.0, UNKNOWN, match(ANN, 0.9, 0.81), 9, "unknown"),
        (0.0, PENDING, match(ANN, 0.9, 0.81), 3, "pending"),
        (0.0, PENDING, match(ANN, 0.499), 4, "unknown"),
        (0.0, PENDING, match(ANN, 0.5, 0.39), 2, "known"),
        # a dead band below the bound
        (0.1, PENDING, match(ANN, 0.401), 4, "review"),
        (0.1, PENDING, match(ANN, 0.399), 4, "unknown"),
        (0.1, PENDING, match(ANN, 0.401), 3, "pending"),
        (0.1, KNOWN, match(ANN, 0.41), 9, "known"),
        (0.1, UNKNOWN, match(ANN, 0.45), 9, "unknown"),
        (0.1, PENDING, NO_MATCH, 9, "unknown"),
        (0.1, Decision("review", None, 0.45, False, 0), match(ANN, 0.6), 9, "known"),
        (0.1, Decision("review", None, 0.45, False, 0), match(ANN, 0.3), 9, "unknown"),
    ],
)
def test_between_sure_and_no_a_person_is_asked(
    margin: float, previous: Decision, found: Match, frames: int, state: str
) -> None:
    decider = Decider(
        0.5, similarity_leave=0.4, margin_min=0.1, frames_min=2, unknown_after=4,
        review_margin=margin,
    )  # fmt: skip
    decision = decider.decide(previous, found, frames, 77)
    assert decision.state == state
    assert (decision.person is None) == (state != "known")


@settings(max_examples=200)
@given(
    previous=st.sampled_from([PENDING, KNOWN, UNKNOWN]),
    who=st.sampled_from([ANN, BOB]),
    similarity=st.floats(-1, 1),
    second=st.floats(-1, 1),
    frames=st.integers(0, 8),
)
def test_by_default_review_takes_nothing_from_known_and_unknown(
    previous: Decision, who: Person, similarity: float, second: float, frames: int
) -> None:
    asking = Decider(0.5, similarity_leave=0.4, margin_min=0.1, unknown_after=4, review_margin=0)
    silent = Decider(0.5, similarity_leave=0.4, margin_min=0.1, unknown_after=4)
    found = match(who, similarity, min(similarity, second))
    now, before = (d.decide(previous, found, frames, 1) for d in (asking, silent))
    assert (now.person, now.similarity) == (before.person, before.similarity)
    assert now.state == before.state or (now.state, before.state) == ("review", "pending")


@pytest.mark.parametrize(
    ("previous", "found", "frames", "clear"),
    [
        (PENDING, match(ANN, 0.5, 0.39), 9, True),
        (KNOWN, match(ANN, 0.45), 9, False),  # keeps a name that it would not get
        (PENDING, match(ANN, 0.37), 9, True),
        (PENDING, match(ANN, 0.38), 9, False),  # 0.5 - (1 - 0.5) / 4 = 0.375
        (UNKNOWN, match(ANN, 0.9, 0.81), 9, False),
        (PENDING, NO_MATCH, 9, True),
        (PENDING, match(ANN, 0.1), 3, False),
        (PENDING, NO_MATCH, 0, False),
    ],
)
def test_clear_is_what_little_more_evidence_would_change(
    previous: Decision, found: Match, frames: int, clear: bool
) -> None:
    assert DECIDER.decide(previous, found, frames, 1).clear is clear


def test_what_is_for_review_is_not_clear() -> None:
    asking = Decider(0.5, review_margin=0.2)
    assert asking.decide(PENDING, match(ANN, 0.35), 9, 1).state == "review"
    assert not asking.decide(PENDING, match(ANN, 0.35), 9, 1).clear


def test_a_renamed_person_is_no_event_but_shows_the_new_name() -> None:
    anna = dataclasses.replace(ANN, name="Anna")
    decision = DECIDER.decide(KNOWN, match(anna, 0.9), 9, 77)
    assert (decision.person, decision.changed) == (anna, False)


@pytest.mark.parametrize(
    "bounds",
    [
        {"similarity_leave": 0.6},
        {"margin_min": 0.1, "margin_leave": 0.2},
        {"frames_min": 0},
        {"unknown_after": 0},
    ],
)
def test_senseless_bounds_are_refused(bounds: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"name|frames_min"):
        Decider(0.5, **bounds)  # type: ignore[arg-type]


cosine = st.floats(-1, 1)
Step = tuple[Person | None, float, float, int]
steps = st.lists(
    st.tuples(st.sampled_from([ANN, BOB, None]), cosine, cosine, st.integers(0, 8)), max_size=40
)


@given(steps)
@settings(max_examples=300)
def test_invariants_over_any_history(
    history: list[Step],
) -> None:
    decision = undecided(0)
    for now, (person, a, b, frames) in enumerate(history, start=1):
        found = Match(person, max(a, b), min(a, b)) if person else NO_MATCH
        before, decision = decision, DECIDER.decide(decision, found, frames, now)
        moved = (decision.state, decision.person) != (before.state, before.person)
        assert decision.changed == moved
        assert decision.since_ns == (now if moved else before.since_ns)
        assert (decision.state == "known") == (decision.person is not None)
        if decision.state == "known":
            assert decision.person == found.person
            assert frames >= 1
            assert found.similarity >= 0.4
            assert found.margin >= 0.05
            if moved:
                assert found.similarity >= 0.5
                assert found.margin >= 0.1
                assert frames >= 2
        if decision.state == "unknown":
            assert frames >= 4
        # The same evidence again changes nothing.
        assert not DECIDER.decide(decision, found, frames, now + 1).changed


@given(st.lists(st.floats(0.4, 0.4999), min_size=1, max_size=30), st.booleans())
def test_inside_the_band_nothing_flaps(band: list[float], known: bool) -> None:
    decision = KNOWN if known else UNKNOWN
    for similarity in band:
        decision = DECIDER.decide(decision, match(ANN, similarity), 9, 1)
        assert not decision.changed


@pytest.mark.parametrize(
    ("frames", "similarity", "state"),
    [
        (1, 0.79, "unknown"),
        (1, 0.8, "known"),
        (2, 0.59, "unknown"),
        (2, 0.6, "known"),
        (3, 0.49, "unknown"),
        (3, 0.5, "known"),
        (9, 0.49, "unknown"),
        (9, 0.5, "known"),
    ],
)
def test_each_number_of_embeddings_has_its_bound_and_the_last_holds_for_more(
    frames: int, similarity: float, state: str
) -> None:
    decider = Decider(0.9, unknown_after=1)
    found = decider.decide(PENDING, match(ANN, similarity), frames, 1, (0.8, 0.6, 0.5))
    assert found.state == state


def test_a_name_is_kept_as_far_below_whichever_bound_holds() -> None:
    decider = Decider(0.75, similarity_leave=0.5, unknown_after=1)
    known = [
        decider.decide(KNOWN, match(ANN, similarity), 2, 1, (0.875, 0.625)).state
        for similarity in (0.374, 0.375)
    ]
    assert known == ["unknown", "known"]


def test_a_lead_that_is_just_enough_gives_and_keeps_a_name() -> None:
    decider = Decider(0.5, margin_min=0.125)
    assert decider.decide(PENDING, match(ANN, 0.5, 0.375), 1, 1).state == "known"
    assert decider.decide(KNOWN, match(ANN, 0.5, 0.4375), 1, 1).state == "known"
    assert decider.decide(KNOWN, match(ANN, 0.5, 0.4376), 1, 1).state == "pending"


def test_a_track_begins_with_nothing_said() -> None:
    assert undecided(7) == Decision("pending", None, None, False, 7)


def test_nobody_is_said_at_the_third_embedding_unless_told_otherwise() -> None:
    states = [Decider(0.5).decide(PENDING, NO_MATCH, frames, 1).state for frames in (2, 3)]
    assert states == ["pending", "unknown"]


def test_without_a_margin_the_list_counts_from_the_similarity_of_a_name() -> None:
    assert Decider(0.5).withholds_from(1) == 0.5
    assert Decider(0.5, withhold_margin=0.2).withholds_from(1) == pytest.approx(0.3)
