"""One SQLite file of ours that any thread may use: opened, checked, locked, closed in one way."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from typing_extensions import Self

from jetson_face.core.errors import GalleryError
from jetson_face.util import sqlite
from jetson_face.util.files import Inode


class SqliteFile:
    """What a file's own class says of it: tables (see `sqlite.create_tables`), the version of their
    format, what the file is and what to do where it is damaged (see `sqlite.translated`).

    Raises GalleryCorruptError, GalleryLockedError, OutputError where it cannot be written, and
    GalleryError for another format; so does every method.
    """

    SCHEMA: ClassVar[str]
    VERSION: ClassVar[int]
    WHAT: ClassVar[str]
    REMEDY: ClassVar[str]

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        with self._errors():
            self._db = sqlite.connect(path)
            self._inode = Inode.of(path.stat())
            try:
                self._set_up()
            except BaseException:
                self._db.close()
                raise

    def close(self) -> None:
        """Let the file go; harmless when repeated."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def in_place(self) -> bool:
        """The path still leads to this file."""
        return self._inode.is_at(self.path)

    def _set_up(self) -> None:
        sqlite.prepare(self._db)
        version = sqlite.create_tables(self._db, self.SCHEMA.strip(), self.VERSION)
        if version != self.VERSION:
            raise GalleryError(
                f"{self.path}: {self.WHAT} has format {version}, this program knows "
                f"{self.VERSION}: upgrade jetson-face"
            )

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock, self._errors():
            yield

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, self._errors(), sqlite.transaction(self._db):
            yield

    def _wipe(self) -> None:
        """Take what was deleted from the log as well."""
        with self._reading():
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _errors(self) -> contextlib.AbstractContextManager[None]:
        return sqlite.in_our_words(self.path, self.WHAT, self.REMEDY)
