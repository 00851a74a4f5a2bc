"""Makes a gallery file as version 1 of the format was, of made people; their vectors are random."""

from __future__ import annotations

import hashlib
import sqlite3
import struct
import uuid
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jetson_face.core.protocols import Cipher
from jetson_face.core.types import EmbeddingSpace
from jetson_face.util.images import encode_jpeg

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
PRAGMA application_id = 0x6A664741;
PRAGMA user_version = 1;
"""
NOTE = '{"similarity_min": 0.47}'


def write_format1(
    path: Path, space: EmbeddingSpace, cipher: Cipher | None, people: Mapping[str, int]
) -> dict[str, list[np.ndarray]]:
    """A gallery of these people with so many photos each, `NAME0.jpg` and on, and a note
    `calibration`; returns the vectors by name."""
    draw = np.random.default_rng(5)
    check = b"jetson-face gallery"
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.executescript(_TABLES)
    about = {
        "model": space.model, "digest": space.digest, "dim": space.dim, "revision": 7,
        "cipher_check": b"" if cipher is None else cipher.encrypt(check, check),
        "note_calibration": NOTE,
    }  # fmt: skip
    db.executemany("INSERT INTO meta VALUES (?, ?)", list(about.items()))
    vectors: dict[str, list[np.ndarray]] = {}
    for name, photos in people.items():
        person = str(uuid.uuid4())
        db.execute("INSERT INTO people VALUES (?, ?, ?, 12.5)", (person, name, name.casefold()))
        for number in range(photos):
            vector = draw.normal(size=space.dim).astype("<f4")
            vector /= np.linalg.norm(vector)
            vectors.setdefault(name, []).append(vector)
            key, source = str(uuid.uuid4()), f"{name}{number}.jpg"
            digest = hashlib.sha256(source.encode()).hexdigest()
            blob = _sealed(vector.tobytes(), cipher, f"{key}/vector")
            db.execute(
                "INSERT INTO templates VALUES (?, ?, ?, 0, ?, 0.5, ?, 13.5)",
                (key, person, digest, blob, source),
            )
            picture = encode_jpeg(draw.integers(0, 255, (64, 64, 3), np.uint8))
            marks = draw.uniform(0, 64, (5, 2)).astype("<f4").tobytes()
            db.execute(
                "INSERT INTO portraits VALUES (?, ?, ?)",
                (
                    key,
                    _sealed(picture, cipher, f"{key}/portrait"),
                    _sealed(marks, cipher, f"{key}/landmarks"),
                ),
            )
    db.close()
    path.chmod(0o600)
    return vectors


def _sealed(data: bytes, cipher: Cipher | None, text: str) -> bytes:
    context = text.encode()
    sealed = data if cipher is None else cipher.encrypt(data, context)
    return sealed + struct.pack("<I", zlib.crc32(sealed, zlib.crc32(context)))
