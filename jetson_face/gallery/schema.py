"""The gallery's file: its tables, how it is created, opened, checked and brought up to date."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from jetson_face.core.errors import (
    GalleryCorruptError,
    GalleryError,
    GalleryLockedError,
    InputMissingError,
    OutputError,
)

APPLICATION_ID = 0x6A664741
"""`jfGA`: marks an SQLite file as ours."""
VERSION = 1

RAISED = (sqlite3.Error, UnicodeDecodeError)
"""What Python's sqlite3 raises; the second when a damaged text gets into SQLite's own message."""

_HEADER = b"SQLite format 3\0"
# quick_check, at every opening, holds each row against these checks: a damaged row of another type
# never reaches the program.
_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE people (
    id TEXT PRIMARY KEY CHECK (typeof(id) = 'text'),
    name TEXT NOT NULL CHECK (typeof(name) = 'text'),
    name_key TEXT NOT NULL UNIQUE CHECK (typeof(name_key) = 'text'),
    created REAL NOT NULL CHECK (typeof(created) = 'real')
) WITHOUT ROWID;
CREATE TABLE templates (
    id TEXT PRIMARY KEY CHECK (typeof(id) = 'text'),
    person TEXT NOT NULL REFERENCES people(id) ON DELETE CASCADE,
    photo TEXT NOT NULL CHECK (typeof(photo) = 'text'),
    face INTEGER NOT NULL CHECK (typeof(face) = 'integer'),
    vector BLOB NOT NULL CHECK (typeof(vector) = 'blob'),
    quality REAL NOT NULL CHECK (typeof(quality) = 'real'),
    source TEXT NOT NULL CHECK (typeof(source) = 'text'),
    created REAL NOT NULL CHECK (typeof(created) = 'real'),
    UNIQUE (person, photo, face)
);
CREATE TABLE portraits (
    template TEXT PRIMARY KEY REFERENCES templates(id) ON DELETE CASCADE,
    image BLOB NOT NULL CHECK (typeof(image) = 'blob'),
    landmarks BLOB NOT NULL CHECK (typeof(landmarks) = 'blob')
);
"""
# From version v to v + 1. Each runs in the transaction that also raises user_version.
_MIGRATIONS: Mapping[int, Callable[[sqlite3.Connection], None]] = {}


def create(path: Path, meta: Mapping[str, str | int | bytes]) -> None:
    """Make a new gallery file, 0600, that is complete from the moment it has its name.

    It is built under another name and linked into place: a process killed half-way leaves no
    gallery, and of two that create it at once the second finds the first one's.
    Raises OutputError where the folder cannot be written.
    """
    for tail in ("-wal", "-shm"):
        if path.with_name(path.name + tail).exists():
            raise GalleryCorruptError(
                f"{path}: the gallery is gone but its {path.name}{tail} is there: restore the file "
                "from a backup, or remove that one to start an empty gallery"
            )
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:60]}.")
        os.close(handle)
        temporary = Path(name)
        _fill(temporary, meta)
        _put(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise OutputError(
            f"{path}: the gallery cannot be created: {error.strerror or error}"
        ) from error
    except RAISED as error:
        raise translated(error, path) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def connect(path: Path, timeout_s: float) -> sqlite3.Connection:
    """Open an existing gallery: checked, migrated, ready to read and write.

    Raises InputMissingError, GalleryCorruptError, GalleryLockedError, or GalleryError where it
    cannot be read or a newer version made it.
    """
    _check_header(path)
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(
            path.absolute().as_uri() + "?mode=rw",
            uri=True,
            timeout=timeout_s,
            isolation_level=None,
            check_same_thread=False,
        )
        _prepare(connection, path)
        return connection
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, RAISED):
            raise translated(error, path) from error
        raise


def translated(error: Exception, path: Path) -> Exception:
    """An error of `RAISED` in our words; SQLite's result code is not visible on Python 3.10."""
    if isinstance(error, UnicodeDecodeError):
        return corrupt(path, "text that is not UTF-8")
    text = str(error)
    if isinstance(error, sqlite3.IntegrityError):
        return GalleryError(f"{path}: the gallery refuses this change: {text}")
    if "locked" in text or "busy" in text:
        return GalleryLockedError(
            f"{path}: another process holds the gallery: wait for it or end it, then try again"
        )
    if "readonly" in text or "full" in text or "disk I/O" in text:
        return OutputError(f"{path}: the gallery cannot be written: {text}")
    if "unable to open" in text:
        return GalleryError(
            f"{path}: the gallery cannot be opened: check that you may write the file and folder"
        )
    return corrupt(path, text)


def corrupt(path: Path, why: str) -> GalleryCorruptError:
    """The gallery is damaged, and what to do."""
    short = "".join(c if c.isprintable() else " " for c in why)[:100].strip()
    return GalleryCorruptError(
        f"{path}: the gallery is damaged ({short}): restore it from a backup, or move it away and "
        "enrol again"
    )


def _put(temporary: Path, path: Path) -> None:
    """Give the file its name unless another process was first."""
    with contextlib.suppress(FileExistsError):
        try:
            os.link(temporary, path)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            # FAT and some network shares know no links; there the race of two creators is open.
            temporary.rename(path)


def _fill(path: Path, meta: Mapping[str, str | int | bytes]) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(
            f"BEGIN; {_TABLES} PRAGMA application_id={APPLICATION_ID}; "
            f"PRAGMA user_version={VERSION}; COMMIT;"
        )
        connection.executemany("INSERT INTO meta VALUES (?, ?)", list(meta.items()))
    finally:
        connection.close()


def _check_header(path: Path) -> None:
    try:
        if not path.exists():
            raise InputMissingError(f"{path}: there is no gallery yet: enrol somebody first")
        if not path.is_file():
            raise GalleryCorruptError(f"{path}: not a gallery but a folder or device")
        with path.open("rb") as file:
            head = file.read(len(_HEADER))
    except OSError as error:
        if isinstance(error, InputMissingError):
            raise
        raise GalleryError(
            f"{path}: the gallery cannot be read: {error.strerror or error}"
        ) from error
    if not head:
        raise corrupt(path, "0 bytes")
    if head != _HEADER:
        raise GalleryCorruptError(
            f"{path}: not a gallery (not an SQLite file): name another gallery.path, or move the "
            "file away"
        )


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        raise GalleryCorruptError(
            f"{path}: an SQLite file, but not a gallery: name another gallery.path, or move the "
            "file away"
        )
    # A view or trigger runs SQL of whoever made the file: one that counts for ever in place of a
    # table would hang the program. They, and virtual tables, have no page of their own.
    if connection.execute("SELECT 1 FROM sqlite_master WHERE ifnull(rootpage, 0) = 0").fetchone():
        raise corrupt(path, "it holds views, triggers or virtual tables")
    for pragma in ("foreign_keys=ON", "synchronous=FULL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise GalleryError(f"{path}: the file system has no shared memory for SQLite's WAL mode")
    # Who cannot get the write lock within the time-out would fail in the middle of its work.
    connection.execute("BEGIN IMMEDIATE")
    try:
        _migrate(connection, path)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise corrupt(path, str(verdict).splitlines()[-1])


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise GalleryError(
            f"{path}: the gallery has format {version}, this program knows {VERSION}: "
            "upgrade jetson-face"
        )
    while version < VERSION:
        if version not in _MIGRATIONS:
            raise corrupt(path, f"format {version} never existed")
        _MIGRATIONS[version](connection)
        version += 1
        connection.execute(f"PRAGMA user_version={version}")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
