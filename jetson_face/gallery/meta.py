"""What a gallery file remembers of itself: its embedding space and how often it changed."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from jetson_face.core.types import EmbeddingSpace
from jetson_face.gallery import schema

Value = str | int | bytes


def first(space: EmbeddingSpace) -> dict[str, Value]:
    """What a new gallery remembers."""
    return {"model": space.model, "digest": space.digest, "dim": space.dim, "revision": 1}


def value(db: sqlite3.Connection, path: Path, key: str) -> Value:
    """One entry. Raises GalleryCorruptError when it is missing."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    if row is None or not isinstance(row[0], (str, int, bytes)):
        raise schema.corrupt(path, f"meta {key!r} is missing")
    found: Value = row[0]
    return found


def revision(db: sqlite3.Connection, path: Path) -> int:
    """How often the gallery changed. Raises GalleryCorruptError."""
    found = value(db, path, "revision")
    if not isinstance(found, int):
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
    for item in (("model", space.model), ("digest", space.digest), ("dim", space.dim)):
        db.execute("UPDATE meta SET value = ?2 WHERE key = ?1", item)


def note(db: sqlite3.Connection, key: str) -> str | None:
    """A text that not every gallery has."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", (f"note_{key}",)).fetchone()
    return None if row is None else str(row[0])


def set_note(db: sqlite3.Connection, key: str, text: str | None) -> None:
    """Keep a text, or forget it."""
    db.execute("DELETE FROM meta WHERE key = ?", (f"note_{key}",))
    if text is not None:
        db.execute("INSERT INTO meta VALUES (?, ?)", (f"note_{key}", text))
