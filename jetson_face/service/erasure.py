"""Erasing a person for good, with proof and a receipt; and the audit log of the commands.

What is to be erased is written down first: an erasure that was killed is finished by the next
`people remove`, also when the gallery no longer knows the person.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from jetson_face.config import Config
from jetson_face.core.errors import GalleryError, JetsonFaceError, OutputError, UsageError
from jetson_face.core.types import Person
from jetson_face.events.history import Erased
from jetson_face.events.redaction import mask_file, mask_outbox
from jetson_face.factory.threshold import own_threshold
from jetson_face.gallery.matcher import GallerySnapshot
from jetson_face.gallery.names import name_key
from jetson_face.gallery.store import GalleryStore
from jetson_face.gallery.traces import traces_of
from jetson_face.privacy.audit import (
    AUDIT,
    AuditLog,
    Receipt,
    current_actor,
    files_that_hold,
    utc,
    write_receipt,
)
from jetson_face.privacy.encryption import open_cipher
from jetson_face.review.item import ReviewItem
from jetson_face.review.queue import REVIEW, ReviewQueue
from jetson_face.review.unknowns import UNKNOWNS
from jetson_face.service.archived import archived_tracks, erase_archived
from jetson_face.service.confirming import confirm
from jetson_face.service.history import HISTORY
from jetson_face.service.plumbing import CROPS, OUTBOX, event_files
from jetson_face.service.status_server import ask_status
from jetson_face.service.unknown_erasure import alike, erase_crops, erase_history, erase_unknown
from jetson_face.util.files import write_file

logger = logging.getLogger(__name__)
_TRIES = 20


def audit_log(config: Config) -> AuditLog:
    """Who did what to whom."""
    return AuditLog(config.state_dir / AUDIT)


@dataclass(frozen=True, slots=True)
class Erasure:
    """A person who is to be erased. traces: hex, of the gallery's bytes about them. review: numbers
    of review items whose face looks like them. archive: ids of their tracks in the archive of
    recordings, by partition. unknown: ids of remembered people who are not enrolled and look like
    them."""

    person: str
    name: str
    templates: int
    traces: tuple[str, ...]
    review: tuple[int, ...]
    archive: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


def erase(config: Config, gallery: GalleryStore, who: str) -> tuple[Receipt, Path]:
    """Remove a person's templates, portraits, crops and review items, take their name and id out of
    the events that are kept here, look whether anything is left, and write the receipt; returns it
    with its path.

    Raises UsageError for nobody of that name, OutputError where the receipt cannot be written, and
    the gallery's errors; where an archive of recordings is configured and cannot be searched, its
    errors, before anything is erased: afterwards nothing would tell whose tracks are in it.
    """
    if (begun := unfinished(config, gallery, who)) is not None:
        return _finish(config, gallery, begun)
    info = gallery.show(who)
    erasure = Erasure(
        info.person.id,
        info.person.name,
        len(info.templates),
        tuple(trace.hex() for trace in traces_of(gallery.path, info.person.id)),
        _review_items(config, gallery.snapshot(), info.person.id),
        archived_tracks(config, gallery.snapshot(), info.person.id),
        alike(config, gallery.snapshot(), info.person.id),
    )
    intent = _intent(config, erasure.person)
    with suppress(OSError):  # the next line says it
        intent.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_file(intent, json.dumps(asdict(erasure)), mode=0o600)
    return _finish(config, gallery, erasure)


def forget_sightings(config: Config, gallery: GalleryStore, person: Person) -> dict[str, int]:
    """Erase what was kept of a person's face beside the gallery, and their name in events; how many
    of each. What was kept of them as of somebody unknown is found in the review queue only.

    Raises OutputError where something cannot be erased, and the gallery's errors.
    """
    least = own_threshold(config) - config.privacy.withhold_margin
    review = _review_items(config, gallery.snapshot(), person.id, least)
    swept = _sweep(config, Erasure(person.id, person.name, 0, (), review))
    if swept.failed:
        raise OutputError(f"{', '.join(swept.failed)}: something of the person is left: try again")
    return {
        "crops": len(swept.crops) + swept.history.crops,
        "review_items": swept.review_items,
        "events": swept.queued_events + swept.event_lines + swept.history.events,
    }


def interrupted(config: Config) -> list[Erasure]:
    """Erasures that were begun and not finished."""
    found = []
    for path in sorted((config.state_dir / "receipts").glob("unfinished-*.json")):
        try:
            known = json.loads(path.read_text("utf-8"))
            known |= {"traces": tuple(known["traces"]), "review": tuple(known["review"])}
            known["unknown"] = tuple(known.get("unknown", ()))
            found.append(Erasure(**known))
        except (OSError, ValueError, TypeError, KeyError):
            logger.warning("erasure_unreadable path=%s", path)
    return found


def unfinished(config: Config, gallery: GalleryStore, who: str) -> Erasure | None:
    """The erasure of a person, by name or id, that was begun and not finished."""
    for erasure in interrupted(config):
        if who == erasure.person or _means(gallery, who, erasure):
            return erasure
    return None


def _means(gallery: GalleryStore, who: str, erasure: Erasure) -> bool:
    """The name is that of the unfinished erasure, and of nobody enrolled since."""
    if name_key(who) != name_key(erasure.name):
        return False
    try:
        return gallery.show(who).person.id == erasure.person
    except UsageError:
        return True


def _intent(config: Config, person: str) -> Path:
    return config.state_dir / "receipts" / f"unfinished-{person}.json"


def _finish(config: Config, gallery: GalleryStore, erasure: Erasure) -> tuple[Receipt, Path]:
    try:
        gallery.remove(erasure.person)
    except UsageError:
        gallery.checkpoint()  # an earlier try got so far
    service = confirm(config, gallery)
    swept = _sweep(config, erasure)
    parts = [
        gallery.path,
        *(config.state_dir / n for n in (OUTBOX, f"{OUTBOX}.broken", f"{OUTBOX}.new", REVIEW)),
        config.state_dir / UNKNOWNS,
        *(config.state_dir / n for n in (HISTORY, f"{HISTORY}.broken")),
    ]
    files = [Path(f"{part}{suffix}") for part in parts for suffix in ("", "-wal", "-journal")]
    files += event_files(config)
    traces = [erasure.person.encode(), *(bytes.fromhex(trace) for trace in erasure.traces)]
    left = _settle(gallery, traces, files)
    receipt = Receipt(
        person=erasure.person,
        name=erasure.name,
        time=utc(),
        actor=current_actor(),
        templates=erasure.templates,
        portraits=erasure.templates,
        crops=tuple(swept.crops),
        review_items=swept.review_items,
        verified=tuple(path.name for path in files if path.exists() and path not in left),
        failed=tuple(sorted({*swept.failed, *(path.name for path in left)})),
        queued_events=swept.queued_events,
        event_lines=swept.event_lines,
        history_events=swept.history.events,
        history_crops=swept.history.crops,
        archive_tracks=swept.archive_tracks,
        unknown_people=swept.unknown,
        service=service,
    )
    path = write_receipt(config.state_dir / "receipts", receipt)
    _note(config, receipt, path)
    if receipt.complete:
        _intent(config, erasure.person).unlink(missing_ok=True)
    return receipt, path


@dataclass(slots=True)
class _Swept:
    """What went beside the gallery, and what could not be reached."""

    crops: list[str] = field(default_factory=list)
    review_items: int = 0
    queued_events: int = 0
    event_lines: int = 0
    history: Erased = field(default_factory=lambda: Erased(0, 0))
    archive_tracks: int = 0
    unknown: int = 0
    failed: list[str] = field(default_factory=list)


def _sweep(config: Config, erasure: Erasure) -> _Swept:
    swept, person, outbox = _Swept(), erasure.person, config.state_dir / OUTBOX

    @contextmanager
    def attempt(what: str) -> Iterator[None]:
        # One part that fails must not keep the others.
        try:
            yield
        except (OSError, JetsonFaceError) as error:
            logger.error("not_erased where=%s error=%s", what, error)
            swept.failed.append(what)

    with attempt(CROPS):
        swept.crops = erase_crops(config, person)
    with attempt(REVIEW):
        swept.review_items = _erase_review(config, erasure)
    with attempt(outbox.name):
        swept.queued_events = mask_outbox(outbox, person)
        _drop_broken(outbox, person)
    with attempt(HISTORY):
        _drop_broken(config.state_dir / HISTORY, person)
        swept.history = erase_history(config, person)
    with attempt("the archive of recordings"):
        swept.archive_tracks = erase_archived(config, erasure.archive)
    for path in event_files(config):
        with attempt(path.name):
            swept.event_lines += mask_file(path, person)
    with attempt(UNKNOWNS):
        gone = erase_unknown(config, erasure.unknown)
        swept.unknown = gone.people
        swept.failed += gone.failed
    # A running service may hold events that no other process can reach.
    status = ask_status(config.status_socket)
    if any(status.get(part, {}).get("memory") for part in ("outbox", "history")):
        swept.failed.append("the memory of the service, whose disk takes no events")
    return swept


def _note(config: Config, receipt: Receipt, path: Path) -> None:
    audit_log(config).record(
        "erased",
        person=receipt.person,
        name=receipt.name,
        details={
            "templates": receipt.templates,
            "crops": len(receipt.crops),
            "review_items": receipt.review_items,
            "events": receipt.queued_events + receipt.event_lines,
            "history_events": receipt.history_events,
            "history_crops": receipt.history_crops,
            "archive_tracks": receipt.archive_tracks,
            "service": receipt.service,
            "complete": receipt.complete,
            "receipt": path.name,
        },
    )


def _drop_broken(path: Path, person: str) -> None:
    """What could be read of a damaged file is in the new one."""
    for broken in files_that_hold([person.encode()], [path.with_name(f"{path.name}.broken")]):
        broken.unlink()


def _erase_review(config: Config, erasure: Erasure) -> int:
    path = config.state_dir / REVIEW
    if not path.exists():
        return 0
    with ReviewQueue.open(path, open_cipher(config.state_dir)) as queue:
        return queue.erase(erasure.person, list(erasure.review))


def _review_items(
    config: Config, snapshot: GallerySnapshot, person: str, similarity_min: float = -1.0
) -> tuple[int, ...]:
    """Review items that may show the person: one between two people names only one of them."""
    path = config.state_dir / REVIEW
    index = snapshot.index_of(person)
    own = None if index is None else snapshot.own(index)

    def near(item: ReviewItem) -> bool:
        if item.face.space != snapshot.space or own is None:
            return False
        nearest = float((own @ item.face.vectors[0]).max())
        other = snapshot.nearest(item.face.vectors, without=index)[0][1]
        return nearest >= max(similarity_min, other - config.matching.margin_min)

    if not path.exists():
        return ()
    try:
        with ReviewQueue.open(path, open_cipher(config.state_dir)) as queue:
            return tuple(queue.about(person, near))
    except GalleryError as error:
        # What names the person is erased all the same.
        logger.warning("review_not_searched error=%s", error)
        return ()


def _settle(gallery: GalleryStore, traces: list[bytes], files: list[Path]) -> list[Path]:
    """The files that still hold a trace after a running service had time to let go of them."""
    for _ in range(_TRIES):
        left = files_that_hold(traces, files)
        if not left:
            return []
        time.sleep(0.1)
        gallery.checkpoint()
    return left
