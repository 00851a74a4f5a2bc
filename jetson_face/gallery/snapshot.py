"""Who is enrolled at one moment, for matching."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jetson_face.core.types import F32, I64, EmbeddingSpace, Person


@dataclass(frozen=True, slots=True, eq=False)
class GallerySnapshot:
    """The gallery at one moment, for matching; nothing in it changes.

    vectors: (M, dim) float32 unit templates, those of one person together. person_index: (M,)
    index into `people`, ascending. people: everybody with at least one template. revision: grows
    with every change of the gallery. withheld: ids of those of the people who must not be named:
    a face that is one of them is said to be nobody's.
    """

    space: EmbeddingSpace
    vectors: F32
    person_index: I64
    people: tuple[Person, ...]
    revision: int = 0
    withheld: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or self.vectors.shape[1] != self.space.dim:
            raise ValueError(f"templates need (M, {self.space.dim}), got {self.vectors.shape}")
        steps = np.diff(self.person_index)
        if (steps < 0).any():
            raise ValueError("templates of one person must be together, in the order of people")
        present = np.count_nonzero(steps) + 1 if len(self.person_index) else 0
        if len(self.person_index) != len(self.vectors) or present != len(self.people):
            raise ValueError("every person needs a template and every template a person")
        self.vectors.flags.writeable = False
        self.person_index.flags.writeable = False

    @classmethod
    def empty(cls, space: EmbeddingSpace, revision: int = 0) -> GallerySnapshot:
        """Nobody."""
        return cls(space, np.zeros((0, space.dim), np.float32), np.zeros(0, np.int64), (), revision)

    @property
    def template_count(self) -> int:
        """How many templates are compared."""
        return len(self.person_index)

    def index_of(self, person: str) -> int | None:
        """Which of `people` has this id."""
        return next((at for at, one in enumerate(self.people) if one.id == person), None)

    def own(self, index: int) -> F32:
        """The templates of one of the people: (K, dim)."""
        return np.asarray(self.vectors[self.person_index == index], np.float32)

    def nearest(self, faces: F32, without: int | None = None) -> list[tuple[int, float]]:
        """Whose template is nearest to each of the unit vectors (N, dim), and its cosine; those of
        one of the people do not count. -1 and minus infinity where there is none."""
        cosines = faces @ self.vectors.T
        if without is not None:
            cosines[:, self.person_index == without] = -np.inf
        if not cosines.shape[1]:
            return [(-1, -np.inf)] * len(faces)
        columns = cosines.argmax(axis=1)
        found = cosines[np.arange(len(faces)), columns]
        return [
            (int(self.person_index[column]) if np.isfinite(cosine) else -1, float(cosine))
            for column, cosine in zip(columns, found, strict=True)
        ]
