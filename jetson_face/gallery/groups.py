"""A large gallery in memory: packs in groups, of which a change replaces one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetson_face.core.compact import SLACK, CompactTemplates
from jetson_face.core.types import I64, EmbeddingSpace, Person
from jetson_face.gallery import manifest, schema
from jetson_face.gallery.book import Book
from jetson_face.gallery.packs import PACKS, Pack, PackRows
from jetson_face.inference.byte_scan import ByteScan

GROUPS = 16
"""More cost less to replace, but each takes 0.05 ms to search, however small."""
_EACH = PACKS // GROUPS
_UUID = 36
_DASHES = (8, 13, 18, 23)
_DIGITS = [at for at in range(_UUID) if at not in _DASHES]
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_PROBE_OFF = 0.002
"""More than a probe of bytes is ever off."""


@dataclass(frozen=True, slots=True, eq=False)
class Names:
    """Many texts in little memory. ends: (N,)."""

    text: bytes
    ends: I64

    @classmethod
    def of(cls, names: Sequence[str]) -> Names:
        """In that order."""
        coded = [name.encode() for name in names]
        return cls(b"".join(coded), np.cumsum([len(one) for one in coded], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, at: int) -> str:
        start = int(self.ends[at - 1]) if at else 0
        return self.text[start : int(self.ends[at])].decode()


@dataclass(frozen=True, slots=True, eq=False)
class Ids:
    """Ids in little memory: what is written as a UUID takes 16 bytes in place of 36. rows: (N, 16)
    uint8 of UUIDs, or (N,) of others."""

    rows: NDArray[Any]

    @classmethod
    def of(cls, texts: NDArray[np.bytes_]) -> Ids:
        """texts: (N,)."""
        if texts.dtype.itemsize != _UUID:
            return cls(texts)
        signs = texts.view(np.uint8).reshape(-1, _UUID)
        digits = np.delete(signs, _DASHES, axis=1)
        values = np.where(digits >= ord("a"), digits - (ord("a") - 10), digits - ord("0"))
        rows = np.asarray(values[:, ::2] << 4 | values[:, 1::2], np.uint8)
        found = cls(rows)
        return found if np.array_equal(found[0 : len(rows)], texts) else cls(texts)

    def __getitem__(self, wanted: slice) -> NDArray[np.bytes_]:
        """Some of them as they are written."""
        part = self.rows[wanted]
        if part.ndim == 1:
            return np.asarray(part, np.bytes_)
        signs = np.full((len(part), _UUID), ord("-"), np.uint8)
        nibbles = np.stack([part >> 4, part & 15], axis=2).reshape(len(part), 32).astype(np.intp)
        signs[:, _DIGITS] = _HEX[nibbles]
        return np.asarray(signs.reshape(-1).view(f"S{_UUID}"), np.bytes_)


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Some of the people, with at least one template each, and their templates in that order.

    templates: M ids. people: (P,) ids. lengths: (P,) templates of each. starts: (P,). off: what
    a cosine is off by at most.
    """

    scan: ByteScan
    templates: Ids
    people: NDArray[np.bytes_]
    names: Names
    lengths: I64
    starts: I64
    off: float

    @classmethod
    def of(cls, packs: Sequence[Pack], dim: int, aside: Collection[str]) -> Group:
        """aside: templates (ids) that are not matched."""
        hidden = [key.encode() for key in aside]
        parts, lengths, people = [], [], []
        for pack in packs:
            records = pack.templates
            if hidden and len(records):
                records = records[~np.isin(records["id"], hidden)]
            owned = np.bincount(records["owner"], minlength=len(pack.people))
            people += [one for one, count in zip(pack.people, owned, strict=True) if count]
            lengths.append(owned[owned > 0])
            parts.append(records)
        each = np.concatenate([np.zeros(0, np.int64), *lengths]).astype(np.int64)
        error = _column(parts, "error", np.float32)
        codes = np.concatenate([np.zeros((0, dim), np.int8), *(one["codes"] for one in parts)])
        return cls(
            ByteScan(CompactTemplates(codes, _column(parts, "scale", np.float32), error)),
            Ids.of(_column(parts, "id", np.bytes_)),
            np.array([one.id.encode() for one in people], np.bytes_),
            Names.of([one.name for one in people]),
            each,
            np.cumsum(each) - each,
            float(error.max(initial=0)) + _PROBE_OFF + float(SLACK),
        )

    @staticmethod
    def of_pack(number: int) -> int:
        """Which group a pack is in."""
        return number // _EACH

    def person(self, at: int) -> Person:
        """One of the people."""
        return Person(bytes(self.people[at]).decode(), self.names[at])

    def find(self, person: str) -> int | None:
        """Which of the people has this id."""
        found = np.flatnonzero(self.people == person.encode())
        return int(found[0]) if len(found) else None

    def keys(self, at: int) -> NDArray[np.bytes_]:
        """The ids of a person's templates."""
        start = int(self.starts[at])
        return self.templates[start : start + int(self.lengths[at])]


def _column(parts: Sequence[np.ndarray], field: str, kind: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, kind), *(np.ascontiguousarray(one[field]) for one in parts)])


class PackFollower:
    """Which packs there are, and the groups made of them; what changed is read again."""

    def __init__(self, book: Book) -> None:
        self._book, self._rows = book, PackRows(book)
        self._revisions: dict[int, int] = {}
        self._totals: dict[int, int] = {}
        self._seen = -1
        self._made: dict[int, tuple[object, Group]] = {}

    def total(self, revision: int) -> int:
        """The numbers of all rows, added, as the packs have them. revision: of the gallery."""
        for number, written, total in self._rows.totals(self._seen):
            self._revisions[number], self._totals[number] = written, total
        self._seen = revision
        book = self._book
        rest = manifest.of_nobody(book.db, book.path, book.sealer)
        return manifest.added(*self._totals.values(), *rest)

    def rebuild(self, revision: int) -> None:
        """Write all packs again, from rows that were checked."""
        self._rows.build(revision)
        self._revisions, self._totals, self._seen = {}, {}, -1

    def groups(self, space: EmbeddingSpace, aside: frozenset[str]) -> tuple[Group, ...]:
        """Everybody, after `total`. Raises GalleryCorruptError."""
        return tuple(self._group(number, space, aside) for number in range(GROUPS))

    def _group(self, number: int, space: EmbeddingSpace, aside: frozenset[str]) -> Group:
        first = number * _EACH
        written = [self._revisions.get(pack, 0) for pack in range(first, first + _EACH)]
        of = (written, space, aside)
        known = self._made.get(number)
        if known is not None and known[0] == of:
            return known[1]
        packs = []
        for pack, revision in enumerate(written, first):
            there, read = self._rows.read(pack)
            if there != revision:
                raise schema.corrupt(self._book.path, "a pack was exchanged")
            packs.append(read)
        group = Group.of(packs, space.dim, aside)
        self._made[number] = of, group
        return group
