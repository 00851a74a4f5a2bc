"""Which templates do harm: far from their person's others, near another person's, or twice there;
and what the gallery would decide without them."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from jetson_face.core.errors import GalleryError
from jetson_face.core.types import F32, I64, Embeddings, Person
from jetson_face.gallery.matcher import GallerySnapshot, Matcher
from jetson_face.gallery.store import GalleryStore
from jetson_face.gallery.templates import TemplateRows

Fault: TypeAlias = Literal["near another", "far from the others", "duplicate"]
F64: TypeAlias = NDArray[np.float64]
DUPLICATE_MIN = 0.98
"""Cosine of two templates of one person at or above which the second says nothing new."""
_COMPANY_MIN = 2
"""So many others a template is compared with, before it can be the one that is far off."""
_AT_ONCE = 1 << 23
"""Cosines in memory: 32 MB."""
_PROBES = 64
"""Faces that are matched together."""


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
    themselves. Takes time with the square of the templates, and memory with their number.
    """
    left = _Left(snapshot)
    found = _near_another(left, snapshot.people, similarity_min)
    found += _far_off(left, similarity_min)
    found += _duplicates(left, {one.row for one in found})
    return sorted(found, key=lambda one: one.row)


@dataclass(frozen=True, slots=True, eq=False)
class _Nearest:
    """Of each of some templates the nearest of others, the first of equal ones. row: (N,). cosine:
    (N,), minus infinity where there is none."""

    row: I64
    cosine: F64

    def put(self, rows: I64, found: _Nearest) -> None:
        """Replace what is known of these."""
        self.row[rows], self.cosine[rows] = found.row, found.cosine


class _Left:
    """The templates that were not taken out, each with its nearest ones.

    own: of its person. other: of somebody else; what it says of a template may be of before
    something was taken out, and is too high then: see `outdated`.
    """

    def __init__(self, snapshot: GallerySnapshot) -> None:
        self.vectors, self.person = snapshot.vectors, snapshot.person_index
        self.starts = np.searchsorted(self.person, np.arange(len(snapshot.people) + 1))
        self.there = np.ones(len(self.person), np.bool_)
        every = np.arange(len(self.person))
        self.own, self.other = self._nearest(every, own=True), self._nearest(every, own=False)

    def outdated(self, row: int) -> bool:
        """The nearest of somebody else was taken out."""
        return not self.there[self.other.row[row]]

    def look_again(self, row: int) -> None:
        """Bring what is known of other people's templates up to date."""
        rows = np.array([row])
        self.other.put(rows, self._nearest(rows, own=False))

    def take_out(self, row: int) -> I64:
        """The templates whose nearest of their own person it was, which have another one now."""
        self.there[row] = False
        rows = np.flatnonzero(self.there & (self.own.row == row))
        self.own.put(rows, self._nearest(rows, own=True))
        return rows

    def before(self, row: int) -> F32:
        """Cosines to the earlier ones of its person."""
        earlier = slice(self.starts[self.person[row]], row)
        return np.asarray(self.vectors[earlier][self.there[earlier]] @ self.vectors[row])

    def _nearest(self, rows: I64, *, own: bool) -> _Nearest:
        """rows: ascending. own: among those of the same person, else among all others."""
        found = _Nearest(np.zeros(len(rows), np.int64), np.full(len(rows), -np.inf))
        step = max(1, _AT_ONCE // max(1, len(self.person)))
        for at in range(0, len(rows), step):
            part = rows[at : at + step]
            people = slice(*self.starts[[self.person[part[0]], self.person[part[-1]] + 1]])
            compared = people if own else slice(0, len(self.person))
            cosines = self.vectors[part] @ self.vectors[compared].T
            same = self.person[part, None] == self.person[people]
            if own:
                cosines[~same] = -np.inf
                cosines[np.arange(len(part)), part - people.start] = -np.inf
            else:
                cosines[:, people][same] = -np.inf
            cosines[:, ~self.there[compared]] = -np.inf
            nearest = cosines.argmax(axis=1)
            found.row[at : at + step] = nearest + compared.start
            found.cosine[at : at + step] = cosines[np.arange(len(part)), nearest]
        return found


def _near_another(
    left: _Left, people: Sequence[Person], similarity_min: float
) -> list[FaultyTemplate]:
    """Taken out of `left`. The clearest goes first: whoever looked like it may look like nobody
    then."""

    def how_clear(rows: I64 | slice) -> F64:
        own, other = left.own.cosine[rows], left.other.cosine[rows]
        wrong = (other >= similarity_min) & (other > own)
        bar = np.where(np.isfinite(own), own, similarity_min)
        return np.where(wrong, other - bar, -np.inf)

    found = []
    clear = how_clear(slice(None))
    while np.isfinite(clear.max(initial=-np.inf)):
        row = int(clear.argmax())
        changed = np.array([row])
        if left.outdated(row):
            left.look_again(row)
        else:
            similarity, other = float(left.other.cosine[row]), left.person[left.other.row[row]]
            found.append(FaultyTemplate(row, "near another", similarity, people[other].name))
            changed = left.take_out(row)
            clear[row] = -np.inf
        clear[changed] = how_clear(changed)
    return found


def _far_off(left: _Left, similarity_min: float) -> list[FaultyTemplate]:
    """The only one of its person that is below the bar with all others."""
    odd = left.there & (left.own.cosine < similarity_min)
    count = len(left.starts) - 1
    company = np.bincount(left.person[left.there], minlength=count)[left.person] - 1
    alone = np.bincount(left.person[odd], minlength=count)[left.person] == 1
    rows = np.flatnonzero(odd & alone & (company >= _COMPANY_MIN)).tolist()
    return [FaultyTemplate(row, "far from the others", left.own.cosine[row].item()) for row in rows]


def _duplicates(left: _Left, faulty: Container[int]) -> list[FaultyTemplate]:
    """The later ones of each pair."""
    rows = np.flatnonzero(left.there & (left.own.cosine >= DUPLICATE_MIN)).tolist()
    found = []
    for row in rows:
        nearest = float(left.before(row).max(initial=-np.inf))
        if nearest >= DUPLICATE_MIN and row not in faulty:
            found.append(FaultyTemplate(row, "duplicate", nearest))
    return found


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
    found = []
    for begin in range(0, len(probes), _PROBES):
        part = Embeddings(probes.vectors[begin : begin + _PROBES], probes.space)
        pairs = zip(named(before, part), named(after, part), strict=True)
        found += [
            ChangedDecision(at, one, other)
            for at, (one, other) in enumerate(pairs, begin)
            if one != other
        ]
    return found


def without_rows(snapshot: GallerySnapshot, rows: Sequence[int] | I64) -> GallerySnapshot:
    """The gallery without these templates; who has none left is not in it."""
    kept = np.ones(snapshot.template_count, np.bool_)
    kept[np.asarray(rows, np.int64)] = False
    left, index = np.unique(snapshot.person_index[kept], return_inverse=True)
    people = tuple(snapshot.people[who] for who in left)
    return GallerySnapshot(
        snapshot.space, snapshot.vectors[kept], index.astype(np.int64), people, snapshot.revision
    )


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """What is matched at one moment, in memory. ids: (M,) of the snapshot's templates, which name
    them also when others have changed the gallery."""

    snapshot: GallerySnapshot
    ids: Sequence[str]


def read_matched(store: GalleryStore) -> Matched:
    """What is matched now, of a large gallery too. Raises the gallery's errors."""
    while True:
        # Outside the transaction: there nothing is checked, and others would wait.
        snapshot = store.snapshot()
        with store.transaction():
            if store.revision() != snapshot.revision:
                continue
            aside, rows = store.aside(), TemplateRows(store.book)
            own = (rows.ids(person.id) for person in snapshot.people)
            ids = [key for keys in own for key in keys if key not in aside]
        return Matched(without_rows(snapshot, []), ids)


def still_matched(store: GalleryStore, before: Matched) -> frozenset[str]:
    """The templates (ids) that are matched now; inside a transaction.

    Raises GalleryError where they were embedded again: then nothing that was found holds.
    """
    if store.book.space() != before.snapshot.space:
        raise GalleryError(f"{store.path}: somebody embedded the gallery again: try again")
    return frozenset(TemplateRows(store.book).ids()) - store.aside()
