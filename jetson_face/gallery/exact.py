"""Exact vectors of single templates, read from the gallery's file when they are asked for."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jetson_face.core.errors import GalleryError, InputMissingError
from jetson_face.core.types import F32, BoolArray
from jetson_face.gallery import schema
from jetson_face.gallery.schema import Identity
from jetson_face.util import sqlite

logger = logging.getLogger(__name__)
_KEPT = 4096
"""Vectors that stay in memory: those of the same people are asked for frame after frame."""
_AT_ONCE = 500

Opener = Callable[[Sequence[tuple[str, str, bytes, int, bytes]]], F32]
"""id, person, photo, face and sealed vector of some rows to their vectors (N, dim)."""


class ExactTemplates:
    """Of one gallery file in one space; for any thread.

    The file stays open until `let_go`, which comes before another one is opened in its place.
    open_rows: opens what is sealed.
    """

    def __init__(self, path: Path, identity: Identity, dim: int, open_rows: Opener) -> None:
        self._path, self._file, self._dim = path, identity.file, dim
        self._open_rows = open_rows
        self._kept: OrderedDict[bytes, F32] = OrderedDict()
        self._lock = threading.Lock()
        self._failed = False
        self._reading = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._stays = True

    def read(self, keys: NDArray[np.bytes_]) -> tuple[F32, BoolArray]:
        """The vectors (N, dim) of templates (ids), and which of them could be read: (N,)."""
        wanted = keys.tolist()
        with self._lock:
            found = {key: self._kept[key] for key in wanted if key in self._kept}
        missing = [key for key in wanted if key not in found]
        try:
            fresh = self._fetched(missing) if missing else {}
            self._failed = self._failed and not missing
        except (GalleryError, InputMissingError, sqlite3.Error) as error:
            if not self._failed:
                logger.error("gallery_vectors_unreadable goes_on_with=compact error=%s", error)
            self._failed, fresh = True, {}
        self._keep(found | fresh)
        found |= fresh
        nothing = np.zeros(self._dim, np.float32)
        vectors = np.array([found.get(key, nothing) for key in wanted], np.float32)
        there = np.array([key in found for key in wanted], np.bool_)
        return vectors.reshape(-1, self._dim), there

    def must(self, keys: NDArray[np.bytes_]) -> F32:
        """The same for templates that must all be there. Raises the gallery's errors."""
        vectors = np.empty((len(keys), self._dim), np.float32)
        for begin in range(0, len(keys), _AT_ONCE):
            part = keys[begin : begin + _AT_ONCE].tolist()
            try:
                found = self._fetched(part)
            except sqlite.RAISED as error:
                raise schema.translated(error, self._path) from error
            if len(found) != len(part):
                raise GalleryError(f"{self._path}: somebody changed the gallery: try again")
            vectors[begin : begin + len(part)] = [found[key] for key in part]
        return vectors

    def let_go(self) -> None:
        """Close the file; what is read from now on opens it each time."""
        with self._reading:
            self._stays = False
            if self._db is not None:
                self._db.close()
                self._db = None

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """One thread at a time."""
        with self._reading:
            if schema.identity(self._path).file != self._file:
                raise GalleryError(f"{self._path}: the gallery's file was exchanged")
            db = self._db or sqlite.connect(self._path, create=False, timeout_s=1.0)
            try:
                self._db = db if self._stays else None
                yield db
            finally:
                if self._db is None:
                    db.close()

    def _fetched(self, keys: Sequence[bytes]) -> dict[bytes, F32]:
        found: dict[bytes, F32] = {}
        with self._connection() as db:
            for begin in range(0, len(keys), _AT_ONCE):
                part = [key.decode() for key in keys[begin : begin + _AT_ONCE]]
                marks = ",".join("?" * len(part))
                rows = db.execute(
                    f"SELECT id, person, photo, face, vector FROM templates WHERE id IN ({marks})",
                    part,
                ).fetchall()
                vectors = self._open_rows(rows)
                found |= {row[0].encode(): one for row, one in zip(rows, vectors, strict=True)}
        return found

    def _keep(self, vectors: dict[bytes, F32]) -> None:
        with self._lock:
            for key, vector in vectors.items():
                self._kept[key] = vector
                self._kept.move_to_end(key)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
