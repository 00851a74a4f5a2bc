"""An archive on its place: Parquet files by day and camera, and what was indexed already.

    archive.json                             its id, its embedding space, a check of its key
    tracks/day=2026-03-14/camera=door/*.parquet
    recordings/DIGEST.json                   one a recording, by the SHA-256 of its content
    done/DIGEST/START_MS.json                one a finished piece, until the recording is complete

Files of single pieces are merged when a run ends. A piece is in force once, whatever a killed run
left: its rows are read from one file only.
"""

from __future__ import annotations

import hashlib
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

import numpy as np

from jetson_face.archive import table
from jetson_face.archive.places import ArchivePlace
from jetson_face.archive.sealing import ArchiveSeal
from jetson_face.archive.tracks import ArchivedTrack
from jetson_face.core.errors import (
    EmbeddingSpaceError,
    InputBrokenError,
    InputMissingError,
    OutputError,
    StateLockedError,
)
from jetson_face.core.protocols import Cipher
from jetson_face.core.types import BoolArray, EmbeddingSpace
from jetson_face.util.locks import HeldError, file_lock

SCHEMA = "jetson-face.archive/1"
HEAD = "archive.json"
MERGED_ROWS = 2048
"""Rows of a merged file, at least, where a partition has so many: 60 MB with their portraits."""


class ArchiveStore:
    """See the module. place: where; id, space: of the archive; seal: for its files."""

    def __init__(
        self, place: ArchivePlace, archive: str, space: EmbeddingSpace, seal: ArchiveSeal
    ) -> None:
        self.place, self.id, self.space, self.seal = place, archive, space, seal

    @classmethod
    def open(
        cls, place: ArchivePlace, space: EmbeddingSpace | None, cipher: Cipher | None
    ) -> ArchiveStore:
        """The archive that is there. space: what it must be bound to; None: any.

        Raises InputMissingError where there is none, InputBrokenError, EmbeddingSpaceError,
        GalleryError for another key.
        """
        told = place.read_json(HEAD)
        if told is None:
            raise InputMissingError(
                f"{place.shown}: there is no archive: jetson-face archive index SOURCE --into "
                f"{place.shown}"
            )
        try:
            if told["schema"] != SCHEMA:
                raise ValueError(told["schema"])
            archive, check = str(told["id"]), str(told["check"])
            mine = EmbeddingSpace(**told["space"])
        except (KeyError, ValueError, TypeError):
            raise InputBrokenError(f"{place.shown}: {HEAD} is not an archive's") from None
        if space is not None and mine != space:
            raise EmbeddingSpaceError(
                f"{place.shown}: the archive was made with {mine}, the embedder is {space}: index "
                "the recordings into a new archive"
            )
        seal = ArchiveSeal(cipher, archive)
        seal.check(check, place.shown)
        return cls(place, archive, mine, seal)

    @classmethod
    def create(
        cls, place: ArchivePlace, space: EmbeddingSpace, cipher: Cipher | None
    ) -> ArchiveStore:
        """A new, empty archive. Raises OutputError."""
        archive = str(uuid.uuid4())
        seal = ArchiveSeal(cipher, archive)
        head = {"schema": SCHEMA, "id": archive, "space": asdict(space), "check": seal.check_text()}
        place.write_json(HEAD, head)
        return cls(place, archive, space, seal)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold an archive on this machine for a change; an object store is not held: there one run
        at a time is up to whoever starts them. Raises StateLockedError, OutputError."""
        if not self.place.local:
            yield
            return
        with ExitStack() as held:
            try:
                held.enter_context(file_lock(self.place.folder / ".lock"))
            except HeldError as other:
                raise StateLockedError(
                    f"{self.place.shown}: process {other.pid} writes into the archive: wait for it"
                ) from None
            except OSError as error:
                raise OutputError(f"{self.place.shown}: {error.strerror}") from None
            yield

    # Tracks

    def add(self, piece: str, tracks: Sequence[ArchivedTrack]) -> None:
        """Write the tracks of a piece, over those of an earlier try. Raises OutputError."""
        parts: dict[str, list[ArchivedTrack]] = defaultdict(list)
        for track in tracks:
            parts[partition(day_of(track.start), track.camera)].append(track)
        for part, own in sorted(parts.items()):
            data = table.to_bytes(table.table_of(own, self.space.dim), self.seal)
            self.place.write(f"{part}/piece-{piece}.parquet", data)

    def partitions(
        self, first: str | None = None, last: str | None = None, camera: str | None = None
    ) -> dict[str, list[str]]:
        """The files of each partition, from one day to another and of one camera."""
        found: dict[str, list[str]] = defaultdict(list)
        for name in self.place.names("tracks"):
            part = name.rpartition("/")[0]
            day, of = split_partition(part)
            if not name.endswith(".parquet") or (camera is not None and of != camera):
                continue
            if (first is None or day >= first) and (last is None or day <= last):
                found[part].append(name)
        # merged files first: what they hold of a piece takes precedence over a file left behind
        return {part: sorted(names) for part, names in sorted(found.items())}

    def partitions_of(self, part: str) -> list[str]:
        """The files of one partition."""
        return [name for name in self.place.names(part) if name.endswith(".parquet")]

    @contextmanager
    def opened(self, name: str) -> Iterator[Any]:
        """A Parquet file of the archive. Raises InputMissingError, InputBrokenError."""
        with self.place.open(name) as raw:
            yield table.open_file(raw, self.seal, f"{self.place.shown}/{name}")

    def read(self, name: str, columns: Iterable[str] | None = None) -> Any:
        """A file's table. Raises as `opened`."""
        with self.opened(name) as file:
            return table.read(file, f"{self.place.shown}/{name}", columns)

    def tracks(self) -> Iterator[ArchivedTrack]:
        """Every track that is in force, partition by partition. Raises as `opened`."""
        for names in self.partitions().values():
            seen: set[str] = set()
            for name in names:
                yield from table.tracks_of(_in_force(self.read(name), seen), self.space.dim)

    def remove_tracks(self, part: str, gone: set[str]) -> int:
        """Rewrite the files of a partition without these tracks (ids); how many there were. Raises
        OutputError and as `opened`."""
        count = 0
        for name in self.partitions_of(part):
            whole = self.read(name)
            keep = [key not in gone for key in whole["id"].to_pylist()]
            if all(keep):
                continue
            count += len(keep) - sum(keep)
            left = whole.filter(table.arrow().array(keep))
            if left.num_rows:
                self.place.write(name, table.to_bytes(left, self.seal))
            else:
                self.place.remove(name)
        return count

    def drop_days(self, before: str, camera: str | None = None) -> int:
        """Delete the partitions of days before that one (YYYY-MM-DD); how many. Raises
        OutputError."""
        old = [p for p in self.partitions(camera=camera) if split_partition(p)[0] < before]
        for part in old:
            self.place.remove_folder(part)
        return len(old)

    def merge(self, parts: Iterable[str]) -> int:
        """Put small files of partitions together; how many files are there less. Raises
        OutputError and as `opened`."""
        less = 0
        for part in sorted(set(parts)):
            names = self.partitions_of(part)
            less += len(names) - self._merge(part, names)
        return less

    def _merge(self, part: str, names: Sequence[str]) -> int:
        """Files that the partition has then."""
        seen: set[str] = set()
        small: dict[str, Any] = {}
        for name in names:
            whole = self.read(name)
            if whole.num_rows >= MERGED_ROWS // 2:
                seen.update(whole["piece"].to_pylist())
            else:
                small[name] = whole
        kept = {name: _in_force(whole, seen) for name, whole in small.items()}
        if len(kept) < 2 and all(kept[n].num_rows == small[n].num_rows for n in kept):
            return len(names)
        made: set[str] = set()
        for group in _groups(list(kept.values())):
            whole = table.arrow().concat_tables(group).sort_by([("start", "ascending")])
            pieces = sorted(set(whole["piece"].to_pylist()))
            mark = hashlib.sha256("\n".join(pieces).encode()).hexdigest()[:16]
            made.add(f"{part}/merged-{mark}.parquet")
            self.place.write(f"{part}/merged-{mark}.parquet", table.to_bytes(whole, self.seal))
        for name in small:
            if name not in made:
                self.place.remove(name)
        return len(names) - len(small) + len(made)


def in_force(whole: Any, seen: set[str]) -> BoolArray:
    """Which rows are of pieces that no file before had: (N,); `seen` then holds these, too."""
    pieces = set(whole["piece"].unique().to_pylist())
    keep = np.ones(whole.num_rows, np.bool_)
    if pieces & seen:  # a killed run left it beside the file that it was merged into
        keep = np.array([one not in seen for one in whole["piece"].to_pylist()], np.bool_)
    seen |= pieces
    return keep


def _in_force(whole: Any, seen: set[str]) -> Any:
    keep = in_force(whole, seen)
    return whole if keep.all() else whole.filter(table.arrow().array(keep))


def _groups(tables: Sequence[Any]) -> Iterator[list[Any]]:
    """Whole tables together until they are MERGED_ROWS rows or more."""
    group: list[Any] = []
    for one in tables:
        if one.num_rows:
            group.append(one)
        if sum(own.num_rows for own in group) >= MERGED_ROWS:
            yield group
            group = []
    if group:
        yield group


def partition(day: str, camera: str) -> str:
    """The folder of a day (YYYY-MM-DD) and a camera."""
    return f"tracks/day={day}/camera={camera}"


def split_partition(part: str) -> tuple[str, str]:
    """Day and camera of a partition's folder."""
    day, _, camera = part.partition("/camera=")
    return day.removeprefix("tracks/day="), camera


def day_of(utc_s: float) -> str:
    """YYYY-MM-DD, in UTC."""
    return datetime.fromtimestamp(utc_s, timezone.utc).strftime("%Y-%m-%d")
