"""A cache of the faces that a detector found, by what the picture shows.

Methods with the same detector share them, and so do interrupted runs: searching takes most of an
evaluation's time. Embedding is done again for every method.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from jetson_face.core.errors import OutputError
from jetson_face.core.types import F32, Area, Detections, ImageU8
from jetson_face.detection.detector import AreaSearch, Detector, SecondLook, sharpened
from jetson_face.util import sqlite

_COMMIT_EVERY = 25
_COLUMNS = 4 + 1 + 10
_BUSY_S = 60.0
"""Other evaluations may write to the same file."""
_VERSION = 1
# "IF NOT EXISTS": files of before this version have the table and no number.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS found (
    search TEXT, picture BLOB, faces BLOB, PRIMARY KEY (search, picture)
) WITHOUT ROWID
"""


class DetectionCache:
    """Detections in one file, by search and picture. Every method raises OutputError where the file
    cannot be used.

    hits, misses: how often something was there, and was not.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._errors():
            self._db = sqlite.connect(path, timeout_s=_BUSY_S)
            try:
                sqlite.prepare(self._db)
                sqlite.create_tables(self._db, _SCHEMA, _VERSION)
            except BaseException:
                self._db.close()
                raise
        self._waiting: dict[tuple[str, bytes], bytes] = {}
        self.hits = self.misses = 0

    def find(self, search: str, picture: bytes) -> Detections | None:
        """What `search` found in it, or None where it was never asked."""
        raw = self._waiting.get((search, picture))
        if raw is None:
            with self._errors():
                row = self._db.execute(
                    "SELECT faces FROM found WHERE search = ? AND picture = ?", (search, picture)
                ).fetchone()
            raw = None if row is None else row[0]
        if raw is None:
            self.misses += 1
            return None
        self.hits += 1
        return _unpacked(raw)

    def add(self, search: str, picture: bytes, faces: Detections) -> None:
        """Remember what was found, or that nothing was."""
        self._waiting[search, picture] = _packed(faces)
        if len(self._waiting) >= _COMMIT_EVERY:
            self.flush()

    def flush(self) -> None:
        """Write what waits, at once: another process may use the file."""
        rows = [(*key, faces) for key, faces in self._waiting.items()]
        with self._errors(), sqlite.transaction(self._db):
            self._db.executemany("INSERT OR REPLACE INTO found VALUES (?, ?, ?)", rows)
        self._waiting.clear()

    def close(self) -> None:
        """Write what waits, and close."""
        self.flush()
        self._db.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, *sqlite.RAISED) as error:
            raise OutputError(
                f"{self._path}: not usable for found faces: {error}: remove it"
            ) from error


class CachedDetector:
    """A detector that asks `cache` first. search: name of the detector and all its settings."""

    def __init__(self, detector: Detector, search: str, cache: DetectionCache) -> None:
        self._detector, self._search, self._cache = detector, search, cache

    @property
    def name(self) -> str:
        """That of the detector."""
        return self._detector.name

    def detect(self, image: ImageU8) -> Detections:
        """Faces, as `Detector.detect`."""
        picture = picture_digest(image)
        faces = self._cache.find(self._search, picture)
        if faces is None:
            faces = self._detector.detect(image)
            self._cache.add(self._search, picture, faces)
        return faces

    def search_area(self, image: ImageU8, area: Area) -> Detections:
        """As `AreaSearch.search_area`, with landmarks as exact as those of `detect`; not kept."""
        assert isinstance(self._detector, AreaSearch)
        faces = self._detector.search_area(image, area)
        if isinstance(self._detector, SecondLook) and len(faces):
            return sharpened(self._detector, image, faces)
        return faces

    def takes_areas(self, size: tuple[int, int]) -> bool:
        """Whether the detector does."""
        return isinstance(self._detector, AreaSearch) and self._detector.takes_areas(size)

    def close(self) -> None:
        """Close the detector; what was found stays open for the next one."""
        self._detector.close()


def picture_digest(image: ImageU8) -> bytes:
    """Of the pixels and the shape."""
    digest = hashlib.blake2b(image.tobytes(), digest_size=16)
    digest.update(repr(image.shape).encode())
    return digest.digest()


def _packed(faces: Detections) -> bytes:
    parts = (faces.boxes, faces.scores[:, None], faces.landmarks.reshape(len(faces), 10))
    return np.concatenate(parts, axis=1).astype("<f4").tobytes()


def _unpacked(raw: bytes) -> Detections:
    table: F32 = np.frombuffer(raw, "<f4").reshape(-1, _COLUMNS).astype(np.float32)
    return Detections(table[:, :4], table[:, 4], table[:, 5:].reshape(-1, 5, 2))
