"""From a doubt to the review queue; one that cannot be used costs questions, not the service."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jetson_face.core.errors import JetsonFaceError
from jetson_face.core.types import Doubt, Frame
from jetson_face.embedding.align import Portrait, cut_portraits
from jetson_face.review.item import Question
from jetson_face.review.queue import ReviewQueue
from jetson_face.util.images import encode_jpeg

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A doubt on its way to the disk, with the time (UTC seconds) and source of its frame."""

    doubt: Doubt
    time: float
    source: str
    portrait: Portrait


def asked(doubt: Doubt, frame: Frame) -> Asked:
    """Cut the face out, so that the frame need not wait."""
    portrait = cut_portraits(frame.image, doubt.landmarks[None])[0]
    return Asked(doubt, frame.wall, frame.source, portrait)


class Questions:
    """Writes and ages the review queue of a running service.

    open_queue: tried again at each use while it fails. same_face_min: cosine at or above which two
    faces are taken for one person.
    """

    def __init__(
        self, open_queue: Callable[[], ReviewQueue], same_face_min: Callable[[], float]
    ) -> None:
        self._open_queue, self._same_face_min = open_queue, same_face_min
        self._lock = threading.Lock()
        self._queue: ReviewQueue | None = None
        self._error: str | None = None
        self._not_kept = 0

    def keep(self, item: Asked) -> None:
        """Put it into the queue, unless that face was asked about before."""
        doubt = item.doubt
        question = Question(
            candidate=doubt.nearest.id,
            similarity=doubt.similarity,
            second=doubt.second,
            time=item.time,
            source=item.source,
            track=doubt.track,
            quality=doubt.quality,
            face=doubt.face,
            portrait=encode_jpeg(item.portrait.image),
            landmarks=item.portrait.landmarks,
        )
        same = self._same_face_min()
        if self._use(lambda queue: queue.add(question, same_face_min=same) or 0) is None:
            self._not_kept += 1

    def prune(self) -> None:
        """Erase what is too old; for a timer."""
        self._use(lambda queue: queue.prune())

    def state(self) -> dict[str, Any]:
        """For the status. not_kept: lost to `error`. given_up: open ones that made room."""
        waiting = self._use(lambda queue: queue.waiting())
        queue = self._queue
        return {
            "waiting": waiting,
            "repeats": queue.repeats if queue else 0,
            "given_up": queue.given_up if queue else 0,
            "not_kept": self._not_kept,
            "error": self._error,
        }

    def close(self) -> None:
        """Let the file go."""
        if self._queue is not None:
            self._queue.close()

    def _use(self, call: Callable[[ReviewQueue], int]) -> int | None:
        with self._lock:
            return self._tried(call)

    def _tried(self, call: Callable[[ReviewQueue], int]) -> int | None:
        try:
            if self._queue is None:
                self._queue = self._open_queue()
            found = call(self._queue)
        except JetsonFaceError as error:
            if self._error is None:
                logger.error("review_not_kept error=%s", error)
            self._error = str(error)
            return None
        if self._error is not None:
            logger.warning("review_back")
            self._error = None
        return found
