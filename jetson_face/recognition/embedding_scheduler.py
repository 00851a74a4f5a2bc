"""Which faces are worth embedding on this frame: new and unsure ones first, known ones seldom."""

from __future__ import annotations

import numpy as np

from jetson_face.core.types import I64, BoolArray

OVERDUE = 4
"""A sure face whose turn is this many times overdue competes with the unsure ones."""


def select_for_embedding(
    sure: BoolArray,
    frames: I64,
    waited: I64,
    *,
    usable: BoolArray | None = None,
    every_known: int = 10,
    cap: int = 8,
) -> I64:
    """Indices of the faces to embed now, the most wanted first, at most `cap`.

    sure: (N,) the track's state is settled. frames: (N,) embeddings the track has so far.
    waited: (N,) frames since the track was last embedded, or since it began. usable: (N,) the face
    is good enough to be worth it. A sure face is due when it waited `every_known` frames or more.
    Inside one class the longest wait goes first, then the lower index: nobody starves.
    """
    if every_known < 1 or cap < 0:
        raise ValueError(f"every_known >= 1 and cap >= 0, got {every_known}, {cap}")
    due = ~sure | (waited >= every_known)
    if usable is not None:
        due = due & usable
    group = np.where(frames == 0, 0, np.where(sure, 2, 1))
    group = np.where((group == 2) & (waited >= OVERDUE * every_known), 1, group)
    order = np.lexsort((np.arange(len(sure)), -waited, group))
    wanted = order[due[order]]
    return wanted[:cap].astype(np.int64)
