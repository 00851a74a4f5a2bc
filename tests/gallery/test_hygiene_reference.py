"""The faults that are found are those of the plain algorithm, which looks at everything again each
time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jetson_face.core.types import F32, EmbeddingSpace, Person
from jetson_face.gallery import hygiene
from jetson_face.gallery.hygiene import (
    DUPLICATE_MIN,
    FaultyTemplate,
    faulty_templates,
    without_rows,
)
from jetson_face.gallery.label_check import mislabelled_templates
from jetson_face.gallery.matcher import GallerySnapshot

DIM = 16


def gallery(people: Sequence[Sequence[F32]]) -> GallerySnapshot:
    vectors = np.array([one for own in people for one in own], np.float32).reshape(-1, DIM)
    index = np.repeat(np.arange(len(people)), [len(own) for own in people])
    named = tuple(Person(f"{number}", f"Person {number}") for number in range(len(people)))
    return GallerySnapshot(EmbeddingSpace("made", "0" * 64, DIM), vectors, index, named)


def reference(snapshot: GallerySnapshot, similarity_min: float) -> list[FaultyTemplate]:
    near = near_another(snapshot, similarity_min)
    found = list(near.values())
    for index in range(len(snapshot.people)):
        rows = np.flatnonzero(snapshot.person_index == index)
        rows = rows[~np.isin(rows, list(near))]
        own = snapshot.vectors[rows] @ snapshot.vectors[rows].T
        for at, row in enumerate(rows.tolist()):
            if far_off(own, at, similarity_min):
                nearest = float(np.delete(own[at], at).max())
                found.append(FaultyTemplate(row, "far from the others", nearest))
            elif at and own[at, :at].max() >= DUPLICATE_MIN:
                found.append(FaultyTemplate(row, "duplicate", float(own[at, :at].max())))
    return sorted(found, key=lambda one: one.row)


def near_another(snapshot: GallerySnapshot, similarity_min: float) -> dict[int, FaultyTemplate]:
    found: dict[int, FaultyTemplate] = {}
    while True:
        rows = np.setdiff1d(np.arange(len(snapshot.vectors)), list(found))
        left = without_rows(snapshot, list(found))
        wrong = [
            (one.similarity - (similarity_min if one.own is None else one.own), index, one)
            for index in range(len(left.people))
            for one in mislabelled_templates(left, index, similarity_min)
            if one.similarity >= similarity_min
        ]
        if not wrong:
            return found
        _, index, clearest = max(wrong, key=lambda one: one[0])
        row = int(rows[left.person_index == index][clearest.row])
        found[row] = FaultyTemplate(row, "near another", clearest.similarity, clearest.other.name)


def far_off(own: F32, at: int, similarity_min: float) -> bool:
    rest = np.delete(np.delete(own, at, 0), at, 1)
    if len(rest) < 2 or np.delete(own[at], at).max() >= similarity_min:
        return False
    np.fill_diagonal(rest, -1)
    return bool((rest.max(axis=1) >= similarity_min).all())


def exact_unit(*axes: int) -> F32:
    """Of quarters: every product of two is exact, so that what is equal is equal to the last bit,
    in whatever order it is added."""
    vector = np.full(DIM, 0.25, np.float32)
    for axis in axes:
        vector[axis] *= -1
    return vector


ALIKE = [exact_unit(*axes) for axes in [(), (0,), (1,), (0, 1), (2, 3), (0, 2, 3)]]
OTHERS = [exact_unit(*axes, *range(8, DIM)) for axes in [(), (0,), (1,), (0, 1), (2, 3)]]


@given(
    st.lists(st.lists(st.sampled_from([*ALIKE, *OTHERS]), min_size=1, max_size=5), max_size=7),
    st.sampled_from([0.0, 0.25, 0.5, 0.7, 0.75, 0.99, 1.0]),
    st.sampled_from([1, 40, 1 << 23]),
)
@settings(max_examples=200)
def test_every_fault_is_the_plain_algorithms_where_much_is_equal(
    people: list[list[F32]], similarity_min: float, at_once: int
) -> None:
    snapshot = gallery(people)
    with patch.object(hygiene, "_AT_ONCE", at_once):
        assert faulty_templates(snapshot, similarity_min) == reference(snapshot, similarity_min)


def drawn(seed: int) -> GallerySnapshot:
    """People with photos under wrong names, of nobody, and twice; some people are there twice."""
    random = np.random.default_rng(seed)

    def look(face: NDArray[np.floating[Any]]) -> F32:
        other = random.standard_normal(DIM)
        vector = face + random.choice([0.3, 0.8]) * other / np.linalg.norm(other)
        return np.asarray(vector / np.linalg.norm(vector), np.float32)

    faces = random.standard_normal((random.integers(2, 9), DIM))
    faces /= np.linalg.norm(faces, axis=1, keepdims=True)
    who = [number for number in range(len(faces)) for _ in range(random.integers(1, 3))]
    people = [[look(faces[one]) for _ in range(random.integers(1, 6))] for one in who]
    for own in people:
        if random.random() < 0.4:
            own.append(look(faces[random.integers(len(faces))]))
        if random.random() < 0.2:
            own.append(look(random.standard_normal(DIM)))
        if random.random() < 0.2:
            own.append(own[0])
    return gallery(people)


@pytest.mark.parametrize("similarity_min", [0.4, 0.6, 0.8])
@pytest.mark.parametrize("at_once", [1, 200, 1 << 23])
def test_every_fault_is_the_plain_algorithms(similarity_min: float, at_once: int) -> None:
    kinds = set()
    for seed in range(40):
        snapshot = drawn(seed)
        with patch.object(hygiene, "_AT_ONCE", at_once):
            found = faulty_templates(snapshot, similarity_min)
        wanted = reference(snapshot, similarity_min)
        assert [(f.row, f.fault, f.other) for f in found] == [
            (w.row, w.fault, w.other) for w in wanted
        ], f"seed {seed}"
        likeness = [w.similarity for w in wanted]
        assert [f.similarity for f in found] == pytest.approx(likeness, abs=1e-6)
        kinds |= {f.fault for f in found}
    assert kinds == {"near another", "far from the others", "duplicate"}


def test_after_a_removal_only_what_it_changes_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = np.random.default_rng(0)
    faces = random.standard_normal((300, DIM)).astype(np.float32)
    faces /= np.linalg.norm(faces, axis=1, keepdims=True)
    planted, twins = 20, 6
    people = [[one, one, faces[at - 1] if at < planted else one] for at, one in enumerate(faces)]
    snapshot = gallery([*people, *[[exact_unit()]] * twins])
    looked: list[int] = []
    nearest = hygiene._Left._nearest

    def counted(left: Any, rows: Any, *, own: bool) -> Any:
        looked.append(len(rows))
        return nearest(left, rows, own=own)

    monkeypatch.setattr(hygiene._Left, "_nearest", counted)
    found = faulty_templates(snapshot, 0.95)
    assert sum(one.fault == "near another" for one in found) == planted + twins - 1
    assert sum(looked) < 2 * len(snapshot.vectors) + 5 * (planted + twins)
