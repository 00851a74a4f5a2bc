"""Doubtful and unknown faces named by the cluster: seen, previewed and answered in one step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jetson_face.config import Config
from jetson_face.core.errors import EmbeddingSpaceError, GalleryCorruptError, UsageError
from jetson_face.core.types import Person
from jetson_face.gallery.names import valid_name
from jetson_face.gallery.store import GalleryStore
from jetson_face.review.clusters import FaceCluster, review_clusters
from jetson_face.review.item import NOBODY, ReviewItem
from jetson_face.review.queue import ReviewQueue
from jetson_face.review.unknowns import KeptFace, UnknownPerson, UnknownStore
from jetson_face.service.control.desk import same_person_min
from jetson_face.service.control.preview import ReviewVote, changes
from jetson_face.service.review import Review


@dataclass(frozen=True, slots=True)
class NamedCluster:
    """What became of a cluster. person: who has its faces now, None where none could be added.
    added: numbers of the items. unknowns: ids of the remembered people who have a name now, and
    are remembered no more as unknown. left: why others were not added, by number or id."""

    person: Person | None
    added: tuple[int, ...]
    unknowns: tuple[str, ...]
    left: dict[str, str]


class Clusters:
    """See the module. Every method raises the errors of queue, gallery, audit log and the file of
    unknown people; UsageError for what does not wait.

    Items are answered one by one, each as `Review.accept` does it: with its line in the audit log,
    and so that `Review.undo` takes them back, the last one first. Faces of a remembered person
    become items first. unknowns: None where nobody is remembered.
    """

    def __init__(
        self,
        config: Config,
        review: Review,
        queue: ReviewQueue,
        store: GalleryStore,
        unknowns: UnknownStore | None,
    ) -> None:
        self._config, self._review, self._queue, self._store = config, review, queue, store
        self._unknowns = unknowns

    def all(self) -> list[FaceCluster]:
        """Those that wait, the largest first."""
        remembered = [] if self._unknowns is None else self._unknowns.people()
        return review_clusters(self._queue, same_person_min(self._config), remembered)

    def of(self, key: str) -> FaceCluster:
        """The cluster that an item, by number, or a remembered person, by id, is in."""
        for cluster in self.all():
            if key in map(str, cluster.numbers) or key in cluster.unknowns:
                return cluster
        raise UsageError(f"no face {key} waits: see `jetson-face review clusters`")

    def preview(self, cluster: FaceCluster, name: str) -> dict[str, Any]:
        """What naming it would change; see `changes`. Nothing is kept. Raises NameInvalidError."""
        wanted = valid_name(name)
        votes = [ReviewVote(number, "other", wanted) for number in cluster.numbers]
        for person in self._remembered(cluster):
            votes += [ReviewVote(0, "other", wanted, one.face) for one in person.faces]
        return changes(self._config, self._review, self._queue, self._store, votes)

    def name(self, cluster: FaceCluster, name: str) -> NamedCluster:
        """Add its faces to that person, new or not. Raises NameInvalidError before any is added."""
        wanted = valid_name(name)
        added: dict[int, Person] = {}
        left: dict[str, str] = {}
        named: list[str] = []
        for number in cluster.numbers:
            self._accept(number, str(number), wanted, added, left)
        for one in self._remembered(cluster):
            for face in one.faces:
                item = self._queue.add(_item(face), same_face_min=2)
                if item is not None and not self._accept(item, one.id, wanted, added, left):
                    self._queue.throw_away(item)
            if one.id not in left:
                named.append(one.id)
        if self._unknowns is not None and named:
            self._unknowns.erase(named)
        person = next(iter(added.values()), None)
        return NamedCluster(person, tuple(added), tuple(named), left)

    def _accept(
        self, number: int, key: str, name: str, added: dict[int, Person], left: dict[str, str]
    ) -> bool:
        try:
            added[number] = self._review.accept(number, name)
        except (UsageError, GalleryCorruptError, EmbeddingSpaceError) as error:
            left[key] = str(error)
            return False
        return True

    def _remembered(self, cluster: FaceCluster) -> list[UnknownPerson]:
        if self._unknowns is None:
            return []
        return [self._unknowns.read(who) for who in cluster.unknowns]


def _item(face: KeptFace) -> ReviewItem:
    return ReviewItem(
        candidate=NOBODY,
        similarity=0.0,
        second=-1.0,
        time=face.time,
        source=face.source,
        track=0,
        quality=face.quality,
        face=face.face,
        portrait=face.portrait,
        landmarks=face.landmarks,
    )
