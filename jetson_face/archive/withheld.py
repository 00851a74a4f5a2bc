"""Faces of people who must not be recognised: no track of theirs is kept, nor shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jetson_face.config import Config
from jetson_face.core.types import F32, BoolArray, Embeddings, EmbeddingSpace
from jetson_face.factory.parts import open_gallery
from jetson_face.factory.threshold import own_threshold
from jetson_face.gallery.matcher import Matcher


@dataclass(frozen=True, slots=True, eq=False)
class WithheldFaces:
    """The do-not-recognise list as an archive holds it against faces.

    matcher: everybody in the gallery; None where nobody must be withheld. least: cosine to somebody
    of the list, nearer than everybody else, at or above which a face is taken for theirs.
    """

    matcher: Matcher | None = None
    least: float = 1.0

    @classmethod
    def of(cls, config: Config, space: EmbeddingSpace) -> WithheldFaces:
        """Those of the configured gallery; nobody where there is none. Raises the gallery's errors,
        EmbeddingSpaceError where it was made with another network."""
        if not config.gallery_path.exists():
            return cls()
        with open_gallery(config, space) as gallery:
            snapshot = gallery.snapshot()
        if not snapshot.withheld:
            return cls()
        least = own_threshold(config) - config.privacy.withhold_margin
        return cls(Matcher(snapshot, top_k=config.matching.top_k), least)

    def among(self, templates: F32) -> BoolArray:
        """Which of the unit vectors (N, dim) are faces of the list: (N,)."""
        if self.matcher is None or not len(templates):
            return np.zeros(len(templates), np.bool_)
        snapshot = self.matcher.snapshot
        found = self.matcher.match(Embeddings(templates, snapshot.space))
        return np.array(
            [
                match.person is not None
                and match.person.id in snapshot.withheld
                and match.similarity >= self.least
                for match in found
            ],
            np.bool_,
        )
