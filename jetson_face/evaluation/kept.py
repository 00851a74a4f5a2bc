"""Faces that a detector found before, kept by what the picture shows.

Methods with the same detector share them, and so do interrupted runs: searching takes most of an
evaluation's time. Embedding is done anew for every method.
"""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

import numpy as np

from jetson_face.core.errors import OutputError
from jetson_face.core.types import F32, Detections, ImageU8
from jetson_face.detection.detector import Detector

_COMMIT_EVERY = 25
_COLUMNS = 4 + 1 + 10


class KeptFaces:
    """Detections in one file, by search and picture. Raises OutputError where it cannot be used.

    hits, misses: how often something was there, and was not.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=60)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS found (search TEXT, picture BLOB, faces BLOB, "
                "PRIMARY KEY (search, picture)) WITHOUT ROWID"
            )
        except (OSError, sqlite3.Error) as exc:
            raise OutputError(f"{path}: not usable for found faces: {exc}; remove it") from exc
        self._path = path
        self._waiting: dict[tuple[str, bytes], bytes] = {}
        self.hits = self.misses = 0

    def find(self, search: str, picture: bytes) -> Detections | None:
        """What `search` found in it, or None where it was never asked."""
        raw = self._waiting.get((search, picture))
        if raw is None:
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
        """Write what waits, at once: another process may use the file. Raises OutputError."""
        rows = [(*key, faces) for key, faces in self._waiting.items()]
        try:
            with self._db:
                self._db.executemany("INSERT OR REPLACE INTO found VALUES (?, ?, ?)", rows)
        except sqlite3.Error as exc:
            raise OutputError(f"{self._path}: cannot be written: {exc}") from exc
        self._waiting.clear()

    def close(self) -> None:
        """Write what waits, and close."""
        self.flush()
        self._db.close()


class KeptDetector:
    """A detector that asks `kept` first. search: name of the detector and all its settings."""

    def __init__(self, detector: Detector, search: str, kept: KeptFaces) -> None:
        self._detector, self._search, self._kept = detector, search, kept

    @property
    def name(self) -> str:
        """That of the detector."""
        return self._detector.name

    def detect(self, image: ImageU8) -> Detections:
        """Faces, as `Detector.detect`."""
        picture = picture_digest(image)
        faces = self._kept.find(self._search, picture)
        if faces is None:
            faces = self._detector.detect(image)
            self._kept.add(self._search, picture, faces)
        return faces

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
