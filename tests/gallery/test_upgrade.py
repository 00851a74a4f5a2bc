"""A gallery that version 1 of the format left is brought up to date, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from jetson_face.core.errors import (
    GalleryCorruptError,
    GalleryError,
    GalleryRestoredError,
    JetsonFaceError,
)
from jetson_face.core.protocols import Cipher
from jetson_face.gallery import manifest
from jetson_face.gallery.file import GalleryFile
from jetson_face.gallery.ledger import Ledger
from jetson_face.gallery.store import GalleryStore
from jetson_face.privacy.encryption import AesGcm
from tests.gallery.format1 import NOTE, write_format1
from tests.gallery.gallery_fakes import SPACE, template, unit

CIPHER = AesGcm(bytes(32))
PEOPLE = {"Ann Example": 2, "Bob": 1, "Zoë": 3}


@pytest.mark.parametrize("cipher", [None, CIPHER], ids=["plain", "sealed"])
def test_everything_is_there_afterwards(tmp_path: Path, cipher: Cipher | None) -> None:
    path = tmp_path / "gallery.db"
    vectors = write_format1(path, SPACE, cipher, PEOPLE)
    with GalleryStore.open(path, SPACE, cipher=cipher) as store:
        snapshot = store.snapshot()
        assert [person.name for person in snapshot.people] == list(PEOPLE)
        np.testing.assert_array_equal(
            snapshot.vectors, [v for name in PEOPLE for v in vectors[name]]
        )
        ann = store.show("ann example")
        assert (ann.created, ann.templates[1].created, ann.templates[1].quality) == (
            12.5,
            13.5,
            0.5,
        )
        assert [t.source for t in ann.templates] == ["Ann Example0.jpg", "Ann Example1.jpg"]
        assert store.has_photo(ann.person, hashlib.sha256(b"Ann Example1.jpg").hexdigest())
        assert store.portraits("Zoë")[2][0].shape == (64, 64, 3)
        assert store.note("calibration") == NOTE
        store.add_template(ann.person, template("new.jpg", unit(1)))
        store.remove("Bob")
    with GalleryStore.open(path, SPACE, cipher=cipher) as store:
        assert [len(info.templates) for info in store.people()] == [3, 3]
    assert [file.name for file in tmp_path.iterdir()] == ["gallery.db"]


def test_nothing_readable_is_left_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "gallery.db"
    write_format1(path, SPACE, CIPHER, PEOPLE)
    words = [
        b"Ann Example",
        b"ann example",
        b"Bob0.jpg",
        hashlib.sha256(b"Bob0.jpg").hexdigest().encode(),
    ]
    assert all(word in path.read_bytes() for word in words)
    with GalleryStore.open(path, SPACE, cipher=CIPHER):
        held = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert [word for word in words if word in held] == []


def test_the_wrong_key_or_none_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "gallery.db"
    write_format1(path, SPACE, CIPHER, PEOPLE)
    for cipher in (None, AesGcm(b"x" * 32)):
        with pytest.raises(GalleryError, match="key"):
            GalleryStore.open(path, SPACE, cipher=cipher)
    assert _version(path) == 1
    GalleryStore.open(path, SPACE, cipher=CIPHER).close()
    assert _version(path) == 3


def test_a_damaged_one_is_refused_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "gallery.db"
    write_format1(path, SPACE, CIPHER, PEOPLE)
    db = sqlite3.connect(path)
    with db:
        db.execute("UPDATE templates SET vector = x'0011223344' WHERE source = 'Bob0.jpg'")
    db.close()
    with pytest.raises(GalleryCorruptError, match="checksum of the vector"):
        GalleryStore.open(path, SPACE, cipher=CIPHER)
    assert _version(path) == 1


@pytest.mark.parametrize("cipher", [None, CIPHER], ids=["plain", "sealed"])
def test_random_damage_raises_only_our_errors(tmp_path: Path, cipher: Cipher | None) -> None:
    path, rng = tmp_path / "gallery.db", np.random.default_rng(11)
    write_format1(path, SPACE, cipher, PEOPLE)
    good, messages = path.read_bytes(), []
    for _ in range(100):
        data = bytearray(good)
        for place in rng.integers(0, len(data), int(rng.integers(1, 30))):
            data[place] = int(rng.integers(256))
        for tail in ("-wal", "-shm"):
            path.with_name(path.name + tail).unlink(missing_ok=True)
        path.write_bytes(data)
        try:
            with GalleryStore.open(path, SPACE, cipher=cipher) as store:
                store.snapshot()
                store.people()
        except JetsonFaceError as error:
            messages.append(str(error))
    assert len(messages) > 30
    assert not [message for message in messages if "\n" in message]


@pytest.mark.parametrize("place", ["before", "after"])
def test_killed_in_the_middle_the_next_opening_does_it(tmp_path: Path, place: str) -> None:
    """before, after: the transaction is in force."""
    path, ledger = tmp_path / "gallery.db", Ledger([tmp_path / "ledger"], CIPHER)
    write_format1(path, SPACE, CIPHER, PEOPLE)
    child = os.fork()
    if child == 0:
        _killed_upgrading(path, ledger, place)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert _version(path) == (1 if place == "before" else 3)
    with GalleryStore.open(path, SPACE, cipher=CIPHER, ledger=ledger) as store:
        assert len(store.people()) == 3
    record = ledger.read()
    assert record is not None
    assert record.generation == 8


def _killed_upgrading(path: Path, ledger: Ledger, place: str) -> None:
    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if place == "before":
        manifest.write = die
    else:
        GalleryFile.check = die  # type: ignore[method-assign]
    GalleryStore.open(path, SPACE, cipher=CIPHER, ledger=ledger)
    os._exit(1)


def test_an_old_copy_is_not_upgraded_over_what_came_after(tmp_path: Path) -> None:
    path, ledger = tmp_path / "gallery.db", Ledger([tmp_path / "ledger"], CIPHER)
    write_format1(path, SPACE, CIPHER, PEOPLE)
    backup = path.read_bytes()
    with GalleryStore.open(path, SPACE, cipher=CIPHER, ledger=ledger) as store:
        store.remove("Bob")
    path.write_bytes(backup)
    with pytest.raises(GalleryRestoredError, match="from before an upgrade"):
        GalleryStore.open(path, SPACE, cipher=CIPHER, ledger=ledger)
    assert _version(path) == 1
    with GalleryStore.open(path, cipher=CIPHER, ledger=ledger, restored=True) as store:
        store.accept()
    with GalleryStore.open(path, SPACE, cipher=CIPHER, ledger=ledger) as store:
        # A person keeps the id, whatever the format.
        assert [info.person.name for info in store.people()] == ["Ann Example", "Zoë"]


def _version(path: Path) -> int:
    db = sqlite3.connect(path)
    (version,) = db.execute("PRAGMA user_version").fetchone()
    db.close()
    return int(version)
