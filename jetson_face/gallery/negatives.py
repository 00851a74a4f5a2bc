"""Faces that a person said are not somebody enrolled, held against that somebody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jetson_face.core.types import F32, Person


@dataclass(frozen=True, slots=True, eq=False)
class Negatives:
    """vectors: (K, dim) unit. person: (K,) ids; `vectors[k]` is not `person[k]`. similarity_min:
    cosine at or above which two faces are one person."""

    vectors: F32
    person: tuple[str, ...]
    similarity_min: float

    def __len__(self) -> int:
        return len(self.person)

    def hold_against(self, scores: F32, probes: F32, people: Sequence[Person]) -> F32:
        """(N, P) scores of probes (N, dim), with -1 where a probe is the face that is not that
        person: at least `similarity_min` like it, and more like it than like the person."""
        column = {person.id: at for at, person in enumerate(people)}
        likeness = probes @ self.vectors.T
        out = scores.copy()
        for row, person in enumerate(self.person):
            at = column.get(person)
            if at is not None:
                like = likeness[:, row]
                rejected = (like >= self.similarity_min) & (like > scores[:, at])
                out[rejected, at] = -1.0
        return np.asarray(out, np.float32)
