"""What goes into the gallery and what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jetson_face.core.types import F32, EmbeddingSpace, ImageU8, Person

LENGTH_ERROR = 1e-3
"""How far a unit vector's squared length may be from 1."""


@dataclass(frozen=True, slots=True, eq=False)
class NewTemplate:
    """One face to enrol.

    vector: (dim,) float32, unit length. quality: [0, 1]. photo: hex SHA-256 of the photo's bytes;
    face: which face of it, from 0. portrait: (S, S, 3) uint8 BGR with its five landmarks (5, 2) in
    the portrait's pixels: enough to embed again. source: the photo's name, for people.
    """

    vector: F32
    quality: float
    photo: str
    portrait: ImageU8
    landmarks: F32
    source: str
    face: int = 0


@dataclass(frozen=True, slots=True)
class TemplateInfo:
    """What people may read of a template. created: UTC seconds."""

    id: str
    source: str
    photo: str
    quality: float
    created: float


@dataclass(frozen=True, slots=True)
class PersonInfo:
    """A person and what is stored of them. created: UTC seconds."""

    person: Person
    created: float
    templates: tuple[TemplateInfo, ...]

    @property
    def name(self) -> str:
        """The person's name."""
        return self.person.name


@dataclass(frozen=True, slots=True)
class Accepted:
    """What is in a gallery that was taken although it is not the one that was last used.

    again: people who had been erased, and were erased again. photos: of others, likewise.
    """

    people: int
    templates: int
    again: tuple[Person, ...]
    photos: int


def photo_name(path: Path) -> str:
    """What a photo is called, for people: bytes of its name that are no text are escapes."""
    return path.name.encode("utf-8", "backslashreplace").decode()


def checked_vector(vector: F32, space: EmbeddingSpace) -> F32:
    """`vector` as stored: little-endian float32. Raises ValueError where it does not fit."""
    vector = np.asarray(vector, "<f4")
    if vector.shape != (space.dim,):
        raise ValueError(f"a vector of {space} has {space.dim} numbers, got {vector.shape}")
    if not np.isfinite(vector).all() or abs(float(vector @ vector) - 1) > LENGTH_ERROR:
        raise ValueError("a vector must be finite and of length 1")
    return vector
