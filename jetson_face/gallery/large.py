"""A gallery too large to hold as it is: a byte a number in memory, exact vectors from the file.

A scan of the compact templates (`inference.byte_scan`) says within what each cosine lies. Who may
be among the nearest is read in full and compared exactly, so that the answer is that of a full
comparison.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from jetson_face.core.types import F32, I64, NO_MATCH, Candidate, EmbeddingSpace, Match, Person
from jetson_face.gallery.exact import ExactTemplates
from jetson_face.gallery.groups import Group
from jetson_face.gallery.names import name_key
from jetson_face.gallery.negatives import Negatives
from jetson_face.gallery.packs import number_of
from jetson_face.gallery.scoring import PersonLayout
from jetson_face.gallery.snapshot import GallerySnapshot
from jetson_face.inference.byte_scan import ByteProbes
from jetson_face.util.machine import give_back_memory

CANDIDATES = 3
"""How many people a match names, the nearest one included."""
_AT_ONCE = 2
"""Probes that are compared together: 4 MB each for 1,000,000 templates."""
_BLOCK = 64
_SEEDS = 16
"""Blocks of templates from which the first people come that are compared exactly."""
_SPARE = 3
"""So many more people than wanted are read at first: who is among them raises the bar."""


class LargePeople(Sequence[Person]):
    """Everybody, made when asked for."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._groups = groups
        self._ends = np.cumsum([len(group.names) for group in groups])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @overload
    def __getitem__(self, index: int) -> Person: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Person, ...]: ...

    def __getitem__(self, index: int | slice) -> Person | tuple[Person, ...]:
        if isinstance(index, slice):
            return tuple(self[at] for at in range(*index.indices(len(self))))
        at = range(len(self))[index]
        group = int(np.searchsorted(self._ends, at, side="right"))
        own = self._groups[group]
        return own.person(at - int(self._ends[group]) + len(own.names))

    def __iter__(self) -> Iterator[Person]:
        for group in self._groups:
            yield from map(group.person, range(len(group.names)))


class LargeGallery(GallerySnapshot):
    """A snapshot that answers without holding its vectors.

    `vectors` reads all of them from the file, which takes long and much memory: for measuring.
    groups: everybody. exact: where the vectors come from.
    """

    _exact: ExactTemplates
    _groups: tuple[Group, ...]
    _layout: PersonLayout
    _off: float
    _people_before: I64
    __slots__ = ("_exact", "_groups", "_layout", "_off", "_people_before")

    def __init__(
        self,
        space: EmbeddingSpace,
        groups: Sequence[Group],
        exact: ExactTemplates,
        revision: int = 0,
        withheld: frozenset[str] = frozenset(),
    ) -> None:
        put = object.__setattr__
        put(self, "space", space)
        put(self, "people", LargePeople(groups))
        put(self, "revision", revision)
        put(self, "_groups", tuple(groups))
        put(self, "_exact", exact)
        lengths = np.concatenate([np.zeros(0, np.int64), *(group.lengths for group in groups)])
        put(self, "_layout", PersonLayout(np.cumsum(lengths) - lengths, lengths))
        put(self, "_people_before", np.cumsum([0, *(len(group.names) for group in groups)]))
        put(self, "_off", max((group.off for group in groups), default=0.0))
        there = (who for who in withheld if self.index_of(who) is not None)
        put(self, "withheld", frozenset(there))

    @property
    def vectors(self) -> F32:
        """(M, dim), read from the file. Raises the gallery's errors."""
        return self._exact.must(np.concatenate([group.templates[:] for group in self._groups]))

    @property
    def person_index(self) -> I64:
        """(M,) index into `people`, ascending."""
        return np.repeat(np.arange(len(self.people), dtype=np.int64), self._layout.lengths)

    @property
    def template_count(self) -> int:
        """How many templates are compared."""
        return int(self._layout.lengths.sum())

    def index_of(self, person: str) -> int | None:
        """Which of `people` has this id."""
        number = Group.of_pack(number_of(person))
        found = self._groups[number].find(person)
        return None if found is None else int(self._people_before[number]) + found

    def own(self, index: int) -> F32:
        """The templates of one of the people: (K, dim). Raises the gallery's errors."""
        return self._exact.must(self._keys(np.array([index])))

    def nearest(self, faces: F32, without: int | None = None) -> list[tuple[int, float]]:
        """See GallerySnapshot."""
        answers: list[tuple[int, float]] = []
        for people, scores in self._search(np.asarray(faces, np.float32), 1, 2):
            ranked = sorted(zip(scores.tolist(), people.tolist(), strict=True), reverse=True)
            kept = [(who, score) for score, who in ranked if who != without]
            answers.append(kept[0] if kept else (-1, -np.inf))
        return answers

    def match(self, probes: F32, top_k: int, negatives: Negatives | None) -> list[Match]:
        """See Matcher; probes: (N, dim) unit vectors."""
        if not len(self.people):
            return [NO_MATCH] * len(probes)
        rejected = 0 if negatives is None else len(set(negatives.person))
        found = []
        searched = self._search(probes, top_k, CANDIDATES + rejected)
        for probe, (indices, scores) in zip(probes, searched, strict=True):
            people = [self.people[at] for at in indices.tolist()]
            if negatives is not None:
                scores = negatives.hold_against(scores[None], probe[None], people)[0]
            pairs = zip(people, scores.tolist(), strict=True)
            # of equal ones the first by name, as in a small gallery
            ranked = sorted(pairs, key=lambda pair: (-pair[1], name_key(pair[0].name)))
            named = tuple(Candidate(*pair) for pair in ranked[:CANDIDATES])
            second = named[1].similarity if len(named) > 1 else -1.0
            found.append(Match(named[0].person, named[0].similarity, second, named))
        return found

    def pack(self) -> None:
        """Make searching fast, for a program that goes on; see ByteScan."""
        for group in self._groups:
            if group.scan.pack():
                give_back_memory()  # or 1,000,000 templates keep 200 MB more

    def _search(self, probes: F32, top_k: int, count: int) -> Iterator[tuple[I64, F32]]:
        """For each probe people (indices) with their exact scores, the `count` best among them."""
        for begin in range(0, len(probes), _AT_ONCE):
            part = ByteProbes.of(probes[begin : begin + _AT_ONCE])
            high = np.empty((len(part.exact), self.template_count), np.float32)
            at = 0
            for group in self._groups:
                group.scan.at_most(part, high[:, at : at + len(group.scan)])
                at += len(group.scan)
            for probe, own in zip(part.exact, high, strict=True):
                yield self._best(probe, own, top_k, count)

    def _best(self, probe: F32, high: F32, top_k: int, count: int) -> tuple[I64, F32]:
        """high: (M,) what each cosine is at most."""
        people = self._first(high, top_k, count + _SPARE)
        scores = self._scores(probe, high, people, top_k)
        if len(people) < count:
            return people, scores
        least = float(np.partition(scores, len(scores) - count)[len(scores) - count])
        rest = np.setdiff1d(self._owners(np.flatnonzero(high >= least)), people)
        may = [self._bound(high, who, top_k) >= least for who in rest.tolist()]
        rest = rest[np.array(may, np.bool_)]
        more = self._scores(probe, high, rest, top_k)
        return np.append(people, rest), np.append(scores, more)

    def _first(self, high: F32, top_k: int, count: int) -> I64:
        """So many people whose scores may be the greatest; everybody where they are fewer."""
        people = self._owners(_largest(high))
        count = min(count, len(self.people))
        if len(people) < count:
            nearest = np.maximum.reduceat(high, self._layout.starts)
            people = np.argpartition(nearest, len(nearest) - count)[len(nearest) - count :]
        first = [self._bound(high, who, top_k) for who in people.tolist()]
        return np.asarray(people[np.argsort(first)[::-1][:count]], np.int64)

    def _bound(self, high: F32, person: int, top_k: int) -> float:
        """What a person's score is at most: the mean of the k greatest, where equal templates,
        which count once, cannot make it the mean of fewer."""
        own = np.sort(self._of(high, person))[::-1]
        apart = 1 + int((own[:-1] - own[1:] > 2 * self._off).sum())
        return float(own[:top_k].mean() if min(top_k, len(own)) <= apart else own[0])

    def _of(self, values: F32, person: int) -> F32:
        start = int(self._layout.starts[person])
        found: F32 = values[start : start + int(self._layout.lengths[person])]
        return found

    def _scores(self, probe: F32, high: F32, people: I64, top_k: int) -> F32:
        """Exact scores of some people: (len(people),)."""
        if not len(people):
            return np.zeros(0, np.float32)
        vectors, there = self._exact.read(self._keys(people))
        cosines = vectors @ probe
        if not there.all():
            # what cannot be read now, or was erased a moment ago, counts as it is in memory
            cosines = np.where(there, cosines, high[self._rows(people)] - self._off)
        lengths = self._layout.lengths[people]
        layout = PersonLayout(np.cumsum(lengths) - lengths, lengths)
        return np.asarray(layout.top(cosines[None], top_k)[0], np.float32)

    def _owners(self, rows: I64) -> I64:
        """The people whose templates these are, each once."""
        return np.unique(np.searchsorted(self._layout.starts, rows, side="right") - 1)

    def _rows(self, people: I64) -> I64:
        starts, lengths = self._layout.starts[people], self._layout.lengths[people]
        within = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return np.asarray(np.repeat(starts, lengths) + within, np.int64)

    def _keys(self, people: I64) -> NDArray[np.bytes_]:
        """The ids of the people's templates, as `_rows` orders them."""
        found = []
        for person in people.tolist():
            group = int(np.searchsorted(self._people_before, person, side="right")) - 1
            found.append(self._groups[group].keys(person - int(self._people_before[group])))
        return np.concatenate(found)


class LargeNames(Mapping[str, str]):
    """Who may be named, id to name: looked up one by one."""

    def __init__(self, gallery: LargeGallery) -> None:
        self._gallery = gallery

    def __getitem__(self, person: str) -> str:
        index = self._gallery.index_of(person)
        if index is None or person in self._gallery.withheld:
            raise KeyError(person)
        return self._gallery.people[index].name

    def __iter__(self) -> Iterator[str]:
        hidden = self._gallery.withheld
        return (person.id for person in self._gallery.people if person.id not in hidden)

    def __len__(self) -> int:
        return len(self._gallery.people) - len(self._gallery.withheld)


def _largest(values: F32) -> I64:
    """Where some of the largest of (M,) are: at least the `_SEEDS` largest, or all."""
    if len(values) <= _BLOCK * _SEEDS:
        return np.arange(len(values))
    whole = len(values) // _BLOCK * _BLOCK
    # rows that are far apart share a block: so that the processor compares neighbours at once
    blocks = values[:whole].reshape(_BLOCK, -1).max(axis=0)
    best = np.argpartition(blocks, len(blocks) - _SEEDS)[len(blocks) - _SEEDS :]
    least = blocks[best].min()
    rows = (best[:, None] + len(blocks) * np.arange(_BLOCK)).ravel()
    tail = np.arange(whole, len(values))
    rows = np.append(rows, tail)
    return np.asarray(rows[values[rows] >= least], np.int64)
