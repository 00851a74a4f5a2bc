"""One open gallery file: what its rows are sealed with, and what a change adds to its sum."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from jetson_face.core.types import EmbeddingSpace
from jetson_face.gallery import manifest, meta, schema
from jetson_face.gallery.sealed import Sealer


class Book:
    """What `people` and `templates` write through; every method belongs into a transaction.

    delta: what the rows written since the last `settle` add to the sum over all rows. touched: ids
    of the people whose rows those were. Every method may raise GalleryCorruptError and
    `sqlite3.Error`.
    """

    def __init__(self, db: sqlite3.Connection, path: Path, sealer: Sealer) -> None:
        self.db, self.path, self.sealer = db, path, sealer
        self.delta = 0
        self.touched: set[str] = set()

    def wrote(self, number: int, person: str | None = None) -> None:
        """A row with that number was written; with its negative: erased. person: whose (id)."""
        self.delta += number
        if person is not None:
            self.touched.add(person)
        meta.raise_revision(self.db)

    def settle(self) -> int:
        """The delta; it begins at 0 again, and nobody's rows were touched."""
        delta, self.delta = self.delta, 0
        self.touched.clear()
        return delta

    def space(self) -> EmbeddingSpace:
        """The space of all vectors."""
        return meta.space(self.db, self.path)

    def sealed(self, known: Mapping[str, Any], kind: str, *row: str) -> bytes:
        """A few facts as the bytes to store."""
        return self.sealer.seal(json.dumps(known, ensure_ascii=False).encode(), kind, *row)

    def opened(self, blob: bytes, kind: str, *row: str) -> dict[str, Any]:
        """The facts again."""
        plain = self.sealer.open(blob, kind, *row)
        try:
            known = json.loads(plain)
        except ValueError:
            known = None
        if not isinstance(known, dict):
            raise schema.corrupt(self.path, f"the record of {kind} {row[0]}")
        return known

    def note(self, key: str) -> str | None:
        """A text that is kept with the gallery."""
        blob = meta.note(self.db, key)
        return None if blob is None else self.sealer.open(blob, "note", key).decode()

    def set_note(self, key: str, text: str | None) -> None:
        """Keep it, or forget it."""
        old = meta.note(self.db, key)
        new = None if text is None else self.sealer.seal(text.encode(), "note", key)
        meta.set_note(self.db, key, new)
        if old is not None:
            self.wrote(-manifest.of_note(self.sealer, key, old))
        if new is not None:
            self.wrote(manifest.of_note(self.sealer, key, new))

    def set_ids(self, key: str, ids: Collection[str]) -> bool:
        """Keep these ids as a note, and no others; False where it has these already."""
        if frozenset(ids) == ids_in(self.note(key)):
            return False
        self.set_note(key, json.dumps(sorted(ids)) if ids else None)
        return True

    def photo_tag(self, photo: str) -> bytes:
        """What stands for a photo (hex SHA-256)."""
        return self.sealer.tag("photo", photo)

    def erased_tag(self, person: str) -> bytes:
        """What stands for a person (id) who was erased."""
        return self.sealer.tag("erased", person)

    def erased(self) -> frozenset[bytes]:
        """The tags of people who were erased, and of their photos."""
        return frozenset(tag for (tag,) in self.db.execute("SELECT tag FROM erased"))

    def was_erased(self, person: str) -> bool:
        """A person (id) was erased here; ids are never used again."""
        tag = self.erased_tag(person)
        return self.db.execute("SELECT 1 FROM erased WHERE tag = ?", (tag,)).fetchone() is not None

    def add_erased(self, tags: Iterable[bytes]) -> None:
        """Remember them as erased."""
        for tag in tags:
            if self.db.execute("INSERT OR IGNORE INTO erased VALUES (?)", (tag,)).rowcount:
                self.wrote(manifest.of_erased(self.sealer, tag))

    def forget_erased(self, tag: bytes) -> None:
        """Enrolled again on purpose."""
        if self.db.execute("DELETE FROM erased WHERE tag = ?", (tag,)).rowcount:
            self.wrote(-manifest.of_erased(self.sealer, tag))


def ids_in(note: str | None) -> frozenset[str]:
    """The ids in a note that `set_ids` made."""
    return frozenset(map(str, json.loads(note or "[]")))
