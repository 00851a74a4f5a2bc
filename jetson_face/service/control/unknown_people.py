"""People who are not enrolled and are remembered: listed, shown, named, erased."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jetson_face.gallery.names import valid_name
from jetson_face.privacy.encryption import open_cipher
from jetson_face.review.clusters import FaceCluster
from jetson_face.review.unknowns import UNKNOWNS, UnknownPerson, UnknownStore
from jetson_face.service.control.clusters import Clusters
from jetson_face.service.control.desk import Desk
from jetson_face.service.control.http import ControlError, ControlRequest, Reply, Route
from jetson_face.service.control.values import cut_page, text_in, when
from jetson_face.service.unknown_erasure import UnknownErasure, erase_on_demand

_ID = "([0-9a-f]{16})"
_VISITS_SHOWN = 100


class UnknownPeopleDesk:
    """The routes under `/unknown-people`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.routes: tuple[Route, ...] = (
            ("GET", "/unknown-people", self.list),
            ("DELETE", "/unknown-people", self.erase_all),
            ("GET", f"/unknown-people/{_ID}", self.show),
            ("DELETE", f"/unknown-people/{_ID}", self.erase),
            ("GET", f"/unknown-people/{_ID}/portrait", self.portrait),
            ("GET", f"/unknown-people/{_ID}/faces/([0-9])", self.portrait),
            ("POST", f"/unknown-people/{_ID}/preview", self.preview),
            ("POST", f"/unknown-people/{_ID}/name", self.name),
        )

    def list(self, request: ControlRequest) -> Reply:
        """Everybody, who was seen last first."""
        with self._store() as store:
            people = [] if store is None else store.people()
        return cut_page(request, [_row(one) for one in people], "id")

    def show(self, request: ControlRequest, who: str) -> Reply:
        """One of them with the last visits, the newest first."""
        person = self._read(who)
        visits = [
            {"last": when(one.time), "seconds": round(one.end - one.begin, 1)}
            for one in reversed(person.visits[-_VISITS_SHOWN:])
        ]
        faces = [
            {"time": when(one.time), "source": one.source, "quality": round(one.quality, 3)}
            for one in person.faces
        ]
        return Reply.of(_row(person) | {"sightings": visits, "faces": faces})

    def portrait(self, request: ControlRequest, who: str, number: str = "0") -> Reply:
        """One of the faces that are kept, the best first."""
        faces = self._read(who).faces
        if int(number) >= len(faces):
            raise ControlError(404, f"no such face of {who} is kept")
        return Reply(200, faces[int(number)].portrait, "image/jpeg")

    def preview(self, request: ControlRequest, who: str) -> Reply:
        """What the name would change about the faces that wait for review; nothing is kept."""
        name = valid_name(text_in(request.document(), "name"))
        with self._clusters(who) as clusters:
            return Reply.of(clusters.preview(FaceCluster((), (who,)), name))

    def name(self, request: ControlRequest, who: str) -> Reply:
        """Enrol the faces under a name, new or not; who has one is remembered no more as
        unknown."""
        name = valid_name(text_in(request.document(), "name"))
        with self._clusters(who) as clusters:
            done = clusters.name(FaceCluster((), (who,)), name)
        self._desk.told()
        if done.person is None:
            raise ControlError(
                409, f"no face could be enrolled: {done.left.get(who, 'none is kept')}"
            )
        return Reply.of(
            {
                "id": done.person.id,
                "name": done.person.name,
                "added": len(done.added),
                "remembered": who not in done.unknowns,
                "reason": done.left.get(who),
            }
        )

    def erase(self, request: ControlRequest, who: str) -> Reply:
        """Erase one: record, pictures, the id in events."""
        self._read(who)
        with self._desk.alone() as config:
            return Reply.of(_erased(erase_on_demand(config, [who])))

    def erase_all(self, request: ControlRequest) -> Reply:
        """Erase everybody, also who is seen meanwhile."""
        with self._desk.alone() as config:
            return Reply.of(_erased(erase_on_demand(config, None)))

    @contextmanager
    def _store(self) -> Iterator[UnknownStore | None]:
        """Alone; None where nobody is remembered."""
        with self._desk.alone() as config:
            path = config.state_dir / UNKNOWNS
            if not path.exists():
                yield None
                return
            with UnknownStore.open(path, open_cipher(config.state_dir)) as store:
                yield store

    def _read(self, who: str) -> UnknownPerson:
        with self._store() as store:
            if store is None:
                raise ControlError(404, f"no unknown person {who}")
            return store.read(who)

    @contextmanager
    def _clusters(self, who: str) -> Iterator[Clusters]:
        self._read(who)  # before the gallery is made
        with self._desk.gallery(create=True):
            pass
        with self._desk.review() as (config, review, queue, gallery):
            path = config.state_dir / UNKNOWNS
            with UnknownStore.open(path, open_cipher(config.state_dir)) as store:
                yield Clusters(config, review, queue, gallery, store)


def _row(person: UnknownPerson) -> dict[str, Any]:
    return {
        "id": person.id,
        "visits": len(person.visits),
        "first": when(person.visits[0].time),
        "last": when(person.visits[-1].time),
        "source": person.faces[0].source if person.faces else None,
        "face_count": len(person.faces),
    }


def _erased(gone: UnknownErasure) -> dict[str, Any]:
    return {
        "people": gone.people,
        "events": gone.events,
        "pictures": gone.pictures,
        "failed": list(gone.failed),
        "complete": not gone.failed,
    }
