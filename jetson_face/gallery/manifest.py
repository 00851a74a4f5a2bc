"""The sealed sum over everything a gallery holds, with the number of the change that made it.

Each row has a keyed digest, a number modulo 2**256; the manifest seals their sum (an additive
multiset hash: D. Clarke et al., ASIACRYPT 2003). A change adds what it writes and subtracts what it
erases, so that enrolling costs the same in a large gallery. A row that was added, removed, or put
back as it was once, changes the sum, which nobody without the key can write.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jetson_face.core.errors import GalleryCorruptError
from jetson_face.core.types import EmbeddingSpace
from jetson_face.gallery import meta
from jetson_face.gallery.sealed import Sealer

KEY = "manifest"
_FORM = struct.Struct("<Q32s")
_MODULUS = 1 << 256
_END = 20
"""Bytes at the end of what is sealed: the cipher's tag, which no other sealed bytes of that row
have, and the checksum."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """generation: of the last change; grows with each, whatever happens to the file. total: the
    sum over all rows."""

    generation: int
    total: int

    def after(self, generation: int, delta: int) -> Manifest:
        """What a change makes of it."""
        return Manifest(generation, (self.total + delta) % _MODULUS)


def read(db: sqlite3.Connection, path: Path, sealer: Sealer) -> Manifest:
    """The manifest as it was last sealed. Raises GalleryCorruptError."""
    plain = sealer.open(stored(db, path), KEY)
    if len(plain) != _FORM.size:
        raise meta.broken(path, KEY)
    generation, total = _FORM.unpack(plain)
    return Manifest(generation, int.from_bytes(total, "little"))


def stored(db: sqlite3.Connection, path: Path) -> bytes:
    """The sealed bytes as they lie there: others after every change. Raises GalleryCorruptError."""
    blob = meta.value(db, path, KEY)
    if not isinstance(blob, bytes):
        raise meta.broken(path, KEY)
    return blob


def sealed(manifest: Manifest, sealer: Sealer) -> bytes:
    """What the gallery keeps of it."""
    total = manifest.total.to_bytes(32, "little")
    return sealer.seal(_FORM.pack(manifest.generation, total), KEY)


def write(db: sqlite3.Connection, sealer: Sealer, manifest: Manifest) -> None:
    """Part of the transaction that it describes."""
    meta.put(db, KEY, sealed(manifest, sealer))


def check(
    db: sqlite3.Connection, path: Path, sealer: Sealer, open_all: Callable[[], object]
) -> Manifest:
    """The manifest, after comparing it with every row; call it inside a transaction.

    open_all: opens every row, to name one that is damaged. Raises GalleryCorruptError, also where
    rows were added, removed or put back by something else.
    """
    found = read(db, path, sealer)
    if found.total == total(db, path, sealer) and found.generation == meta.revision(db, path):
        return found
    open_all()
    raise GalleryCorruptError(
        f"{path}: people or photos were added, removed or exchanged by something other than this "
        "program: restore the gallery from a backup, or, if you know why, run jetson-face gallery "
        "accept-restored"
    )


def total(db: sqlite3.Connection, path: Path, sealer: Sealer) -> int:
    """The sum over all rows that are there. Raises GalleryCorruptError, `sqlite3.Error`."""
    people = db.execute(f"SELECT id, tag, substr(about, -{_END}) FROM people")
    templates = db.execute(
        f"SELECT id, person, photo, face, substr(about, -{_END}), substr(vector, -{_END}) "
        "FROM templates"
    )
    return added(
        *of_nobody(db, path, sealer),
        *(of_person(sealer, *row) for row in people),
        *(of_template(sealer, *row) for row in templates),
    )


def added(*numbers: int) -> int:
    """The sum of rows' numbers."""
    return sum(numbers) % _MODULUS


def of_nobody(db: sqlite3.Connection, path: Path, sealer: Sealer) -> Iterator[int]:
    """The numbers of what is of no person: the space, who was erased, the notes."""
    yield of_space(sealer, meta.space(db, path))
    for (tag,) in db.execute("SELECT tag FROM erased"):
        yield of_erased(sealer, tag)
    for key, text in meta.notes(db):
        yield of_note(sealer, key, text)


def of_space(sealer: Sealer, space: EmbeddingSpace) -> int:
    """The number of the space that all vectors are of."""
    return _number(sealer, b"space", space.full_name.encode())


def of_person(sealer: Sealer, key: str, tag: bytes, about: bytes) -> int:
    """The number of a person's row."""
    return _number(sealer, b"person", key.encode(), tag, about[-_END:])


def of_template(
    sealer: Sealer, key: str, person: str, photo: bytes, face: int, about: bytes, vector: bytes
) -> int:
    """The number of a template's row."""
    ends = about[-_END:], vector[-_END:]
    return _number(sealer, b"template", key.encode(), person.encode(), photo, b"%d" % face, *ends)


def of_erased(sealer: Sealer, tag: bytes) -> int:
    """The number of somebody who was erased."""
    return _number(sealer, b"erased", tag)


def of_note(sealer: Sealer, key: str, blob: bytes) -> int:
    """The number of a text that is kept with the gallery."""
    return _number(sealer, b"note", key.encode(), blob[-_END:])


def _number(sealer: Sealer, *parts: bytes) -> int:
    return int.from_bytes(sealer.digest(*parts), "little")
