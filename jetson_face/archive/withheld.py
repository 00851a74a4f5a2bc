"""Faces of people who must not be recognised: no track of theirs is kept, nor shown."""

from __future__ import annotations

import numpy as np

from jetson_face.archive.templates import Hides
from jetson_face.config import Config
from jetson_face.core.types import F32, BoolArray, Embeddings, EmbeddingSpace
from jetson_face.factory.parts import open_gallery
from jetson_face.factory.threshold import own_threshold
from jetson_face.gallery.matcher import Matcher


def withheld_faces(config: Config, space: EmbeddingSpace) -> Hides:
    """Which of some unit vectors (N, dim) are faces of the do-not-recognise list: (N,).

    Those nearer to somebody of the list than to everybody else in the configured gallery, and near
    enough; none where there is no gallery. Raises the gallery's errors, EmbeddingSpaceError where
    it was made with another network.
    """
    if not config.gallery_path.exists():
        return _none
    with open_gallery(config, space) as gallery:
        snapshot = gallery.snapshot()
    if not snapshot.withheld:
        return _none
    matcher = Matcher(snapshot, top_k=config.matching.top_k)
    least = own_threshold(config) - config.privacy.withhold_margin

    def among(templates: F32) -> BoolArray:
        found = matcher.match(Embeddings(templates, snapshot.space)) if len(templates) else []
        return np.array(
            [
                match.person is not None
                and match.person.id in snapshot.withheld
                and match.similarity >= least
                for match in found
            ],
            np.bool_,
        )

    return among


def _none(templates: F32) -> BoolArray:
    return np.zeros(len(templates), np.bool_)
