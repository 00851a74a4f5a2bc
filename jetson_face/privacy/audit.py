"""Who enrolled and removed whom, when: one JSON line each, only ever added to."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import re
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal, TypeAlias

from jetson_face.core.errors import OutputError
from jetson_face.util.files import append_whole, write_file

Action: TypeAlias = Literal[
    "enrolled", "photos_added", "photo_withdrawn", "renamed", "removed", "erased", "confirmed",
    "rejected", "undone", "exported", "restore_accepted", "canary_drifted", "canary_recovered",
    "merged", "settings_changed", "consent_recorded", "consent_withdrawn", "withheld",
    "no_longer_withheld", "archive_searched", "archive_erased", "unknown_erased",
    "fleet_sent", "fleet_erased", "fleet_forgotten",
]  # fmt: skip
"""removed: from the gallery; erased: from everything else too, with a receipt. photo_withdrawn: a
photo just enrolled proved to be somebody else's. restore_accepted: an older copy of the gallery.
withheld: put on the do-not-recognise list. unknown_erased: somebody who was not enrolled. fleet_…:
asked of all boxes from this machine; what each of them then does, it logs itself."""

AUDIT, ARCHIVE_USES = "audit.jsonl", "archive_uses.jsonl"
"""The logs' names in the state folder: of acts, and of searches in an archive of recordings."""
_READ_BYTES = 1 << 22
_TAIL_BYTES = 1 << 16
_NO_TEXT = re.compile("[\ud800-\udfff]")
"""Stands for a byte of a file's name, or of the command line, that is no text."""
_ACTOR: ContextVar[str | None] = ContextVar("actor", default=None)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One act. time: UTC ISO 8601. actor: `user@host-process`. details: counts, never vectors.
    id: of this entry alone."""

    time: str
    actor: str
    action: str
    person: str
    name: str
    details: Mapping[str, object]
    id: str = ""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What `people remove` erased. templates, portraits, review_items: how many; crops: the files.

    queued_events, event_lines: events in the outbox and in local files that lost name and id.
    history_events: in the history, the same; history_crops: faces deleted there. archive_tracks:
    tracks deleted in the archive of recordings. unknown_people: remembered people who are not
    enrolled and looked like them.
    verified: files that were searched afterwards and hold nothing of the person. failed: files that
    still hold something, or could not be searched. service: what a running service says:
    `none runs`, `confirmed` (it knows the person no more), or `not confirmed` and why.
    """

    person: str
    name: str
    time: str
    actor: str
    templates: int
    portraits: int
    crops: tuple[str, ...]
    review_items: int
    verified: tuple[str, ...]
    failed: tuple[str, ...] = ()
    queued_events: int = 0
    event_lines: int = 0
    history_events: int = 0
    history_crops: int = 0
    archive_tracks: int = 0
    unknown_people: int = 0
    service: str = "none runs"

    @property
    def complete(self) -> bool:
        """Everything that was found went, and no service names the person any more."""
        return not self.failed and self.service in ("none runs", "confirmed")


class AuditLog:
    """Appends to one file, 0600; safe between processes; every line is on the disk on return."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def record(
        self,
        action: Action,
        *,
        person: str,
        name: str,
        details: Mapping[str, object] | None = None,
    ) -> None:
        """Add an entry. Raises OutputError where it cannot be written."""
        key, line = self.line(action, person=person, name=name, details=details or {})
        self._add({key: line}, searched=0)

    def line(
        self, action: Action, *, person: str, name: str, details: Mapping[str, object]
    ) -> tuple[str, str]:
        """An entry for `add_once`, which may come later: its id and its line."""
        key = uuid.uuid4().hex
        entry = AuditEntry(utc(), current_actor(), action, person, name, dict(details), key)
        line = json.dumps(asdict(entry), ensure_ascii=False, sort_keys=True)
        return key, _NO_TEXT.sub(lambda found: f"\\\\u{ord(found[0]):04x}", line)

    def add_once(self, lines: Mapping[str, str], *, since_long: bool) -> None:
        """Add those of the lines, by id, that are not there.

        since_long: they may be from long ago; otherwise only the log's end is searched.
        Raises OutputError where it cannot be written.
        """
        self._add(lines, searched=sys.maxsize if since_long else _TAIL_BYTES)

    def read(self) -> list[AuditEntry]:
        """Every whole entry, oldest first; a line cut by a power failure is passed over. Raises
        OutputError where the log cannot be read."""
        try:
            text = self._path.read_text("utf-8", errors="replace")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be read: {error.strerror or error}") from error
        entries = []
        # Not splitlines: names of photos and cameras may hold other line ends (U+2028), which JSON
        # leaves as they are.
        for line in text.split("\n"):
            with suppress(ValueError, TypeError):
                entries.append(AuditEntry(**json.loads(line)))
        return entries

    def _add(self, lines: Mapping[str, str], *, searched: int) -> None:
        """searched: so many bytes at the log's end, for the lines' ids."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                size = os.fstat(fd).st_size
                start = max(0, size - searched)
                there = os.pread(fd, size - start, start)
                new = [text for key, text in lines.items() if key.encode() not in there]
                if new:
                    append_whole(fd, "".join(f"{text}\n" for text in new).encode("utf-8"))
            finally:
                os.close(fd)
        except OSError as error:
            raise OutputError(
                f"{self._path}: the audit log cannot be written: {error.strerror}; free some space "
                f"or fix the folder's rights"
            ) from error


def write_receipt(folder: Path, receipt: Receipt) -> Path:
    """The receipt as JSON, 0600, in `folder`; returns its path. Raises OutputError."""
    stamp = receipt.time.replace(":", "").replace("-", "")
    path = folder / f"removed-{receipt.person}-{stamp}.json"
    text = json.dumps({**asdict(receipt), "complete": receipt.complete}, indent=2) + "\n"
    with suppress(OSError):  # the next line says it
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        write_file(path, text, mode=0o600)
    except OutputError as error:
        raise OutputError(f"{error}; what was erased stays erased") from error
    return path


def files_that_hold(needles: Sequence[bytes], files: Sequence[Path]) -> list[Path]:
    """The files in which any of the byte strings is still found; for proof after erasing."""
    wanted = [needle for needle in needles if needle]
    return [path for path in files if path.is_file() and _holds(path, wanted)]


def _holds(path: Path, needles: Sequence[bytes]) -> bool:
    overlap = max(map(len, needles), default=1) - 1
    tail = b""
    with path.open("rb") as file:
        while part := file.read(_READ_BYTES):
            window = tail + part
            if any(needle in window for needle in needles):
                return True
            tail = window[-overlap:] if overlap else b""
    return False


@contextmanager
def acting_as(who: str) -> Iterator[None]:
    """What is done inside is done by `who`, whoever runs this process."""
    before = _ACTOR.set(who)
    try:
        yield
    finally:
        _ACTOR.reset(before)


def current_actor() -> str:
    """Who acts: as `acting_as` says, or who runs this process; behind sudo, who called it."""
    if (who := _ACTOR.get()) is not None:
        return f"{who}@{os.uname().nodename}"
    try:
        user = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        user = f"uid{os.getuid()}"
    return f"{user}@{os.uname().nodename}"


def utc(now: datetime | None = None) -> str:
    """ISO 8601 in UTC, whole seconds."""
    moment = now or datetime.now(timezone.utc)
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
