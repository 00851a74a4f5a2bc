"""The gallery's file: its tables, how it is created, opened, checked and brought up to date."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from jetson_face.core.errors import (
    GalleryCorruptError,
    GalleryError,
    GalleryLockedError,
    InputMissingError,
    OutputError,
)
from jetson_face.util import sqlite
from jetson_face.util.files import sync_folder

APPLICATION_ID = 0x6A664741
"""`jfGA`: marks an SQLite file as ours."""
VERSION = 3

_HEADER = b"SQLite format 3\0"
# quick_check, at every opening, holds each row against these checks: a damaged row of another type
# never reaches the program.
_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE portraits (
    template TEXT PRIMARY KEY REFERENCES templates(id) ON DELETE CASCADE,
    image BLOB NOT NULL CHECK (typeof(image) = 'blob'),
    landmarks BLOB NOT NULL CHECK (typeof(landmarks) = 'blob')
);
"""
PEOPLE = """
CREATE TABLE {0}people (
    id TEXT PRIMARY KEY CHECK (typeof(id) = 'text'),
    tag BLOB NOT NULL UNIQUE CHECK (typeof(tag) = 'blob'),
    about BLOB NOT NULL CHECK (typeof(about) = 'blob')
) WITHOUT ROWID
"""
"""tag: keyed digest of the name. about: sealed name and time."""
TEMPLATES = """
CREATE TABLE {0}templates (
    id TEXT PRIMARY KEY CHECK (typeof(id) = 'text'),
    person TEXT NOT NULL REFERENCES people(id) ON DELETE CASCADE,
    photo BLOB NOT NULL CHECK (typeof(photo) = 'blob'),
    face INTEGER NOT NULL CHECK (typeof(face) = 'integer'),
    about BLOB NOT NULL CHECK (typeof(about) = 'blob'),
    vector BLOB NOT NULL CHECK (typeof(vector) = 'blob'),
    UNIQUE (person, photo, face)
)
"""
"""photo: keyed digest of the photo's. about: sealed digest, name of the photo, quality, time."""
ERASED = """
CREATE TABLE erased (tag BLOB PRIMARY KEY CHECK (typeof(tag) = 'blob')) WITHOUT ROWID
"""
"""Keyed digests of people who were erased, and of their photos."""
PACKS = """
CREATE TABLE packs (
    number INTEGER PRIMARY KEY,
    revision INTEGER NOT NULL CHECK (typeof(revision) = 'integer'),
    total BLOB NOT NULL CHECK (typeof(total) = 'blob'),
    pack BLOB NOT NULL CHECK (typeof(pack) = 'blob')
)
"""
"""See `packs`; revision: of the change that wrote it."""
PACKS_BY_REVISION = "CREATE INDEX packs_by_revision ON packs (revision)"
ACTS = """
CREATE TABLE acts (
    id TEXT PRIMARY KEY CHECK (typeof(id) = 'text'),
    line BLOB NOT NULL CHECK (typeof(line) = 'blob')
)
"""
"""Sealed entries on their way to the audit log."""

Upgrade = Callable[[sqlite3.Connection, int], None]
"""Brings a gallery from a format to the next one, inside the transaction that raises the number.
Foreign keys are not enforced while it works."""


def create(
    path: Path, meta: Mapping[str, str | int | bytes], erased: Collection[bytes] = ()
) -> None:
    """Make a new gallery file, 0600, that is complete from the moment it has its name.

    It is built under another name and linked into place: a process killed half-way leaves no
    gallery, and of two that create it at once the second finds the first one's.
    Raises OutputError where the folder cannot be written, InputMissingError for a link that leads
    nowhere, GalleryCorruptError where a gallery's log was left behind.
    """
    if path.is_symlink() and not path.exists():
        raise InputMissingError(
            f"{path}: the gallery is a link to {path.readlink()}, which is not there: mount the "
            "disk that it is on, or remove the link to start an empty gallery"
        )
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
        _fill(temporary, meta, erased)
        _put(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise OutputError(
            f"{path}: the gallery cannot be created: {error.strerror or error}"
        ) from error
    except sqlite.RAISED as error:
        raise translated(error, path) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def connect(path: Path, timeout_s: float, upgrade: Upgrade, large: int) -> sqlite3.Connection:
    """Open an existing gallery: checked, brought to this format, ready to read and write.

    large: templates from which they and their portraits are checked when they are read.
    Raises InputMissingError, GalleryCorruptError, GalleryLockedError, or GalleryError where it
    cannot be read or a newer version made it.
    """
    _check_header(path)
    try:
        connection = sqlite.connect(path, create=False, timeout_s=timeout_s)
        try:
            _prepare(connection, path, upgrade, large)
        except BaseException:
            connection.close()
            raise
        return connection
    except sqlite.RAISED as error:
        raise translated(error, path) from error


@dataclass(frozen=True, slots=True)
class Identity:
    """Which file has the name, and when it was last written.

    file: device and inode. content: size and time of last change (ns), of the file and of its
    write-ahead log.
    """

    file: tuple[int, int]
    content: tuple[int, ...]


def identity(path: Path) -> Identity:
    """Of the gallery's file as it is now. Raises InputMissingError."""
    try:
        facts = path.stat()
    except OSError as error:
        raise _missing(path) from error
    content = [facts.st_size, facts.st_mtime_ns]
    with contextlib.suppress(OSError):
        log = path.with_name(path.name + "-wal").stat()
        content += [log.st_size, log.st_mtime_ns]
    return Identity((facts.st_dev, facts.st_ino), tuple(content))


def translated(error: Exception, path: Path) -> Exception:
    """An error of `sqlite.RAISED` in our words; SQLite's code is not visible on Python 3.10."""
    if isinstance(error, UnicodeDecodeError):
        return corrupt(path, "text that is not UTF-8")
    text, kind = str(error), sqlite.fault(error)
    if kind == "refused":
        return GalleryError(f"{path}: the gallery refuses this change: {text}")
    if kind == "locked":
        return GalleryLockedError(
            f"{path}: another process holds the gallery: wait for it or end it, then try again"
        )
    if kind == "unwritable":
        return OutputError(f"{path}: the gallery cannot be written: {text}")
    if kind == "unopened":
        return GalleryError(
            f"{path}: the gallery cannot be opened: check that you may write the file and folder"
        )
    return corrupt(path, text)


def corrupt(path: Path, why: str) -> GalleryCorruptError:
    """The gallery is damaged, and what to do."""
    return sqlite.damaged(
        path, "the gallery", why, "restore it from a backup, or move it away and enrol again"
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


def _fill(path: Path, meta: Mapping[str, str | int | bytes], erased: Collection[bytes]) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(
            f"BEGIN; {_TABLES} {PEOPLE.format('')}; {TEMPLATES.format('')}; {ERASED}; {ACTS}; "
            f"{PACKS}; {PACKS_BY_REVISION}; "
            f"PRAGMA application_id={APPLICATION_ID}; "
            f"PRAGMA user_version={VERSION}; COMMIT;"
        )
        connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        connection.executemany("INSERT INTO erased VALUES (?)", [(tag,) for tag in erased])


def _check_header(path: Path) -> None:
    try:
        if not path.exists():
            raise _missing(path)
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


def _missing(path: Path) -> InputMissingError:
    return InputMissingError(f"{path}: there is no gallery yet: enrol somebody first")


def _prepare(connection: sqlite3.Connection, path: Path, upgrade: Upgrade, large: int) -> None:
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
    for pragma in ("synchronous=FULL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise GalleryError(f"{path}: the file system has no shared memory for SQLite's WAL mode")
    # Who cannot get the write lock within the time-out would fail in the middle of its work.
    connection.execute("BEGIN IMMEDIATE")
    try:
        upgraded = _upgrade(connection, path, upgrade)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    if upgraded:
        # The old pages, with what was not sealed in them, are in the file until now.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.execute("PRAGMA foreign_keys=ON")
    if not is_large(connection, large):
        quick_check(connection, path)
        return
    for table in ("meta", "people", "erased", "acts", "packs"):
        quick_check(connection, path, table)


def is_large(connection: sqlite3.Connection, large: int) -> bool:
    """There are, or were, so many templates."""
    (last,) = connection.execute("SELECT max(rowid) FROM templates").fetchone()
    return last is not None and int(last) >= large


def quick_check(connection: sqlite3.Connection, path: Path, what: int | str = 1) -> None:
    """what: a table; 1: all of them."""
    (verdict,) = connection.execute(f"PRAGMA quick_check({what})").fetchone()
    if verdict != "ok":
        raise corrupt(path, str(verdict).splitlines()[-1])


def _upgrade(connection: sqlite3.Connection, path: Path, upgrade: Upgrade) -> bool:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise GalleryError(
            f"{path}: the gallery has format {version}, this program knows {VERSION}: "
            "upgrade jetson-face"
        )
    if version < 1:
        raise corrupt(path, f"format {version} never existed")
    if version < VERSION:
        quick_check(connection, path)
    for step in range(version, VERSION):
        upgrade(connection, step)
        connection.execute(f"PRAGMA user_version={step + 1}")
    return bool(version < VERSION)
