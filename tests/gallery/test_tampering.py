"""Somebody who can write the gallery's file but has no key: what they change is noticed."""

from __future__ import annotations

import shutil
import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from jetson_face.core.errors import GalleryCorruptError
from jetson_face.gallery.sealed import Sealer
from jetson_face.gallery.store import GalleryStore
from jetson_face.privacy.encryption import AesGcm
from tests.gallery.gallery_fakes import SPACE, template, unit

CIPHER = AesGcm(bytes(32))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Ann with two photos, Bob with one; Cid was there before, and Ann's third photo."""
    path = tmp_path / "gallery.db"
    with GalleryStore.open(path, SPACE, create=True, cipher=CIPHER) as store:
        for name, photos in (("Ann", 3), ("Bob", 1), ("Cid", 1)):
            person = store.add_person(name)
            for number in range(photos):
                store.add_template(person, template(f"{name}{number}", unit(len(name), number)))
        store.set_note("calibration", "0.47")
    shutil.copy(path, tmp_path / "before.db")
    with GalleryStore.open(path, SPACE, cipher=CIPHER) as store:
        store.remove("Cid")
        store.remove_photo(store.show("Ann").person, template("Ann2").photo)
        store.set_note("calibration", "0.55")
    return path


@contextmanager
def changing(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("ATTACH ? AS before", (str(path.with_name("before.db")),))
        yield db


def ids(db: sqlite3.Connection) -> list[tuple[str, str]]:
    """People and their first templates: Ann's, then Bob's."""
    rows = db.execute("SELECT person, min(rowid), id FROM templates GROUP BY person ORDER BY 2")
    return [(person, key) for person, _, key in rows]


def _swap_persons(db: sqlite3.Connection) -> None:
    (ann, first), (bob, second) = ids(db)
    db.execute("UPDATE templates SET person = ? WHERE id = ?", (bob, first))
    db.execute("UPDATE templates SET person = ? WHERE id = ?", (ann, second))


def _swap_names(db: sqlite3.Connection) -> None:
    rows = db.execute("SELECT id, tag, about FROM people").fetchall()
    db.execute("UPDATE people SET tag = CAST(tag || x'00' AS BLOB)")
    for (key, _, _), (_, tag, about) in zip(rows, reversed(rows), strict=True):
        db.execute("UPDATE people SET tag = ?, about = ? WHERE id = ?", (tag, about, key))


def _swap_vectors(db: sqlite3.Connection) -> None:
    (_, first), (_, second) = ids(db)
    blobs = dict(db.execute("SELECT id, vector FROM templates").fetchall())
    for key, other in ((first, second), (second, first)):
        db.execute("UPDATE templates SET vector = ? WHERE id = ?", (blobs[other], key))


def _put_back_person(db: sqlite3.Connection) -> None:
    for table in ("people", "templates", "portraits"):
        db.execute(f"INSERT OR IGNORE INTO {table} SELECT * FROM before.{table}")


def _put_back_photo(db: sqlite3.Connection) -> None:
    (ann, _), _ = ids(db)
    columns = "id, person, photo, face, about, vector"
    db.execute(
        f"INSERT OR IGNORE INTO templates ({columns}) SELECT {columns} FROM before.templates "
        "WHERE person = ?",
        (ann,),
    )


TRICKS: dict[str, Callable[[sqlite3.Connection], object]] = {
    "templates exchanged": _swap_persons,
    "names exchanged": _swap_names,
    "vectors exchanged": _swap_vectors,
    "a person put back": _put_back_person,
    "a photo put back": _put_back_photo,
    "a photo removed": lambda db: db.execute("DELETE FROM templates WHERE id = ?", ids(db)[0][1:]),
    "a person removed": lambda db: [
        db.execute("DELETE FROM templates WHERE person = ?", ids(db)[1][:1]),
        db.execute("DELETE FROM people WHERE id NOT IN (SELECT person FROM templates)"),
    ],
    "a copy of a photo": lambda db: db.execute(
        "INSERT INTO templates SELECT 'x' || id, person, photo, 9, about, vector FROM templates"
    ),
    "the erased forgotten": lambda db: db.execute("DELETE FROM erased"),
    "the threshold put back": lambda db: db.execute(
        "UPDATE meta SET value = (SELECT value FROM before.meta WHERE key = 'note_calibration') "
        "WHERE key = 'note_calibration'"
    ),
    "an old manifest": lambda db: db.execute(
        "UPDATE meta SET value = (SELECT value FROM before.meta WHERE key = 'manifest') "
        "WHERE key = 'manifest'"
    ),
    "another network": lambda db: db.execute("UPDATE meta SET value = 'x' WHERE key = 'model'"),
    "another number": lambda db: db.execute("UPDATE meta SET value = 99 WHERE key = 'revision'"),
}


@pytest.mark.parametrize("trick", TRICKS)
def test_it_is_refused_in_one_line(path: Path, trick: str) -> None:
    with changing(path) as db:
        TRICKS[trick](db)
        db.execute("DELETE FROM portraits WHERE template NOT IN (SELECT id FROM templates)")
    with pytest.raises(GalleryCorruptError) as error:
        GalleryStore.open(path, cipher=CIPHER)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    assert "restore" in str(error.value)


def test_the_gallery_itself_opens(path: Path) -> None:
    with GalleryStore.open(path, SPACE, cipher=CIPHER) as store:
        assert [(i.person.name, len(i.templates)) for i in store.people()] == [
            ("Ann", 2),
            ("Bob", 1),
        ]
        assert store.note("calibration") == "0.55"


@pytest.mark.parametrize("trick", ["a person put back", "templates exchanged"])
def test_a_program_that_has_it_open_notices(path: Path, trick: str) -> None:
    with GalleryStore.open(path, SPACE, cipher=CIPHER) as store:
        store.snapshot()
        with changing(path) as db:
            TRICKS[trick](db)
            db.execute("UPDATE meta SET value = value + 1 WHERE key = 'revision'")
        with pytest.raises(GalleryCorruptError):
            store.snapshot()
        with pytest.raises(GalleryCorruptError):
            store.people()


ROW = ("template-1", "person-1", "0a" * 16, "0")


@pytest.mark.parametrize(
    "row",
    [
        ("template-2", *ROW[1:]),
        (ROW[0], "person-2", *ROW[2:]),
        (*ROW[:2], "0b" * 16, ROW[3]),
        (*ROW[:3], "1"),
    ],
    ids=["template", "person", "photo", "face"],
)
def test_a_vector_opens_for_its_own_row_only(path: Path, row: tuple[str, ...]) -> None:
    """Also for whoever makes the checksums fit."""
    sealer = Sealer(path, CIPHER, "gallery-1")
    sealed = sealer.seal(b"vector", "vector", *ROW, "space")
    assert sealer.open(sealed, "vector", *ROW, "space") == b"vector"
    for other, kind, owner in (
        (sealer, "vector", (*row, "space")),
        (sealer, "vector", (*ROW, "another space")),
        (sealer, "portrait", (*ROW, "space")),
        (sealer.bound("gallery-2"), "vector", (*ROW, "space")),
    ):
        context = "/".join((other.gallery, *owner, kind)).encode()
        forged = sealed[:-4] + struct.pack("<I", zlib.crc32(sealed[:-4], zlib.crc32(context)))
        with pytest.raises(GalleryCorruptError, match="changed or moved"):
            other.open(forged, kind, *owner)


def test_names_photos_and_their_digests_are_not_to_be_read(path: Path) -> None:
    held = b"".join(file.read_bytes() for file in path.parent.glob("gallery.db*"))
    words = [b"Ann", b"ann", b"Bob", b"Ann0", template("Ann0").photo.encode()]
    words += [bytes.fromhex(template("Ann0").photo), b"0.55"]
    assert [word for word in words if word in held] == []


def test_equal_names_under_another_key_have_other_tags(tmp_path: Path) -> None:
    tags = [
        Sealer(tmp_path, cipher).tag("name", "ann") for cipher in (CIPHER, AesGcm(b"x" * 32), None)
    ]
    assert len(set(tags)) == 3
    assert Sealer(tmp_path, CIPHER).tag("name", "ann") == tags[0]
