"""Erasing remembered people who are not enrolled: faces, visits, pictures, ids in events."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from jetson_face.config import Config
from jetson_face.core.errors import GalleryError
from jetson_face.events.history import Erased, History
from jetson_face.events.redaction import mask_file, mask_outbox
from jetson_face.events.snapshots import SnapshotStore
from jetson_face.factory.threshold import own_threshold
from jetson_face.gallery.matcher import GallerySnapshot
from jetson_face.privacy.audit import AUDIT, AuditLog
from jetson_face.privacy.encryption import open_cipher
from jetson_face.review.unknowns import UNKNOWNS, UnknownStore
from jetson_face.service.history import HISTORY
from jetson_face.service.plumbing import CROPS, OUTBOX, event_files


@dataclass(frozen=True, slots=True)
class UnknownErasure:
    """people: who were remembered. events: that lost an id. pictures: deleted, of crops and
    history. failed: files that could not be searched. ids: of the people."""

    people: int
    events: int
    pictures: int
    failed: tuple[str, ...]
    ids: tuple[str, ...]


def erase_unknown(config: Config, people: Sequence[str] | None) -> UnknownErasure:
    """Erase these, by id, or everybody, also who is seen while it works; a running service forgets
    them before it looks at the next face, and what it does not know is harmless to erase again.

    Raises the errors of the file of unknown people; one other part that fails does not keep the
    rest.
    """
    path, erased = config.state_dir / UNKNOWNS, 0
    if not path.exists():
        people = people or ()
    elif people is None:
        with UnknownStore.open(path, open_cipher(config.state_dir)) as store:
            people = store.erase_all()
        erased = len(people)
    elif people:
        with UnknownStore.open(path, open_cipher(config.state_dir)) as store:
            erased = store.erase(people)
    events = pictures = 0
    failed: list[str] = []
    for who in people:
        for part in (CROPS, OUTBOX, HISTORY, *event_files(config)):
            try:
                found = _erase_in(config, str(part), who)
            except (OSError, GalleryError):
                failed.append(str(part))
                continue
            events, pictures = events + found[0], pictures + found[1]
    return UnknownErasure(erased, events, pictures, tuple(sorted(set(failed))), tuple(people))


def erase_on_demand(config: Config, people: Sequence[str] | None) -> UnknownErasure:
    """The same because somebody said so: with a line for each in the audit log, whose errors it
    raises, too."""
    gone = erase_unknown(config, people)
    log = AuditLog(config.state_dir / AUDIT)
    for who in gone.ids:
        log.record("unknown_erased", person=who, name="", details={"complete": not gone.failed})
    return gone


def _erase_in(config: Config, part: str, who: str) -> tuple[int, int]:
    """How many events and pictures."""
    if part == CROPS:
        return 0, len(erase_crops(config, who))
    if part == HISTORY:
        return erase_history(config, who)
    mask = mask_outbox if part == OUTBOX else mask_file
    return mask(config.state_dir / part, who), 0


def erase_crops(config: Config, who: str) -> list[str]:
    """Delete the pictures of somebody (id) in the folder; their names."""
    folder = config.state_dir / CROPS
    if not folder.is_dir():
        return []
    # No cipher is needed to erase, and the age does not matter.
    return SnapshotStore(folder, None, age=lambda: 0.0).remove_owner(who)


def erase_history(config: Config, who: str) -> Erased:
    """Take somebody (id) out of the history."""
    path = config.state_dir / HISTORY
    if not path.exists():
        return Erased(0, 0)
    with closing(History(path)) as history:
        return history.erase(who)


def alike(config: Config, snapshot: GallerySnapshot, person: str) -> tuple[str, ...]:
    """Ids of remembered people who may be somebody enrolled: as like them as two faces of one
    person, and more than like anybody else. Raises the errors of the file."""
    path = config.state_dir / UNKNOWNS
    index = snapshot.index_of(person)
    if not path.exists() or index is None:
        return ()
    own = snapshot.own(index)
    least, found = own_threshold(config), []
    with UnknownStore.open(path, open_cipher(config.state_dir)) as store:
        for one in store.people():
            faces = [kept.face for kept in one.faces if kept.face.space == snapshot.space]
            for face in faces:
                nearest = float((own @ face.vectors[0]).max())
                if nearest >= max(least, snapshot.nearest(face.vectors, without=index)[0][1]):
                    found.append(one.id)
                    break
    return tuple(found)
