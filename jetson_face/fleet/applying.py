"""Entries of the log of people into this box's gallery, together with how far it was read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from jetson_face.config import Config
from jetson_face.core.errors import GalleryCorruptError, JetsonFaceError
from jetson_face.core.protocols import Cipher
from jetson_face.core.types import F32, Embeddings, ImageU8
from jetson_face.embedding.align import Aligner, Portrait
from jetson_face.embedding.embedder import Embedder
from jetson_face.embedding.mirrored import Mirrored
from jetson_face.factory.networks import build_embedder
from jetson_face.fleet.entries import PeopleEntry, opened_entry
from jetson_face.fleet.place import FleetPlace, Held, read_place, write_place
from jetson_face.gallery.people import PeopleRows
from jetson_face.gallery.replicated import EmbedPortraits, fitted, put_person
from jetson_face.gallery.store import GalleryStore
from jetson_face.privacy.audit import acting_as

logger = logging.getLogger(__name__)
ACTOR = "fleet"
_ERASED = (
    "they were erased on this box: where the hub was restored from an older backup, type "
    "`jetson-face fleet erase {person}`"
)


class LogChangedError(Exception):
    """The entries are not those that were read so far: the log was made again, or went back."""


@dataclass(frozen=True, slots=True)
class LogMessage:
    """A message of the log. seq: its number, rising, with gaps. time: UTC seconds at which the
    server got it."""

    seq: int
    subject: str
    data: bytes
    time: float = 0.0


@dataclass(slots=True)
class Applier:
    """See the module. embed: portraits to vectors of the gallery's network, for records of another
    one."""

    store: GalleryStore
    cipher: Cipher
    embed: EmbedPortraits
    _told: set[str] = field(default_factory=set)

    def apply(self, scope: str, messages: Sequence[LogMessage]) -> bool:
        """Put messages, oldest first, into the gallery; whether somebody is now to be erased.

        All come into force together with the new place, or none does. Raises GalleryError where
        they are sealed with another key, LogChangedError, and the gallery's errors.
        """
        place = read_place(self.store)
        entries: list[tuple[LogMessage, PeopleEntry | None, str]] = []
        for message in messages:
            entry, why = self._opened(message)
            if entry is not None and place.log not in ("", entry.log):
                write_place(self.store, FleetPlace(entry.log, erasing=place.erasing))
                raise LogChangedError("the hub's log of people was made again")
            entries.append((message, entry, why))
        with acting_as(ACTOR), self.store.transaction():
            for message, entry, why in entries:
                place = self._one(place, scope, message, entry, why)
                place = place.at(scope, message.seq, message.time)
            write_place(self.store, place)
        self.store.checkpoint()
        return bool(place.erasing)

    def _opened(self, message: LogMessage) -> tuple[PeopleEntry | None, str]:
        """The entry, with its record as this gallery can keep it, or why that cannot be."""
        try:
            entry = opened_entry(self.cipher, message.subject, message.data)
        except GalleryCorruptError as error:
            return None, str(error)
        if entry.record is None:
            return entry, ""
        try:
            return replace(entry, record=fitted(entry.record, self.store.space, self.embed)), ""
        except (JetsonFaceError, ValueError) as error:
            return entry, f"not embedded again: {error}"

    def _one(
        self,
        place: FleetPlace,
        scope: str,
        message: LogMessage,
        entry: PeopleEntry | None,
        why: str,
    ) -> FleetPlace:
        person = message.subject.rpartition(".")[2]
        if entry is not None:
            place = replace(place, log=entry.log)
        if entry is not None and not why:
            if entry.record is None:
                return self._to_erase(place, person)
            erased = self.store.book.was_erased(person)
            known = person not in place.held and place.has_read(scope, message.seq, message.time)
            if known and not erased:
                return place  # what the gallery has is newer, where it differs
            try:
                put_person(self.store, entry.record)
                return place.holding(person, None)
            except JetsonFaceError as error:
                why = _ERASED if erased else str(error)
        kind, why = why, why.replace("{person}", person)
        if kind not in self._told:
            self._told.add(kind)
            logger.warning("fleet_person_held scope=%s seq=%d why=%s", scope, message.seq, why)
        return place.holding(person, Held(scope, message.seq, why))

    def _to_erase(self, place: FleetPlace, person: str) -> FleetPlace:
        book = self.store.book
        if PeopleRows(book).find(person) is None:
            # Whoever is here is remembered as erased when they are. Nobody else is to come either,
            # by another scope.
            book.add_erased([book.erased_tag(person)])
        return place.to_erase(person)


class PortraitEmbedder:
    """Embeds portraits again, as the configuration says; the network is loaded when it is first
    needed."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._embedder: Embedder | None = None

    @property
    def embedder(self) -> Embedder:
        """The network, of photos. Raises ModelError, MissingDependencyError."""
        if self._embedder is None:
            found = build_embedder(self._config)
            self._embedder = Mirrored(found) if self._config.embedder.mirror else found
        return self._embedder

    def __call__(self, portraits: ImageU8, landmarks: F32) -> Embeddings:
        """(N, S, S, 3) portraits and (N, 5, 2) landmarks to N vectors."""
        aligner = Aligner(self.embedder.alignment)
        crops = [
            Portrait(image, points).crop(aligner)
            for image, points in zip(portraits, landmarks, strict=True)
        ]
        return self.embedder.embed(np.stack(crops))

    def close(self) -> None:
        """Let the network go."""
        if self._embedder is not None:
            self._embedder.close()
            self._embedder = None
