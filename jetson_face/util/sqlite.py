"""SQLite files: one way to open them, to change them, and to say what is wrong with them.

WAL with `synchronous=FULL`: when a transaction returned, its rows are on the disk, and who reads
never waits for who writes. What is deleted is overwritten.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias

from jetson_face.core.errors import (
    GalleryCorruptError,
    GalleryError,
    GalleryLockedError,
    JetsonFaceError,
    OutputError,
)

RAISED = (sqlite3.Error, UnicodeDecodeError)
"""What Python's sqlite3 raises; the second when a damaged text gets into SQLite's own message."""
BUSY_S = 5.0
"""How long a connection waits for another process's transaction."""
Fault: TypeAlias = Literal["refused", "locked", "unwritable", "unopened", "damaged"]
# SQLite's result code is not visible on Python 3.10.
_WORDS: tuple[tuple[Fault, tuple[str, ...]], ...] = (
    ("locked", ("locked", "busy")),
    ("unwritable", ("readonly", "full", "disk I/O", "closed")),
    ("unopened", ("unable to open",)),
)


def connect(path: Path, *, create: bool = True, timeout_s: float = BUSY_S) -> sqlite3.Connection:
    """A connection that any thread may use, without transactions of its own.

    create: make the folder (0700) and an empty file (0600) where there is none. Raises OSError,
    `RAISED`.
    """
    # One that is there is not touched: closing any descriptor of it would drop the locks of this
    # process's other connections, and another process would take the log away under them.
    if create and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    return sqlite3.connect(
        path.absolute().as_uri() + "?mode=rw",
        uri=True,
        timeout=timeout_s,
        isolation_level=None,
        check_same_thread=False,
    )


def prepare(db: sqlite3.Connection, **pragmas: str | int) -> None:
    """Set what the module's text promises, and these. Raises `RAISED`."""
    mode = _write_ahead(db)
    if mode != "wal":
        raise sqlite3.OperationalError("unable to open WAL: the disk has no shared memory for it")
    for name, value in {"synchronous": "FULL", "secure_delete": "ON", **pragmas}.items():
        db.execute(f"PRAGMA {name} = {value}")


def _write_ahead(db: sqlite3.Connection) -> str:
    """Ask for WAL; the mode that there is now. Of two that change it at once SQLite refuses one
    without waiting: it is asked again for as long as the connection waits."""
    waits_s = int(db.execute("PRAGMA busy_timeout").fetchone()[0]) / 1000
    until = time.monotonic() + waits_s
    while True:
        try:
            return str(db.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            if fault(error) != "locked" or time.monotonic() >= until:
                raise
        time.sleep(0.01)


def create_tables(db: sqlite3.Connection, schema: str, version: int) -> int:
    """Make a new file's tables, all or none; returns the version that the file has then.

    schema: statements without `;` inside. Raises `RAISED`.
    """
    if _version(db) == 0:
        with transaction(db):
            if _version(db) == 0:  # of two that make the file, the second finds the first's tables
                for statement in (*schema.split(";"), f"PRAGMA user_version = {version}"):
                    db.execute(statement)
    return _version(db)


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """BEGIN IMMEDIATE … COMMIT, or ROLLBACK on any exception. Raises `RAISED`."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        # Some errors have rolled back already; the error that led here is the one to report.
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise


def fault(error: Exception) -> Fault:
    """What an error of `RAISED` means: `refused` by the tables' rules, `locked` by another process,
    `unwritable` disk or connection, file `unopened`, or `damaged`."""
    if isinstance(error, UnicodeDecodeError):
        return "damaged"
    if isinstance(error, sqlite3.IntegrityError):
        return "refused"
    text = str(error)
    return next((kind for kind, words in _WORDS if any(w in text for w in words)), "damaged")


def translated(error: Exception, path: Path, what: str, remedy: str) -> JetsonFaceError:
    """An error of `RAISED` in our words. what: the file's content, as in "the review queue".
    remedy: what to do where it is damaged."""
    text = "text that is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
    kind = fault(error)
    if kind == "refused":
        return GalleryError(f"{path}: {what} refuses this change: {text}")
    if kind == "locked":
        return GalleryLockedError(
            f"{path}: another process holds {what}: wait for it or end it, then try again"
        )
    if kind == "unwritable":
        return OutputError(f"{path}: {what} cannot be used: {text}")
    if kind == "unopened":
        return OutputError(
            f"{path}: {what} cannot be opened: check that you may write the file and folder"
        )
    return damaged(path, what, text, remedy)


def damaged(path: Path, what: str, why: str, remedy: str) -> GalleryCorruptError:
    """The file is damaged, and what to do."""
    short = "".join(c if c.isprintable() else " " for c in why)[:100].strip()
    return GalleryCorruptError(f"{path}: {what} is damaged ({short}): {remedy}")


@contextlib.contextmanager
def in_our_words(path: Path, what: str, remedy: str) -> Iterator[None]:
    """Raise errors of SQLite and of the system in the block as ours; see `translated`."""
    try:
        yield
    except JetsonFaceError:
        raise
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    except RAISED as error:
        raise translated(error, path, what, remedy) from error
