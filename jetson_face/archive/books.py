"""Which recordings an archive knows, and which of their pieces are done: by the content's digest,
so that a copy under another name is the same recording."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from jetson_face.archive.places import ArchivePlace
from jetson_face.archive.recordings import Recording
from jetson_face.core.errors import InputBrokenError


@dataclass(frozen=True, slots=True)
class RecordingEntry:
    """What an archive remembers of a recording.

    address: as it was given, with places for credentials. size: bytes; modified: what the store
    says, as text. start: UTC seconds. pieces: (start, stop) in milliseconds of the recording.
    """

    digest: str
    address: str
    size: int
    modified: str
    camera: str
    start: float
    seconds: float
    fps: float
    scan: str
    pieces: tuple[tuple[int, int], ...] = ()
    complete: bool = False


class RecordingBook:
    """See the module; errors as those of ArchivePlace."""

    def __init__(self, place: ArchivePlace) -> None:
        self._place = place

    def digest_of(self, recording: Recording) -> str | None:
        """The digest of a recording that did not change since it was read last."""
        told = self._place.read_json(_by_address(recording.address))
        now = recording.size, recording.modified
        if told is None or (told.get("size"), told.get("modified")) != now:
            return None
        return str(told.get("digest"))

    def find(self, digest: str) -> RecordingEntry | None:
        """The recording with that content."""
        told = self._place.read_json(f"recordings/{digest}.json")
        if told is None:
            return None
        try:
            pieces = tuple((int(start), int(stop)) for start, stop in told.pop("pieces"))
            return RecordingEntry(pieces=pieces, **told)
        except (KeyError, TypeError, ValueError):
            raise InputBrokenError(
                f"{self._place.shown}: recordings/{digest}.json is damaged: delete it"
            ) from None

    def starting_with(self, short: str) -> RecordingEntry | None:
        """The recording whose digest begins so."""
        for name in self._place.names("recordings"):
            digest = name.removeprefix("recordings/").removesuffix(".json")
            if digest.startswith(short):
                return self.find(digest)
        return None

    def addresses(self) -> Iterator[str]:
        """Of every recording."""
        for name in self._place.names("recordings"):
            entry = self.find(name.removeprefix("recordings/").removesuffix(".json"))
            if entry is not None:
                yield entry.address

    def write(self, entry: RecordingEntry) -> None:
        """Remember a recording."""
        self._place.write_json(f"recordings/{entry.digest}.json", asdict(entry))
        self.remember(entry, entry.digest)

    def remember(self, recording: Recording | RecordingEntry, digest: str) -> None:
        """Remember the content of a file, so that it is not read again."""
        told = {"digest": digest, "size": recording.size, "modified": recording.modified}
        self._place.write_json(_by_address(recording.address), told)

    def done(self, digest: str) -> set[int]:
        """Where the finished pieces of an incomplete recording start, in milliseconds."""
        names = self._place.names(f"done/{digest}")
        return {int(name.rpartition("/")[2].removesuffix(".json")) for name in names}

    def mark(self, digest: str, start_ms: int, facts: dict[str, Any]) -> None:
        """A piece is done: its tracks are written."""
        self._place.write_json(f"done/{digest}/{start_ms}.json", facts)

    def complete(self, entry: RecordingEntry) -> None:
        """All pieces are done."""
        told = asdict(replace(entry, complete=True))
        self._place.write_json(f"recordings/{entry.digest}.json", told)
        self._place.remove_folder(f"done/{entry.digest}")


def _by_address(address: str) -> str:
    return f"addresses/{hashlib.blake2b(address.encode(), digest_size=16).hexdigest()}.json"
