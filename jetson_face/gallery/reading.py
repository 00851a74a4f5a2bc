"""What a gallery file holds, read back: vectors for matching, portraits for embedding again."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jetson_face.core.types import F32, EmbeddingSpace, ImageU8, Person
from jetson_face.gallery import meta, schema
from jetson_face.gallery.matcher import GallerySnapshot
from jetson_face.gallery.records import LENGTH_ERROR
from jetson_face.gallery.sealed import Sealer
from jetson_face.util.images import decode_picture


def snapshot(
    db: sqlite3.Connection, path: Path, sealer: Sealer, space: EmbeddingSpace
) -> GallerySnapshot:
    """Everybody with every template; call it inside a transaction.

    Raises GalleryCorruptError when a template is damaged, `sqlite3.Error`.
    """
    revision = meta.revision(db, path)
    rows = db.execute(
        "SELECT p.id, p.name, t.id, t.vector FROM people p JOIN templates t "
        "ON t.person = p.id ORDER BY p.name_key, t.rowid"
    ).fetchall()
    people: list[Person] = []
    index = np.zeros(len(rows), np.int64)
    plain: list[bytes] = []
    for row, (person, name, key, sealed) in enumerate(rows):
        if not people or people[-1].id != person:
            people.append(Person(person, name))
        index[row] = len(people) - 1
        plain.append(sealer.open(sealed, key, "vector"))
    return GallerySnapshot(space, _vectors(plain, path, space), index, tuple(people), revision)


def portrait(db: sqlite3.Connection, path: Path, sealer: Sealer, key: str) -> tuple[ImageU8, F32]:
    """The portrait of a template, and its landmarks (5, 2). Raises GalleryCorruptError."""
    row = db.execute("SELECT image, landmarks FROM portraits WHERE template = ?", (key,)).fetchone()
    if row is None:
        raise schema.corrupt(path, f"template {key} keeps no portrait")
    image, marks = (
        sealer.open(blob, key, kind)
        for blob, kind in zip(row, ("portrait", "landmarks"), strict=True)
    )
    try:
        return decode_picture(image, ""), np.frombuffer(marks, "<f4").reshape(5, 2).copy()
    except ValueError:
        raise schema.corrupt(path, f"portrait of template {key}") from None


def _vectors(plain: Sequence[bytes], path: Path, space: EmbeddingSpace) -> F32:
    """Stored vectors as (M, dim), all at once: a live program reads them between two frames."""
    if any(len(one) != 4 * space.dim for one in plain):
        raise schema.corrupt(path, f"a vector without {space.dim} numbers")
    vectors: F32 = np.frombuffer(b"".join(plain), "<f4").reshape(-1, space.dim).copy()
    if not (np.abs(np.einsum("ij,ij->i", vectors, vectors) - 1) <= LENGTH_ERROR).all():
        raise schema.corrupt(path, "a vector that is not of length 1")
    return vectors
