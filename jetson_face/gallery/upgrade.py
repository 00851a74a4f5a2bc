"""A gallery of an older format, brought to this one in a single transaction.

Format 1 kept names, names of photos and their digests in the clear, bound vectors to their row
alone, and had no manifest. Until the transaction is in force the file is what it was.
"""

from __future__ import annotations

import sqlite3
import uuid
from pathlib import Path

from jetson_face.core.types import Person
from jetson_face.gallery import manifest, meta, schema
from jetson_face.gallery.book import Book
from jetson_face.gallery.manifest import Manifest
from jetson_face.gallery.packs import PackRows
from jetson_face.gallery.people import PeopleRows
from jetson_face.gallery.sealed import Sealer
from jetson_face.gallery.templates import Facts, TemplateRows


def to_second(db: sqlite3.Connection, path: Path, old: Sealer) -> str:
    """From format 1 to 2; portraits stay as they are. Returns the gallery's new id.

    Raises GalleryCorruptError where something of it is damaged, GalleryError for another key.
    """
    old.check(meta.value(db, path, "cipher_check"))
    gallery = str(uuid.uuid4())
    book = Book(db, path, old.bound(gallery))
    meta.put(db, "gallery", gallery)
    for statement in (schema.PEOPLE, schema.TEMPLATES):
        db.execute(statement.format("new_"))
    for table in (schema.ERASED, schema.ACTS):
        db.execute(table)
    _people(db, book)
    _templates(db, book, old)
    for table in ("templates", "people"):
        db.execute(f"DROP TABLE {table}")
        db.execute(f"ALTER TABLE new_{table} RENAME TO {table}")
    for key, text in db.execute(
        "SELECT key, value FROM meta WHERE key LIKE 'note\\_%' ESCAPE '\\'"
    ).fetchall():
        name = key.removeprefix("note_")
        meta.set_note(db, name, book.sealer.seal(str(text).encode(), "note", name))
    meta.raise_revision(db)
    now = Manifest(meta.revision(db, path), manifest.total(db, path, book.sealer))
    manifest.write(db, book.sealer, now)
    return gallery


def to_third(db: sqlite3.Connection, path: Path, sealer: Sealer) -> None:
    """From format 2 to 3, which has packs beside the rows.

    Raises GalleryCorruptError where something of it is damaged, GalleryError for another key.
    """
    sealer.check(meta.value(db, path, "cipher_check"))
    book = Book(db, path, sealer.bound(meta.gallery(db, path)))
    for statement in (schema.PACKS, schema.PACKS_BY_REVISION):
        db.execute(statement)
    PackRows(book).build(meta.revision(db, path))


def _people(db: sqlite3.Connection, book: Book) -> None:
    rows = PeopleRows(book)
    for key, name, created in db.execute("SELECT id, name, created FROM people").fetchall():
        sealed = rows.sealed(Person(key, name), created)
        db.execute("INSERT INTO new_people VALUES (?, ?, ?)", (key, *sealed))


def _templates(db: sqlite3.Connection, book: Book, old: Sealer) -> None:
    rows = TemplateRows(book)
    for key, person, face, vector, *facts in db.execute(
        "SELECT id, person, face, vector, photo, source, quality, created FROM templates "
        "ORDER BY rowid"
    ):
        row = rows.sealed(key, person, face, Facts(*facts), old.open(vector, "vector", key))
        db.execute("INSERT INTO new_templates VALUES (?, ?, ?, ?, ?, ?)", row)
