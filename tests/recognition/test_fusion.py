"""Evidence over frames: means, contradiction, the three strategies, bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetson_face.core.errors import EmbeddingSpaceError
from jetson_face.core.types import F32, NO_MATCH, Embeddings
from jetson_face.gallery.matcher import Matcher
from jetson_face.recognition.fusion import Fuser, Strategy
from tests.gallery.gallery_fakes import OTHER, SPACE, snapshot, unit

MATCHER = Matcher(snapshot(ann=[unit(1)], bob=[unit(0, 1)], cid=[unit(0, 0, 1)]), top_k=1)


def ids(*tracks: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.array(tracks, np.int64)


def add(fuser: Fuser, track: int, vector: F32, quality: float = 1.0) -> None:
    fuser.add(ids(track), Embeddings(vector[None], SPACE), np.array([quality], np.float32))


def test_the_mean_is_weighted_by_quality_and_has_length_one() -> None:
    fuser = Fuser(SPACE)
    add(fuser, 1, unit(1), 0.9)
    add(fuser, 1, unit(0, 1), 0.3)
    np.testing.assert_allclose(fuser.means(ids(1)).vectors[0], unit(0.9, 0.3), atol=1e-6)
    assert fuser.frames(ids(1, 5)).tolist() == [2, 0]
    assert fuser.means(ids(1)).vectors.dtype == np.float32
    (match,) = fuser.match(ids(1), MATCHER)
    assert match.person is not None
    assert match.person.name == "ann"
    assert match.similarity == pytest.approx(0.9 / np.hypot(0.9, 0.3))


def test_tracks_do_not_mix_and_unknown_tracks_have_no_match() -> None:
    fuser = Fuser(SPACE)
    vectors = np.array([unit(0, 1), unit(1)])
    fuser.add(ids(7, 3), Embeddings(vectors, SPACE), np.ones(2, np.float32))
    found = fuser.match(ids(3, 99, 7), MATCHER)
    assert [m.person and m.person.name for m in found] == ["ann", None, "bob"]
    assert found[1] is NO_MATCH
    assert fuser.match(ids(), MATCHER) == []


def test_a_face_of_no_quality_counts_where_there_is_nothing_better() -> None:
    fuser = Fuser(SPACE)
    add(fuser, 1, unit(0, 1), 0.0)
    np.testing.assert_allclose(fuser.means(ids(1)).vectors[0], unit(0, 1), atol=1e-6)
    add(fuser, 1, unit(1), 1.0)
    assert fuser.means(ids(1)).vectors[0, 0] > 0.99


def test_a_vector_below_its_bound_contradicts_the_mean_and_is_not_added_by_asking() -> None:
    fuser = Fuser(SPACE)
    for _ in range(5):
        add(fuser, 1, unit(1))
    vectors = np.array([unit(0, 1), unit(0.5, 0.6), unit(0, 1), unit(1)])
    least = np.array([0.3, 0.3, 0.3, 1.0], np.float32)  # the last is exactly as near as that
    found = fuser.contradicted(ids(1, 1, 2, 1), Embeddings(vectors, SPACE), least)
    assert found.tolist() == [True, False, False, False], "a track never added says nothing"
    assert fuser.frames(ids(1)).tolist() == [5]


def test_the_strategies_differ_where_they_should() -> None:
    """Three weak frames of Bob against one strong one of Ann."""
    weak, strong = unit(0.55, 0.6, 0.5), unit(1, 0.05)
    names: dict[Strategy, str] = {}
    margins: dict[Strategy, float] = {}
    strategies: tuple[Strategy, ...] = ("embedding_mean", "score_mean", "vote")
    for strategy in strategies:
        fuser = Fuser(SPACE, strategy=strategy)
        for vector in (weak, weak, weak, strong):
            add(fuser, 1, vector)
        (match,) = fuser.match(ids(1), MATCHER)
        assert match.person is not None
        names[strategy], margins[strategy] = match.person.name, match.margin
    assert names == {"embedding_mean": "ann", "score_mean": "ann", "vote": "bob"}
    assert all(margin >= 0 for margin in margins.values())


def test_equal_votes_are_not_sure() -> None:
    fuser = Fuser(SPACE, strategy="vote")
    add(fuser, 1, unit(1))
    add(fuser, 1, unit(0, 1))
    (match,) = fuser.match(ids(1), MATCHER)
    assert match.margin == pytest.approx(0, abs=1e-6)


def test_votes_and_means_are_weighted_by_quality() -> None:
    """One good look at Ann against two poor ones at Bob, and what is left of her lead."""
    looks = ((unit(0.8, 0.2), 1.0), (unit(0.5, 0.65), 0.5), (unit(0.5, 0.65), 0.3))
    scores = np.array([[vector[i] for i in range(3)] for vector, _ in looks])
    weights = np.array([weight for _, weight in looks])
    mean = weights @ scores / weights.sum()
    found = {}
    strategies: tuple[Strategy, ...] = ("score_mean", "vote")
    for strategy in strategies:
        fuser = Fuser(SPACE, strategy=strategy)
        for vector, weight in looks:
            add(fuser, 1, vector, weight)
        (found[strategy],) = fuser.match(ids(1), MATCHER)
        person = found[strategy].person
        assert person is not None
        assert person.name == "ann"
        assert found[strategy].similarity == pytest.approx(mean[0], rel=1e-5)
    assert found["score_mean"].second == pytest.approx(mean[1], rel=1e-5)
    # Bob has 0.8 of a vote to her one.
    assert found["vote"].second == pytest.approx(max(mean[1], 0.8 * mean[0]), rel=1e-5)
    assert mean[1] < 0.8 * mean[0]
    assert [c.similarity for c in found["vote"].candidates[2:]] == [-1]  # nobody's vote


@pytest.mark.parametrize("people", [1, 2])
def test_few_people_can_be_voted_for(people: int) -> None:
    known = {"ann": [unit(1)], "bob": [unit(0, 1)]}
    matcher = Matcher(snapshot(**dict(list(known.items())[:people])))
    fuser = Fuser(SPACE, strategy="vote")
    for vector in (unit(1), unit(1), unit(0.5, 0.6)):
        add(fuser, 1, vector)
    (match,) = fuser.match(ids(1), matcher)
    assert match.person is not None
    assert match.person.name == "ann"
    second = -1.0 if people == 1 else match.similarity / 2
    assert match.second == pytest.approx(second, rel=1e-5)


def test_without_anybody_enrolled_nobody_is_voted_for() -> None:
    fuser = Fuser(SPACE, strategy="vote")
    add(fuser, 1, unit(1))
    assert fuser.match(ids(1), Matcher(snapshot())) == [NO_MATCH]


def test_memory_fades_and_is_bounded() -> None:
    fuser = Fuser(SPACE, memory=10, window=5)
    for _ in range(1000):
        add(fuser, 1, unit(1))
    for _ in range(15):
        add(fuser, 1, unit(0, 1))
    assert fuser.means(ids(1)).vectors[0, 1] > 0.9
    assert len(fuser._tracks[1].recent) == 5
    for track in range(2, 50):
        add(fuser, track, unit(1))
    fuser.forget([1, 2, 12345])
    assert len(fuser) == 47
    fuser.keep_only(ids(3, 4, 999))
    assert len(fuser) == 2


def test_the_least_that_can_be_remembered_is_one_frame() -> None:
    fuser = Fuser(SPACE, strategy="vote", window=1, memory=1)
    add(fuser, 1, unit(1))
    add(fuser, 1, unit(0, 1))
    (match,) = fuser.match(ids(1), MATCHER)
    assert match.person is not None
    assert match.person.name == "bob"


def test_added_vectors_are_copied() -> None:
    fuser = Fuser(SPACE)
    vectors = np.array([unit(1)])
    fuser.add(ids(1), Embeddings(vectors, SPACE), np.ones(1, np.float32))
    vectors[:] = 0  # a back end may overwrite its buffer
    np.testing.assert_allclose(fuser.means(ids(1)).vectors[0], unit(1))


def test_misfits_are_refused() -> None:
    fuser = Fuser(SPACE)
    with pytest.raises(EmbeddingSpaceError, match="other"):
        fuser.add(ids(1), Embeddings(np.eye(4, dtype=np.float32)[:1], OTHER), np.ones(1, "f4"))
    with pytest.raises(ValueError, match="2 tracks, 1 faces"):
        fuser.add(ids(1, 2), Embeddings(unit(1)[None], SPACE), np.ones(1, "f4"))
    with pytest.raises(ValueError, match="no such strategy"):
        Fuser(SPACE, strategy="median")  # type: ignore[arg-type]
    for bad in ({"window": 0}, {"memory": 0.9}):
        with pytest.raises(ValueError, match="1 or more"):
            Fuser(SPACE, **bad)


@given(st.integers(0, 2**31), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_the_mean_of_many_is_nearer_the_truth_than_most_single_frames(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    fuser = Fuser(SPACE)
    singles = []
    for _ in range(n):
        vector = unit(*(unit(1) + 0.3 * rng.normal(size=8)))
        singles.append(float(vector[0]))
        add(fuser, 1, vector)
    assert fuser.means(ids(1)).vectors[0, 0] >= np.median(singles) - 1e-5
    (match,) = fuser.match(ids(1), MATCHER)
    assert -1 <= match.second <= match.similarity <= 1 + 1e-6
