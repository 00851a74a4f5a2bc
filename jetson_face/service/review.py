"""What a person answers about doubtful faces, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import numpy as np

from jetson_face.core.errors import EmbeddingSpaceError, GalleryCorruptError, UsageError
from jetson_face.core.types import ImageU8, Person
from jetson_face.gallery.batch import keep_template
from jetson_face.gallery.records import NewTemplate
from jetson_face.gallery.store import GalleryStore
from jetson_face.privacy.audit import Action, AuditLog
from jetson_face.review.item import NOBODY, ReviewItem
from jetson_face.review.queue import QueuedItem, ReviewQueue
from jetson_face.util.images import decode_picture, encode_png

REMOVED = "a person who was removed"


class Review:
    """The answers; each is in the gallery and the audit log before the queue lets the item go,
    so that one that was cut short is simply given again.

    Every method raises UsageError for a number that does not wait, and the errors of queue,
    gallery and audit log.
    """

    def __init__(self, gallery: GalleryStore, queue: ReviewQueue, audit: AuditLog) -> None:
        self._gallery, self._queue, self._audit = gallery, queue, audit

    def waiting(self) -> tuple[list[dict[str, Any]], GalleryCorruptError | None]:
        """What waits, oldest first; and the last error, where something of it is damaged."""
        rows: list[dict[str, Any]] = []
        damage = None
        for number in self._queue.numbers():
            try:
                rows.append(self._row(number, self._queue.read(number).item))
            except GalleryCorruptError as error:
                damage = error
                rows.append({"number": number, "error": str(error)})
        return rows, damage

    def show(self, number: int, write: Callable[[bytes], object]) -> tuple[str, bool]:
        """Let `write` have the face as PNG, beside it a portrait of the candidate where there is
        one of that size; returns whose it may be, and whether the portrait is there."""
        item = self._waiting(number).item
        pictures: list[ImageU8] = [decode_picture(item.portrait, f"review item {number}")]
        candidate = self._person(item.candidate)
        if candidate is not None:
            portrait, _ = self._gallery.portraits(candidate.id)[0]
            if portrait.shape == pictures[0].shape:
                pictures.append(portrait)
        write(encode_png(np.hstack(pictures)))
        name = REMOVED if candidate is None else candidate.name
        self._note("exported", item.candidate, name, number)
        return name, len(pictures) > 1

    def accept(self, number: int, name: str | None) -> Person:
        """Add the face to the candidate, or to who is named, as enrolling a photo does."""
        item = self._waiting(number).item
        if item.face.space != self._gallery.space:
            raise EmbeddingSpaceError(
                f"review item {number} was made with {item.face.space}, the gallery with "
                f"{self._gallery.space}: reject it; the next of its kind will fit"
            )
        if name is None:
            candidate = self._person(item.candidate)
            if candidate is None:
                about = "nobody" if item.candidate == NOBODY else "a person who was removed"
                raise UsageError(
                    f"review item {number} is about {about}: name one with --as NAME, or reject it"
                )
            name = candidate.name
        new = NewTemplate(
            vector=item.face.vectors[0],
            quality=item.quality,
            photo=item.photo,
            portrait=decode_picture(item.portrait, f"review item {number}"),
            landmarks=item.landmarks,
            source=f"review {number}",
        )
        person, _ = keep_template(self._gallery, name, new, "confirmed", {"question": number})
        self._queue.answer(number, "accepted", person.id)
        return person

    def reject(self, number: int) -> str | None:
        """That face is not the candidate, and the same face is not queued again; returns the
        candidate's name, empty for one who was removed, None for a damaged item, which is
        thrown away."""
        try:
            item = self._waiting(number).item
        except GalleryCorruptError:
            self._queue.throw_away(number)
            return None
        name = self._name(item.candidate)
        self._note("rejected", item.candidate, name, number)
        self._queue.answer(number, "rejected", None)
        self._notice(number, "rejected")
        return name

    def undo(self) -> QueuedItem:
        """Take the last answer back; returns its item, which waits again."""
        last = self._queue.last_answer()
        if last is None:
            raise UsageError("there is no answer to take back")
        about = last.person or last.item.candidate
        person, name = self._person(about), self._name(about)
        if last.state == "accepted" and person is not None:
            details = {"question": last.number, "answer": last.state}
            self._gallery.remove_photo(person, last.item.photo, "undone", details)
        else:
            self._note("undone", about, name, last.number, answer=last.state)
        self._queue.reopen(last.number)
        self._notice(last.number, "undone")
        return last

    def _notice(self, number: int, answer: str) -> None:
        """Running programs read the gallery again when it changed, and the negatives with it."""
        self._gallery.set_note("negatives", f"{number} {answer}")

    def _waiting(self, number: int) -> QueuedItem:
        queued = self._queue.read(number)
        if queued.state != "open":
            raise UsageError(
                f"review item {number} was {queued.state} already: `jetson-face review undo` takes "
                f"the last answer back"
            )
        return queued

    def _person(self, who: str) -> Person | None:
        try:
            return self._gallery.show(who).person
        except UsageError:
            return None

    def _name(self, who: str) -> str:
        person = self._person(who)
        return "" if person is None else person.name

    def _note(self, action: Action, who: str, name: str, number: int, **more: object) -> None:
        # "question": as audit logs that exist call a review item.
        self._audit.record(action, person=who, name=name, details={"question": number, **more})

    def _row(self, number: int, item: ReviewItem) -> dict[str, Any]:
        time = datetime.fromtimestamp(item.time, timezone.utc)
        return {
            "number": number,
            "time": time.isoformat(timespec="seconds"),
            "source": item.source,
            "track": item.track,
            "candidate": self._name(item.candidate) or None,
            "similarity": round(item.similarity, 4),
            "second": round(item.second, 4),
            "quality": round(item.quality, 3),
            **({"unknown": True} if item.candidate == NOBODY else {}),
        }
