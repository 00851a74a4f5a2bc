"""`jetson-face review list|show|accept|reject|undo`: a person decides about doubtful faces."""

from __future__ import annotations

import argparse
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from jetson_face.cli.common import add_config_arguments, config_of, say, say_json
from jetson_face.config import Config
from jetson_face.core.errors import EmbeddingSpaceError, GalleryCorruptError, UsageError
from jetson_face.core.types import ImageU8, Person
from jetson_face.factory.parts import open_gallery
from jetson_face.gallery.enroll import keep_template
from jetson_face.gallery.records import NewTemplate
from jetson_face.gallery.store import GalleryStore
from jetson_face.privacy.encryption import open_cipher
from jetson_face.review.item import Question
from jetson_face.review.queue import Item, ReviewQueue
from jetson_face.service.erasure import audit_log
from jetson_face.service.plumbing import REVIEW
from jetson_face.util.files import write_file
from jetson_face.util.images import decode_picture, encode_png


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with which face."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="the faces that wait for a person")
    listing.add_argument("--json", action="store_true", help="print JSON")
    show = actions.add_parser("show", help="write a face, with whom it may be beside it")
    show.add_argument("number", type=int, metavar="N", help="as `list` says")
    show.add_argument("--out", type=Path, metavar="PICTURE.png", required=True)
    accept = actions.add_parser("accept", help="it is that person: add the face to the gallery")
    accept.add_argument("number", type=int, metavar="N", help="as `list` says")
    accept.add_argument("--as", dest="name", metavar="NAME", help="it is this person, new or not")
    reject = actions.add_parser("reject", help="it is not that person: do not ask again")
    reject.add_argument("number", type=int, metavar="N", help="as `list` says")
    undo = actions.add_parser("undo", help="take the last answer back")
    for sub in (listing, show, accept, reject, undo):
        add_config_arguments(sub)


def run(args: argparse.Namespace) -> int:
    """Raises UsageError for a number that does not wait, the errors of queue and gallery."""
    config = config_of(args)
    if not (config.state_dir / REVIEW).exists():
        if args.action != "list":
            raise UsageError("no face waits for review: the service has kept none")
        say("[]" if args.json else "no face waits for review")
        return 0
    with (
        open_gallery(config) as gallery,
        ReviewQueue.open(config.state_dir / REVIEW, open_cipher(config.state_dir)) as queue,
    ):
        review = Review(config, gallery, queue)
        if args.action == "list":
            return review.list(args.json)
        if args.action == "show":
            review.show(args.number, args.out)
        elif args.action == "accept":
            review.accept(args.number, args.name)
        elif args.action == "reject":
            review.reject(args.number)
        else:
            review.undo()
    return 0


class Review:
    """The answers; each is in the gallery and the audit log before the queue lets the question go,
    so that one that was cut short is simply given again."""

    def __init__(self, config: Config, gallery: GalleryStore, queue: ReviewQueue) -> None:
        self._gallery, self._queue = gallery, queue
        self._audit = audit_log(config)

    def list(self, as_json: bool) -> int:
        """Print what waits; 7 where something of it is damaged."""
        rows, damaged = [], 0
        for number in self._queue.numbers():
            try:
                rows.append(self._row(number, self._queue.item(number).question))
            except GalleryCorruptError as error:
                damaged = error.exit_code
                rows.append({"number": number, "error": str(error)})
        if as_json:
            say_json(rows)
        else:
            for row in rows:
                say(_line(row))
            if not rows:
                say("no face waits for review")
        return damaged

    def show(self, number: int, out: Path) -> None:
        """Write the face, and beside it a portrait of whom it may be; mode 0600."""
        question = self._open_item(number).question
        pictures: list[ImageU8] = [decode_picture(question.portrait, f"review item {number}")]
        candidate = self._person(question.candidate)
        if candidate is not None:
            portrait, _ = self._gallery.portraits(candidate.id)[0]
            if portrait.shape == pictures[0].shape:
                pictures.append(portrait)
        write_file(out, encode_png(np.hstack(pictures)), mode=0o600)
        name = candidate.name if candidate is not None else "a person who was removed"
        self._audit.record("exported", person=question.candidate, name=name, details=_of(number))
        beside = f"; beside it {name}" if len(pictures) > 1 else ""
        say(f"{out}: the face of question {number}{beside}")

    def accept(self, number: int, name: str | None) -> None:
        """Add the face to the person, as enrolling a photo does."""
        question = self._open_item(number).question
        if question.face.space != self._gallery.space:
            raise EmbeddingSpaceError(
                f"question {number} was made with {question.face.space}, the gallery with "
                f"{self._gallery.space}: reject it; the next of its kind will fit"
            )
        if name is None:
            name = self._named(question.candidate, number).name
        new = NewTemplate(
            vector=question.face.vectors[0],
            quality=question.quality,
            photo=question.photo,
            portrait=decode_picture(question.portrait, f"review item {number}"),
            landmarks=question.landmarks,
            source=f"review {number}",
        )
        person, _ = keep_template(self._gallery, name, new)
        self._audit.record(
            "confirmed", person=person.id, name=person.name, details=_of(number, photos=1)
        )
        self._queue.answer(number, "accepted", person.id)
        say(f"{person.name}: 1 added; a running recogniser knows it within a second")

    def reject(self, number: int) -> None:
        """That face is not that person; the same face is not asked about again."""
        try:
            question = self._open_item(number).question
        except GalleryCorruptError:
            self._queue.throw_away(number)
            say(f"question {number} was damaged and is thrown away")
            return
        candidate = self._person(question.candidate)
        name = candidate.name if candidate is not None else ""
        self._audit.record("rejected", person=question.candidate, name=name, details=_of(number))
        self._queue.answer(number, "rejected", None)
        say(f"question {number}: not {name or 'a person who was removed'}")

    def undo(self) -> None:
        """Take the last answer back; the question waits again."""
        item = self._queue.last_answer()
        if item is None:
            raise UsageError("there is no answer to take back")
        about = item.person or item.question.candidate
        person = self._person(about)
        if item.state == "accepted" and person is not None:
            self._gallery.remove_photo(person, item.question.photo)
        name = person.name if person is not None else ""
        self._audit.record(
            "undone", person=about, name=name, details=_of(item.number, answer=item.state)
        )
        self._queue.reopen(item.number)
        say(f"question {item.number} waits again; it was {item.state}")

    def _open_item(self, number: int) -> Item:
        item = self._queue.item(number)
        if item.state != "open":
            raise UsageError(
                f"question {number} was {item.state} already: `jetson-face review undo` takes the "
                f"last answer back"
            )
        return item

    def _person(self, who: str) -> Person | None:
        try:
            return self._gallery.show(who).person
        except UsageError:
            return None

    def _named(self, who: str, number: int) -> Person:
        person = self._person(who)
        if person is None:
            raise UsageError(
                f"question {number} is about a person who was removed: name one with --as NAME, or "
                f"reject it"
            )
        return person

    def _row(self, number: int, question: Question) -> dict[str, Any]:
        candidate = self._person(question.candidate)
        return {
            "number": number,
            "time": datetime.fromtimestamp(question.time, timezone.utc).isoformat(
                timespec="seconds"
            ),
            "source": question.source,
            "track": question.track,
            "candidate": candidate.name if candidate is not None else None,
            "similarity": round(question.similarity, 4),
            "second": round(question.second, 4),
            "quality": round(question.quality, 3),
        }


def _line(row: dict[str, Any]) -> str:
    if "error" in row:
        return str(row["error"])
    who = row["candidate"] or "a person who was removed"
    rival = f", the next {row['second']:.2f}" if row["second"] > -1 else ""
    return (
        f"{row['number']}: {row['time']} {row['source']} track {row['track']}: {who}? "
        f"({row['similarity']:.2f}{rival}, quality {row['quality']:.2f})"
    )


def _of(number: int, **more: object) -> dict[str, object]:
    return {"question": number, **more}
