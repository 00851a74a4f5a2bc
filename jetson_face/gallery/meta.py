"""What a gallery file remembers of itself: its id, its embedding space, how often it changed."""

from __future__ import annotations

import sqlite3
from dataclasses import asdict
from pathlib import Path

from jetson_face.core.errors import GalleryCorruptError
from jetson_face.core.types import EmbeddingSpace
from jetson_face.gallery import schema

Value = str | int | bytes
_NOTE = "note_"


def value(db: sqlite3.Connection, path: Path, key: str) -> Value:
    """One entry. Raises GalleryCorruptError when it is missing."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    if row is None or not isinstance(row[0], (str, int, bytes)):
        raise broken(path, key)
    found: Value = row[0]
    return found


def put(db: sqlite3.Connection, key: str, value: Value) -> None:
    """Keep one entry."""
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def broken(path: Path, key: str) -> GalleryCorruptError:
    """An entry is not there, or is not what it should be."""
    return schema.corrupt(path, f"meta {key!r} is missing")


def gallery(db: sqlite3.Connection, path: Path) -> str:
    """The gallery's id. Raises GalleryCorruptError."""
    found = value(db, path, "gallery")
    if not isinstance(found, str) or not found.isascii() or not found.isprintable():
        raise broken(path, "gallery")
    return found


def revision(db: sqlite3.Connection, path: Path) -> int:
    """How often the gallery changed. Raises GalleryCorruptError."""
    found = value(db, path, "revision")
    if not isinstance(found, int) or found < 0:
        raise schema.corrupt(path, f"revision {found!r}")
    return found


def raise_revision(db: sqlite3.Connection) -> None:
    """Part of every change, so that running programs notice it."""
    db.execute("UPDATE meta SET value = value + 1 WHERE key = 'revision'")


def space(db: sqlite3.Connection, path: Path) -> EmbeddingSpace:
    """The space of all its vectors. Raises GalleryCorruptError."""
    dim = value(db, path, "dim")
    if not isinstance(dim, int) or not 1 <= dim <= 65536:
        raise schema.corrupt(path, f"dimension {dim!r}")
    model, digest = str(value(db, path, "model")), str(value(db, path, "digest"))
    if not (model + digest).isprintable():
        raise schema.corrupt(path, f"model {model!r}")  # it goes into messages
    return EmbeddingSpace(model, digest, dim)


def set_space(db: sqlite3.Connection, space: EmbeddingSpace) -> None:
    """Bind the gallery to another space, in the transaction that replaces its vectors."""
    for key, value in asdict(space).items():
        put(db, key, value)


def note(db: sqlite3.Connection, key: str) -> bytes | None:
    """A sealed text that not every gallery has."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", (_NOTE + key,)).fetchone()
    return None if row is None else _bytes(row[0])


def set_note(db: sqlite3.Connection, key: str, blob: bytes | None) -> None:
    """Keep a sealed text, or forget it."""
    db.execute("DELETE FROM meta WHERE key = ?", (_NOTE + key,))
    if blob is not None:
        put(db, _NOTE + key, blob)


def notes(db: sqlite3.Connection) -> list[tuple[str, bytes]]:
    """All of them, by key."""
    rows = db.execute("SELECT key, value FROM meta WHERE key LIKE 'note\\_%' ESCAPE '\\'")
    return [(key.removeprefix(_NOTE), _bytes(blob)) for key, blob in rows]


def _bytes(blob: object) -> bytes:
    """A damaged entry of another type does not open, which says so."""
    return blob if isinstance(blob, bytes) else b""
