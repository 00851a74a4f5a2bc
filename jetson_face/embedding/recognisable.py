"""How recognisable a face is to its network: how far its vector is from those of what is no face.

Crops that show nobody (blurred away, a few pixels, no face at all) fall together in one region of
an embedding. The cosine of a vector to the nearest centroid there says how little its crop shows.
Source: Deng et al., "Harnessing unrecognizable faces for improving face recognition", arXiv
2106.04112.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jetson_face.core.errors import EmbeddingSpaceError, InputMissingError, ModelError
from jetson_face.core.types import F32, Embeddings, EmbeddingSpace
from jetson_face.util.files import write_file

_KIND = "unrecognisable"


@dataclass(frozen=True, slots=True, eq=False)
class Recognisability:
    """Centroids of a network's unrecognisable crops, one a kind. (K, dim) float32, length 1 each.

    Not their mean: a network may put what is blurred away and what is no face at different places.
    """

    space: EmbeddingSpace
    centroids: F32

    @classmethod
    def of(cls, kinds: list[Embeddings]) -> Recognisability:
        """From the vectors of unrecognisable crops, by kind.

        Raises EmbeddingSpaceError where they are of different spaces.
        """
        space = kinds[0].space
        if any(vectors.space != space for vectors in kinds):
            raise EmbeddingSpaceError("vectors of several networks have no common centroid")
        return cls(space, np.stack([_unit(vectors.vectors.mean(axis=0)) for vectors in kinds]))

    @classmethod
    def read(cls, path: Path, space: EmbeddingSpace) -> Recognisability:
        """Read what `write` wrote. Raises InputMissingError, ModelError (also for other spaces)."""
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            found = stored["centroids"] if "centroids" in stored else [stored["centroid"]]
            made = cls(EmbeddingSpace(**stored["space"]), np.asarray(found, np.float32))
            whole = stored["kind"] == _KIND and made.centroids.ndim == 2
            whole = whole and len(made.centroids) > 0
            whole = whole and made.centroids.shape[1] == made.space.dim
            lengths = np.linalg.norm(np.atleast_2d(made.centroids), axis=1)
            whole = whole and bool((np.abs(lengths - 1) < 1e-3).all())
        except FileNotFoundError:
            raise InputMissingError(
                f"{path}: no such file: the model's card names it; install jetson-face again"
            ) from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ModelError(f"{path}: no centroids of unrecognisable crops: {error}") from error
        if not whole:
            raise ModelError(f"{path}: no centroids of unrecognisable crops")
        if made.space != space:
            raise ModelError(
                f"{path}: was made for {made.space}, the network is {space}: "
                "make it with `jetson-face engines unrecognisable`"
            )
        return made

    def write(self, path: Path) -> None:
        """As JSON, whole or not at all. Raises OutputError."""
        space = {"model": self.space.model, "digest": self.space.digest, "dim": self.space.dim}
        numbers = [[round(float(number), 6) for number in row] for row in self.centroids]
        write_file(path, json.dumps({"kind": _KIND, "space": space, "centroids": numbers}) + "\n")

    def scores(self, faces: Embeddings) -> F32:
        """(N,) in [0, 1]: 1 minus the cosine to the nearest; 1 shows a face, 0 shows nobody."""
        nearest = (faces.vectors @ self.centroids.T).max(axis=1)
        return np.asarray(np.clip(1.0 - nearest, 0.0, 1.0), np.float32)


def _unit(vector: F32) -> F32:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), np.float32)
