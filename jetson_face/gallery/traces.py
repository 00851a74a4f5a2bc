"""What a person's rows look like on the disk, to prove that nothing of them is left."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from jetson_face.gallery import schema
from jetson_face.gallery.packs import number_of
from jetson_face.privacy.encryption import is_sealed
from jetson_face.util import sqlite

_SLICE = 24


def traces_of(path: Path, person: str) -> list[bytes]:
    """Byte strings that the gallery's files hold because of a person (by id).

    Pieces of each stored blob, short enough to lie within one page: where one is found, the blob
    is not erased. Raises the gallery's errors.
    """
    try:
        with closing(sqlite.connect(path, create=False)) as db:
            blobs = db.execute(
                "SELECT t.vector, p.image, p.landmarks FROM templates t "
                "JOIN portraits p ON p.template = t.id WHERE t.person = ?",
                (person,),
            ).fetchall()
            facts = db.execute(
                "SELECT about FROM people WHERE id = ?1 "
                "UNION ALL SELECT about FROM templates WHERE person = ?1",
                (person,),
            ).fetchall()
            packs = db.execute(
                "SELECT pack, total FROM packs WHERE number = ?", (number_of(person),)
            ).fetchall()
    except sqlite3.Error as error:
        raise schema.translated(error, path) from error
    # A pack is written again without the person: its sealed bytes must go. One that is not sealed
    # holds the bytes of others, which stay; the person's id stands in it as it is.
    held = (*blobs, *(pack for pack in packs if is_sealed(pack[0])))
    pieces = [piece for row in held for blob in row for piece in _pieces(bytes(blob))]
    # Of those, which are not sealed where the gallery is not, only the end is like no other.
    return [person.encode(), *pieces, *(bytes(blob)[-_SLICE:] for (blob,) in facts)]


def _pieces(blob: bytes) -> Iterator[bytes]:
    # Past the envelope's header, which all blobs share; the end and the middle of what follows.
    for start in (len(blob) // 4, len(blob) // 2, len(blob) - _SLICE):
        piece = blob[max(start, 0) : max(start, 0) + _SLICE]
        if len(piece) == _SLICE and len(set(piece)) > 4:
            yield piece
