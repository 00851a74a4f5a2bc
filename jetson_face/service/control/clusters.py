"""Doubtful faces named by the cluster: seen, previewed and answered in one step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jetson_face.config import Config
from jetson_face.core.errors import EmbeddingSpaceError, GalleryCorruptError, UsageError
from jetson_face.core.types import Person
from jetson_face.gallery.names import valid_name
from jetson_face.gallery.store import GalleryStore
from jetson_face.review.clusters import FaceCluster, review_clusters
from jetson_face.review.queue import ReviewQueue
from jetson_face.service.control.desk import same_person_min
from jetson_face.service.control.preview import ReviewVote, changes
from jetson_face.service.review import Review


@dataclass(frozen=True, slots=True)
class NamedCluster:
    """What became of a cluster. person: who has its faces now, None where none could be added.
    added: numbers of the items. left: why others were not, by number; they still wait."""

    person: Person | None
    added: tuple[int, ...]
    left: dict[int, str]


class Clusters:
    """See the module. Every method raises the errors of queue, gallery and audit log; UsageError
    for a number that does not wait.

    Items are answered one by one, each as `Review.accept` does it: with its line in the audit log,
    and so that `Review.undo` takes them back, the last one first.
    """

    def __init__(
        self, config: Config, review: Review, queue: ReviewQueue, store: GalleryStore
    ) -> None:
        self._config, self._review, self._queue, self._store = config, review, queue, store

    def all(self) -> list[FaceCluster]:
        """Those that wait, the largest first."""
        return review_clusters(self._queue, same_person_min(self._config))

    def of(self, number: int) -> FaceCluster:
        """The cluster that an item is in."""
        for cluster in self.all():
            if number in cluster.numbers:
                return cluster
        raise UsageError(f"no review item {number} waits: see `jetson-face review clusters`")

    def preview(self, cluster: FaceCluster, name: str) -> dict[str, Any]:
        """What naming it would change; see `changes`. Nothing is kept. Raises NameInvalidError."""
        votes = [ReviewVote(number, "other", valid_name(name)) for number in cluster.numbers]
        return changes(self._config, self._review, self._queue, self._store, votes)

    def name(self, cluster: FaceCluster, name: str) -> NamedCluster:
        """Add its faces to that person, new or not. Raises NameInvalidError before any is added."""
        wanted, person = valid_name(name), None
        added: list[int] = []
        left: dict[int, str] = {}
        for number in cluster.numbers:
            try:
                person = self._review.accept(number, wanted)
                added.append(number)
            except (UsageError, GalleryCorruptError, EmbeddingSpaceError) as error:
                left[number] = str(error)
        return NamedCluster(person, tuple(added), left)
