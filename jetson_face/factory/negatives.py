"""The rejected faces of the review queue, for the matcher."""

from __future__ import annotations

import logging

import numpy as np

from jetson_face.config import Config
from jetson_face.core.errors import GalleryCorruptError, UsageError
from jetson_face.core.types import Embeddings, EmbeddingSpace
from jetson_face.gallery.negatives import Negatives
from jetson_face.privacy.encryption import open_cipher
from jetson_face.review.queue import REVIEW, QueuedItem, ReviewQueue

_log = logging.getLogger(__name__)


def negatives_of(config: Config, space: EmbeddingSpace, similarity_min: float) -> Negatives | None:
    """What was rejected and is still kept; None where nothing is, or `matching.negatives` is off.

    similarity_min: the network's own. Raises the queue's errors.
    """
    if not config.matching.negatives:
        return None
    rejected = queued(config, space, ("rejected",))
    if not rejected:
        return None
    vectors = np.stack([one.item.face.vectors[0] for one in rejected])
    return Negatives(vectors, tuple(one.item.candidate for one in rejected), similarity_min)


def queued(
    config: Config,
    space: EmbeddingSpace,
    states: tuple[str, ...] = ("open", "accepted", "rejected"),
) -> list[QueuedItem]:
    """The faces of the review queue that are of this space, by state and number; damaged ones are
    left out with a warning. Raises the queue's errors."""
    path = config.state_dir / REVIEW
    if not path.exists():
        return []
    found = []
    with ReviewQueue.open(path, open_cipher(config.state_dir)) as queue:
        for state in states:
            for number in queue.numbers(state):
                try:
                    item = queue.read(number)
                except UsageError:
                    continue  # it was erased meanwhile
                except GalleryCorruptError as error:
                    _log.warning("left out: %s", error)
                    continue
                if item.item.face.space == space:
                    found.append(item)
    return found


def faces_of(items: list[QueuedItem], space: EmbeddingSpace) -> Embeddings:
    """(N, dim) of queued items."""
    vectors = [item.item.face.vectors[0] for item in items]
    return Embeddings(np.array(vectors, np.float32).reshape(len(items), space.dim), space)
