"""Packs: who is enrolled, compact, a few people together: what a large gallery is read from.

The rows of people and templates are what counts. Opening and checking each of 1,000,000 takes 15
seconds, so that every change also writes what it changed into one of 4096 packs: the people there,
with their templates a byte a number, and the sum of the people's rows (`manifest`). All sums
together must be the manifest's: that shows that no pack is missing or older than the rest. Who is
enrolled or erased costs one pack, whatever else is there.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from jetson_face.core.compact import compact
from jetson_face.core.errors import GalleryCorruptError
from jetson_face.core.types import EmbeddingSpace
from jetson_face.gallery import manifest, schema
from jetson_face.gallery.book import Book
from jetson_face.gallery.people import PeopleRows
from jetson_face.gallery.templates import TemplateRows

PACKS = 4096
_HEAD = struct.Struct("<III")
"""Length of the people's JSON; templates; bytes of a template's id."""
Records: TypeAlias = NDArray[np.void]
"""Templates, those of one person together: owner (which of the pack's people), id, scale, error,
codes; see `CompactTemplates`."""


@dataclass(frozen=True, slots=True)
class PackedPerson:
    """total: the numbers of the person's rows, added."""

    id: str
    name: str
    total: int


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """A few people, and their templates in the order of the people."""

    people: tuple[PackedPerson, ...]
    templates: Records


def number_of(person: str) -> int:
    """Which pack a person (id) is in."""
    return zlib.crc32(person.encode()) % PACKS


class PackRows:
    """The packs of a gallery file; errors and transactions as with Book."""

    def __init__(self, book: Book) -> None:
        self._book, self._db = book, book.db

    def rewrite(self, people: Collection[str], revision: int) -> None:
        """Write the packs of these people (ids) again, from their rows as they are now."""
        space = self._book.space()
        try:
            for number, changed in _by_pack(sorted(people)).items():
                self._write(number, revision, self._changed(number, changed, space))
        except GalleryCorruptError:
            # A pack is made from rows that the manifest guards: it is never a reason to stop.
            self.build(revision)

    def build(self, revision: int) -> None:
        """Write every pack again."""
        space = self._book.space()
        self._db.execute("DELETE FROM packs")
        everybody = [key for (key,) in self._db.execute("SELECT id FROM people ORDER BY id")]
        for number, people in _by_pack(everybody).items():
            parts = [self._of_rows(person, space) for person in people]
            self._write(number, revision, _joined(parts, space))

    def read(self, number: int) -> tuple[int, Pack]:
        """One pack, and the revision that wrote it; an empty one where there is none."""
        space = self._book.space()
        row = self._db.execute(
            "SELECT revision, pack FROM packs WHERE number = ?", (number,)
        ).fetchone()
        if row is None:
            return 0, _joined([], space)
        revision, blob = row
        plain = self._book.sealer.open(blob, "pack", str(number), str(revision))
        return revision, _unpacked(plain, space, self._book)

    def totals(self, since: int) -> Iterator[tuple[int, int, int]]:
        """Number, revision and total of the packs that a later change than `since` wrote."""
        for number, revision, blob in self._db.execute(
            "SELECT number, revision, total FROM packs WHERE revision > ?", (since,)
        ).fetchall():
            plain = self._book.sealer.open(blob, "pack_total", str(number), str(revision))
            yield number, revision, int.from_bytes(plain, "little")

    def _changed(self, number: int, people: Collection[str], space: EmbeddingSpace) -> Pack:
        _, before = self.read(number)
        owner = before.templates["owner"]
        parts = [
            Pack((person,), before.templates[owner == at])
            for at, person in enumerate(before.people)
            if person.id not in people
        ]
        there = (self._of_rows(person, space) for person in people)
        return _joined([*parts, *(one for one in there if one.people)], space)

    def _of_rows(self, person: str, space: EmbeddingSpace) -> Pack:
        """A person (id) by the rows; nobody where there is none."""
        found = PeopleRows(self._book).packed(person)
        if found is None:
            return _joined([], space)
        name, number = found
        rows = list(TemplateRows(self._book).packed(person))
        vectors = np.frombuffer(b"".join(v for _, _, v in rows), "<f4").reshape(-1, space.dim)
        short = compact(vectors)
        width = max((len(key) for key, _, _ in rows), default=1)
        records = np.zeros(len(rows), _form(width, space.dim))
        records["id"] = [key.encode() for key, _, _ in rows]
        for field in ("scale", "error", "codes"):
            records[field] = getattr(short, field)
        total = manifest.added(number, *(n for _, n, _ in rows))
        return Pack((PackedPerson(person, name, total),), records)

    def _write(self, number: int, revision: int, pack: Pack) -> None:
        row = str(number), str(revision)
        total = manifest.added(*(person.total for person in pack.people)).to_bytes(32, "little")
        seal = self._book.sealer.seal
        self._db.execute(
            "INSERT OR REPLACE INTO packs VALUES (?, ?, ?, ?)",
            (number, revision, seal(total, "pack_total", *row), seal(_packed(pack), "pack", *row)),
        )


def _by_pack(people: Iterable[str]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for person in people:
        found.setdefault(number_of(person), []).append(person)
    return found


def _form(width: int, dim: int) -> Any:
    return np.dtype(
        [
            ("owner", "<u4"),
            ("id", f"S{width}"),
            ("scale", "<f4"),
            ("error", "<f4"),
            ("codes", "i1", (dim,)),
        ]
    )


def _joined(parts: Collection[Pack], space: EmbeddingSpace) -> Pack:
    """One pack of several of one person each."""
    width = max((part.templates.dtype["id"].itemsize for part in parts), default=1)
    form = _form(width, space.dim)
    if not parts:
        return Pack((), np.zeros(0, form))
    records = np.concatenate([part.templates.astype(form) for part in parts])
    records["owner"] = np.repeat(np.arange(len(parts)), [len(part.templates) for part in parts])
    return Pack(tuple(part.people[0] for part in parts), records)


def _packed(pack: Pack) -> bytes:
    told = [[one.id, one.name, f"{one.total:x}"] for one in pack.people]
    people = json.dumps(told, ensure_ascii=False).encode()
    head = _HEAD.pack(len(people), len(pack.templates), pack.templates.dtype["id"].itemsize)
    return head + people + pack.templates.tobytes()


def _unpacked(plain: bytes, space: EmbeddingSpace, book: Book) -> Pack:
    try:
        length, count, width = _HEAD.unpack_from(plain)
        start = _HEAD.size + length
        told = json.loads(plain[_HEAD.size : start])
        records = np.frombuffer(plain, _form(width, space.dim), count, start)
        people = tuple(PackedPerson(key, name, int(total, 16)) for key, name, total in told)
    except (struct.error, ValueError, TypeError):
        raise schema.corrupt(book.path, "a pack") from None
    return Pack(people, records)
