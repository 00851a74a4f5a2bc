"""Which templates do harm: far from their person's others, near another person's, or twice there;
and what the gallery would decide without them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from jetson_face.core.types import F32, I64, Embeddings
from jetson_face.gallery.label_check import mislabelled_templates
from jetson_face.gallery.matcher import GallerySnapshot, Matcher

Fault: TypeAlias = Literal["near another", "far from the others", "duplicate"]
DUPLICATE_MIN = 0.98
"""Cosine of two templates of one person at or above which the second says nothing new."""
_COMPANY_MIN = 2
"""So many others a template is compared with, before it can be the one that is far off."""


@dataclass(frozen=True, slots=True)
class FaultyTemplate:
    """row: of the snapshot. similarity: cosine to the other person's template, to the nearest of
    its own, or to its duplicate. other: whose template it is near; empty for the other faults."""

    row: int
    fault: Fault
    similarity: float
    other: str = ""

    @property
    def harmful(self) -> bool:
        """It belongs out of matching; a duplicate is merely useless."""
        return self.fault != "duplicate"


def faulty_templates(snapshot: GallerySnapshot, similarity_min: float) -> list[FaultyTemplate]:
    """Every fault, one a template, in the order of the snapshot.

    similarity_min: cosine at or above which two faces are one person. Far off is a template that is
    below it with each of two or more others of its person, while those are above it among
    themselves.
    """
    near = _near_another(snapshot, similarity_min)
    found = list(near.values())
    for index in range(len(snapshot.people)):
        rows = np.flatnonzero(snapshot.person_index == index)
        rows = rows[~np.isin(rows, list(near))]
        own = snapshot.vectors[rows] @ snapshot.vectors[rows].T
        for at, row in enumerate(rows.tolist()):
            others = np.delete(own[at], at)
            if _far_off(own, at, similarity_min):
                found.append(FaultyTemplate(row, "far from the others", float(others.max())))
            elif at and own[at, :at].max() >= DUPLICATE_MIN:
                found.append(FaultyTemplate(row, "duplicate", float(own[at, :at].max())))
    return sorted(found, key=lambda one: one.row)


def _near_another(snapshot: GallerySnapshot, similarity_min: float) -> dict[int, FaultyTemplate]:
    """By row. The clearest goes first: whoever looked like it may look like nobody then."""
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


def _far_off(own: F32, at: int, similarity_min: float) -> bool:
    """own: (K, K) cosines among a person's templates."""
    rest = np.delete(np.delete(own, at, 0), at, 1)
    if len(rest) < _COMPANY_MIN or np.delete(own[at], at).max() >= similarity_min:
        return False
    np.fill_diagonal(rest, -1)
    return bool((rest.max(axis=1) >= similarity_min).all())


@dataclass(frozen=True, slots=True)
class ChangedDecision:
    """A face that would be named otherwise. probe: its number. None: nobody."""

    probe: int
    before: str | None
    after: str | None


def preview(
    before: Matcher,
    after: Matcher,
    probes: Embeddings,
    named: Callable[[Matcher, Embeddings], Sequence[str | None]],
) -> list[ChangedDecision]:
    """The faces (N, dim) that two galleries name differently. named: who each is, with one of
    them, at the thresholds that it asks for."""
    pairs = zip(named(before, probes), named(after, probes), strict=True)
    return [
        ChangedDecision(at, one, other) for at, (one, other) in enumerate(pairs) if one != other
    ]


def without_rows(snapshot: GallerySnapshot, rows: Sequence[int] | I64) -> GallerySnapshot:
    """The gallery without these templates; who has none left is not in it."""
    kept = ~np.isin(np.arange(len(snapshot.vectors)), rows)
    left, index = np.unique(snapshot.person_index[kept], return_inverse=True)
    people = tuple(snapshot.people[who] for who in left)
    return GallerySnapshot(
        snapshot.space, snapshot.vectors[kept], index.astype(np.int64), people, snapshot.revision
    )
