"""From a review candidate to the queue; one that cannot be used costs items, not the service."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from jetson_face.core.types import Frame, ReviewCandidate
from jetson_face.embedding.align import Portrait, cut_portraits
from jetson_face.review.item import ReviewItem
from jetson_face.review.queue import ReviewQueue
from jetson_face.service.reopening import Reopening
from jetson_face.util.images import encode_jpeg


@dataclass(frozen=True, slots=True, eq=False)
class CapturedCandidate:
    """A review candidate on its way to the disk.

    time: of its frame, UTC seconds. source: of its frame.
    """

    candidate: ReviewCandidate
    time: float
    source: str
    portrait: Portrait


def capture_candidate(candidate: ReviewCandidate, frame: Frame) -> CapturedCandidate:
    """Cut the face out, so that the frame need not wait."""
    portrait = cut_portraits(frame.image, candidate.landmarks[None])[0]
    return CapturedCandidate(candidate, frame.wall, frame.source, portrait)


class ReviewWriter:
    """Writes and ages the review queue of a running service.

    open_queue: tried again at each use while it fails. same_face_min: cosine at or above which two
    faces are taken for one person.
    """

    def __init__(
        self, open_queue: Callable[[], ReviewQueue], same_face_min: Callable[[], float]
    ) -> None:
        self._same_face_min = same_face_min
        self._queue = Reopening("review", open_queue)
        self._not_kept = 0

    def keep(self, captured: CapturedCandidate) -> int | None:
        """Put it into the queue, unless the same face was queued before; its number."""
        candidate = captured.candidate
        item = ReviewItem(
            candidate=candidate.nearest.id,
            similarity=candidate.similarity,
            second=candidate.second,
            time=captured.time,
            source=captured.source,
            track=candidate.track,
            quality=candidate.quality,
            face=candidate.face,
            portrait=encode_jpeg(captured.portrait.image),
            landmarks=captured.portrait.landmarks,
        )
        same = self._same_face_min()
        number = self._queue.use(lambda queue: queue.add(item, same_face_min=same) or 0)
        if number is None:
            self._not_kept += 1
        return number or None

    def forget(self, numbers: Iterable[int]) -> None:
        """Erase these items, as far as they are there."""

        def erase(queue: ReviewQueue) -> int:
            for number in numbers:
                queue.throw_away(number)
            return 0

        self._queue.use(erase)

    def prune(self) -> None:
        """Erase what is too old; for a timer."""
        self._queue.use(lambda queue: queue.prune())

    def state(self) -> dict[str, Any]:
        """For the status. not_kept: lost to `error`. given_up: open ones that made room."""
        waiting = self._queue.use(lambda queue: queue.waiting())
        queue = self._queue.now
        return {
            "waiting": waiting,
            "repeats": queue.repeats if queue else 0,
            "given_up": queue.given_up if queue else 0,
            "not_kept": self._not_kept,
            "error": self._queue.error,
        }

    def close(self) -> None:
        """Let the file go."""
        self._queue.close()
