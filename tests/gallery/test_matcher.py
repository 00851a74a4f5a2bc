"""Who is nearest, how far the second is, and that spaces are not mixed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetson_face.core.errors import EmbeddingSpaceError
from jetson_face.core.types import F32, NO_MATCH, Embeddings, Person
from jetson_face.gallery.label_check import mislabelled_templates
from jetson_face.gallery.matcher import GallerySnapshot, Matcher
from tests.gallery.gallery_fakes import OTHER, SPACE, snapshot, unit


def probes(*vectors: F32) -> Embeddings:
    return Embeddings(np.array(vectors, np.float32).reshape(-1, SPACE.dim), SPACE)


def test_the_nearest_person_and_the_best_other_one() -> None:
    matcher = Matcher(snapshot(ann=[unit(1)], bob=[unit(0, 1)], cid=[unit(0, 0, 1)]), top_k=1)
    (match,) = matcher.match(probes(unit(0.6, 0.8)))
    assert match.person == Person("BOB", "bob")
    assert match.similarity == pytest.approx(0.8)
    assert match.second == pytest.approx(0.6)
    assert match.margin == pytest.approx(0.2)


def test_the_nearest_people_are_named_best_first_with_their_similarity() -> None:
    people = snapshot(
        ann=[unit(1)], bob=[unit(0, 1)], cid=[unit(0, 0, 1)], dan=[unit(0, 0, 0, 1)], eve=[unit(1)]
    )
    (match,) = Matcher(people, top_k=1).match(probes(unit(0.64, 0.48, 0.6)))
    named = [(c.person.name, round(c.similarity, 3)) for c in match.candidates]
    assert named == [("ann", 0.64), ("eve", 0.64), ("cid", 0.6)]
    assert match.person == match.candidates[0].person
    assert match.second == pytest.approx(0.64)


def test_a_second_template_of_the_same_person_is_not_the_second_person() -> None:
    matcher = Matcher(snapshot(ann=[unit(1), unit(1, 0.01)], bob=[unit(0, 1)]), top_k=1)
    (match,) = matcher.match(probes(unit(1)))
    assert (match.person, match.second) == (Person("ANN", "ann"), 0.0)


@pytest.mark.parametrize(("top_k", "similarity"), [(1, 1.0), (2, 0.9), (3, 0.6), (9, 0.6)])
def test_a_person_is_as_similar_as_the_mean_of_the_best_templates(
    top_k: int, similarity: float
) -> None:
    ann = [unit(0.8, 0.6), unit(1), unit(0, 0, 1)]
    matcher = Matcher(snapshot(ann=ann, bob=[unit(0, 1)]), top_k=top_k)
    (match,) = matcher.match(probes(unit(1)))
    assert match.similarity == pytest.approx(similarity)


def test_one_person_has_no_second_and_nobody_no_match() -> None:
    (match,) = Matcher(snapshot(ann=[unit(1)])).match(probes(unit(1)))
    assert match.second == -1.0
    empty = Matcher(GallerySnapshot.empty(SPACE))
    assert empty.match(probes(unit(1), unit(0, 1))) == [NO_MATCH, NO_MATCH]
    assert Matcher(snapshot(ann=[unit(1)])).match(probes()) == []


def test_probes_of_another_space_are_refused() -> None:
    with pytest.raises(EmbeddingSpaceError, match="jetson-face gallery reembed"):
        Matcher(snapshot(ann=[unit(1)])).match(Embeddings(np.eye(4, dtype=np.float32), OTHER))


@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_it_agrees_with_the_plain_definition(seed: int, count: int, top_k: int) -> None:
    rng = np.random.default_rng(seed)
    people = {
        f"p{n:02}": [unit(*rng.normal(size=8)) for _ in range(int(rng.integers(1, 7)))]
        for n in range(count)
    }
    probe = unit(*rng.normal(size=8))
    matcher = Matcher(snapshot(**people), top_k=top_k)
    (match,) = matcher.match(probes(probe))
    wanted = {}
    for name, vectors in people.items():
        cosines = sorted((float(v @ probe) for v in vectors), reverse=True)[:top_k]
        wanted[name] = float(np.mean(cosines))
    ranked = sorted(wanted, key=lambda name: -wanted[name])
    assert match.person is not None
    assert wanted[match.person.name] == pytest.approx(wanted[ranked[0]], abs=1e-5)
    assert match.similarity == pytest.approx(wanted[ranked[0]], abs=1e-5)
    second = wanted[ranked[1]] if count > 1 else -1.0
    assert match.second == pytest.approx(second, abs=1e-5)


def test_a_snapshot_cannot_be_changed_or_be_inconsistent() -> None:
    shot = snapshot(ann=[unit(1)], bob=[unit(0, 1)])
    with pytest.raises(ValueError, match="read-only"):
        shot.vectors[0, 0] = 5
    two = np.array([unit(1), unit(0, 1)])
    one_person = (Person("A", "a"),)
    with pytest.raises(ValueError, match="every person"):
        GallerySnapshot(SPACE, two, np.array([0, 1]), one_person)
    with pytest.raises(ValueError, match="together"):
        GallerySnapshot(SPACE, two, np.array([1, 0]), (*one_person, Person("B", "b")))


def test_a_photo_under_the_wrong_name_is_mislabelled() -> None:
    shot = snapshot(
        ann=[unit(1), unit(1, 0.2), unit(0.1, 1)], bob=[unit(0, 1), unit(0.05, 1)], cid=[unit(0, 1)]
    )
    (found,) = mislabelled_templates(shot, 0, 0.5)
    assert (found.row, found.other.name) == (2, "bob")
    assert str(found).startswith("looks more like bob (1.00) than like the other photos")
    assert mislabelled_templates(shot, 1, 0.5)[0].other.name == "cid"
    (alone,) = mislabelled_templates(shot, 2, 0.5)
    assert (alone.own, str(alone)) == (None, "looks like bob (1.00)")
    assert mislabelled_templates(snapshot(ann=[unit(1)], bob=[unit(0, 1)]), 0, 0.5) == []
    assert mislabelled_templates(snapshot(ann=[unit(1), unit(0, 1)]), 0, 0.5) == []
