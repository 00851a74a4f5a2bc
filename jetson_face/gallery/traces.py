"""What a person's rows look like on the disk, to prove that nothing of them is left."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from jetson_face.gallery import schema

_SLICE = 24


def traces_of(path: Path, person: str) -> list[bytes]:
    """Byte strings that the gallery's files hold because of a person (by id).

    Pieces of each stored blob, short enough to lie within one page: where one is found, the blob
    is not erased. Raises the gallery's errors.
    """
    with closing(schema.connect(path, 5.0)) as db:
        try:
            vectors = db.execute("SELECT id, vector FROM templates WHERE person = ?", (person,))
            found = [(key, blob) for key, blob in vectors]
            for key, _ in list(found):
                row = db.execute(
                    "SELECT image, landmarks FROM portraits WHERE template = ?", (key,)
                ).fetchone()
                found += [(key, blob) for blob in row or ()]
        except sqlite3.Error as error:
            raise schema.translated(error, path) from error
    pieces = [piece for _, blob in found for piece in _pieces(bytes(blob))]
    return [person.encode(), *pieces]


def _pieces(blob: bytes) -> Iterator[bytes]:
    # Past the envelope's header, which all blobs share; the end and the middle of what follows.
    for start in (len(blob) // 4, len(blob) // 2, len(blob) - _SLICE):
        piece = blob[max(start, 0) : max(start, 0) + _SLICE]
        if len(piece) == _SLICE and len(set(piece)) > 4:
            yield piece
