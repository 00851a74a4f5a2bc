"""Somebody who is not enrolled, known again by the faces that are remembered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from jetson_face.core.types import F32, Embeddings, Person
from jetson_face.gallery.matcher import GallerySnapshot, Matcher, Thresholds

Bounds: TypeAlias = Callable[[GallerySnapshot], Thresholds]
"""The cosines, by averaged embeddings, at which one of these was seen before."""


def seen_before(
    face: Embeddings,
    frames: int,
    remembered: Mapping[str, Sequence[F32]],
    bounds: Bounds,
    *,
    top_k: int,
) -> str | None:
    """The id of the remembered person whose face this is; None for nobody's.

    face: one vector, the mean of `frames` of a track. remembered: (dim,) unit vectors of the same
    space, by id; an id without any is passed over. top_k: as for `Matcher`.
    """
    known = [(who, own) for who, own in remembered.items() if own]
    if not known:
        return None
    snapshot = GallerySnapshot(
        face.space,
        np.stack([vector for _, own in known for vector in own]),
        np.repeat(np.arange(len(known)), [len(own) for _, own in known]),
        tuple(Person(who, who) for who, _ in known),
    )
    match = Matcher(snapshot, top_k=top_k).match(face)[0]
    least = bounds(snapshot)
    if match.person is None or match.similarity < least[min(frames, len(least)) - 1]:
        return None
    return match.person.id
