"""Small stand-ins for what the gallery works with."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from jetson_face.core.types import F32, EmbeddingSpace, ImageU8, Person
from jetson_face.gallery.matcher import GallerySnapshot
from jetson_face.gallery.records import NewTemplate
from jetson_face.gallery.store import GalleryStore

SPACE = EmbeddingSpace("fake", "ab" * 32, 8)
OTHER = EmbeddingSpace("other", "cd" * 32, 4)
LANDMARKS = np.array([[90, 100], [166, 100], [128, 140], [96, 180], [160, 180]], np.float32)


def unit(*values: float) -> F32:
    """A unit vector of SPACE that starts with `values`."""
    vector = np.zeros(SPACE.dim, np.float32)
    vector[: len(values)] = values
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def portrait(shade: int = 100) -> ImageU8:
    return np.full((256, 256, 3), shade, np.uint8)


def template(photo: str, vector: F32 | None = None, face: int = 0) -> NewTemplate:
    """A template as if from a photo called `photo`."""
    return NewTemplate(
        vector=unit(1) if vector is None else vector,
        quality=0.5,
        photo=hashlib.sha256(photo.encode()).hexdigest(),
        portrait=portrait(),
        landmarks=LANDMARKS,
        source=photo,
        face=face,
    )


def filled(path: Path, **people: list[F32]) -> GalleryStore:
    """A gallery with these people and vectors."""
    store = GalleryStore.open(path, SPACE, create=True)
    with store.transaction():
        for name, vectors in people.items():
            person = store.add_person(name)
            for number, vector in enumerate(vectors):
                store.add_template(person, template(f"{name}{number}.jpg", vector))
    return store


def snapshot(**people: list[F32]) -> GallerySnapshot:
    """The same without a file."""
    index = [i for i, vectors in enumerate(people.values()) for _ in vectors]
    every = [vector for vectors in people.values() for vector in vectors]
    return GallerySnapshot(
        SPACE,
        np.array(every, np.float32).reshape(-1, SPACE.dim),
        np.array(index, np.int64),
        tuple(Person(name.upper(), name) for name in people),
    )
