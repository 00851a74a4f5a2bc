"""Somebody who is not enrolled, known again: by whose vectors, and from which cosine on."""

from __future__ import annotations

import numpy as np
import pytest

from jetson_face.core.types import F32, Embeddings, EmbeddingSpace
from jetson_face.gallery.matcher import GallerySnapshot, Thresholds
from jetson_face.recognition.known_again import seen_before

SPACE = EmbeddingSpace("made", "0" * 64, 3)


def vector(x: float, y: float, z: float) -> F32:
    made = np.array([x, y, z], np.float32)
    return np.asarray(made / np.linalg.norm(made), np.float32)


A, B, C = vector(1, 0, 0), vector(0, 1, 0), vector(0, 0, 1)
NEAR_A = vector(0.9, np.sqrt(1 - 0.81), 0)


def face(of: F32) -> Embeddings:
    return Embeddings(of[None], SPACE)


class Bounds:
    """The same for every gallery, and the galleries that it was asked for."""

    def __init__(self, *least: float) -> None:
        self.least, self.asked = least, list[GallerySnapshot]()

    def __call__(self, snapshot: GallerySnapshot) -> Thresholds:
        self.asked.append(snapshot)
        return self.least


def test_whose_vectors_are_nearest_is_who_it_was() -> None:
    bounds = Bounds(0.8)
    remembered = {"first": [A, B], "nothing": [], "second": [C]}
    assert seen_before(face(C), 1, remembered, bounds, top_k=1) == "second"
    assert seen_before(face(B), 1, remembered, bounds, top_k=1) == "first"
    (snapshot, _) = bounds.asked
    assert snapshot.space == SPACE
    assert [person.id for person in snapshot.people] == ["first", "second"]
    assert [person.name for person in snapshot.people] == ["first", "second"]
    np.testing.assert_array_equal(snapshot.person_index, [0, 0, 1])
    np.testing.assert_array_equal(snapshot.vectors, [A, B, C])


@pytest.mark.parametrize("remembered", [{}, {"nobody": []}])
def test_where_nobody_is_remembered_nobody_is_known(remembered: dict[str, list[F32]]) -> None:
    bounds = Bounds(-1.0)
    assert seen_before(face(A), 1, remembered, bounds, top_k=1) is None
    assert not bounds.asked


@pytest.mark.parametrize(
    ("frames", "known"), [(1, False), (2, True), (3, False), (9, False)]
)  # fmt: skip
def test_the_cosine_is_that_for_so_many_frames_and_the_last_goes_on(
    frames: int, known: bool
) -> None:
    found = seen_before(face(NEAR_A), frames, {"a": [A]}, Bounds(0.91, 0.89, 0.92), top_k=1)
    assert found == ("a" if known else None)


def test_a_face_at_the_very_cosine_is_known() -> None:
    assert seen_before(face(A), 1, {"a": [A]}, Bounds(float(A @ A)), top_k=1) == "a"


def test_the_best_so_many_vectors_of_each_count() -> None:
    remembered = {"a": [A, C], "b": [vector(0.8, 0.6, 0), vector(0.8, -0.6, 0)]}
    assert seen_before(face(A), 1, remembered, Bounds(0.1), top_k=1) == "a"
    assert seen_before(face(A), 1, remembered, Bounds(0.1), top_k=2) == "b"
