"""Indexing recordings: what is new is cut into pieces, worked on, and written down piece by piece.

The workers return tracks; this process alone writes them. Whatever ends it, what it wrote stands:
the next run goes on with the pieces that are not done.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Protocol

import numpy as np

from jetson_face.archive.books import RecordingBook, RecordingEntry
from jetson_face.archive.indexer import PieceFailure, PieceIndex
from jetson_face.archive.pieces import RecordingPiece, cut, outline
from jetson_face.archive.recordings import Recording, digest_of, local_copy
from jetson_face.archive.store import ArchiveStore, day_of, partition
from jetson_face.archive.templates import Hides
from jetson_face.archive.tracks import ArchivedTrack
from jetson_face.config import Config
from jetson_face.core.errors import (
    InputBrokenError,
    InputMissingError,
    JetsonFaceError,
    OutputError,
    SourceError,
)

log = logging.getLogger(__name__)


class PieceWorkers(Protocol):
    """What works on pieces: `PieceIndexer`, or a Ray cluster. The results come in any order."""

    def run(self, pieces: Iterable[RecordingPiece]) -> Iterator[PieceIndex | PieceFailure]: ...


@dataclass(slots=True)
class IndexReport:
    """What a run did.

    withheld: tracks of people who must not be recognised. known: recordings that the archive had
    before. refused: recordings that cannot be read, and why. video_s: seconds of video; wall_s,
    cpu_s: time it took.
    """

    recordings: int = 0
    known: int = 0
    pieces: int = 0
    tracks: int = 0
    without_template: int = 0
    withheld: int = 0
    frames: int = 0
    looked: int = 0
    video_s: float = 0.0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    dropped_days: int = 0
    assumed_times: int = 0
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def hours_per_hour(self) -> float:
        """Hours of video indexed in an hour."""
        return self.video_s / self.wall_s if self.wall_s else 0.0

    @property
    def hours_per_core_hour(self) -> float:
        """Hours of video indexed with an hour of one core."""
        return self.video_s / self.cpu_s if self.cpu_s else 0.0


Progress = Callable[[str], None]
"""Told a line: how far it is, and the time that is left."""


class ArchiveRun:
    """Indexes recordings into an archive; used once.

    hides: which of some templates (N, dim) are faces that must not be kept.
    """

    def __init__(
        self,
        config: Config,
        store: ArchiveStore,
        *,
        hides: Hides | None = None,
        progress: Progress = lambda text: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._config, self._store = config.archive, store
        self._book = RecordingBook(store.place)
        self._hides = hides
        self._progress, self._now = progress, now
        self.report = IndexReport()
        self._left: dict[str, set[int]] = {}
        self._entries: dict[str, RecordingEntry] = {}
        self._touched: set[str] = set()
        self._bytes = self._bytes_done = 0.0
        self._weight: dict[str, float] = {}

    def run(self, recordings: Sequence[Recording], workers: PieceWorkers) -> IndexReport:
        """Raises OutputError, SourceError, StateLockedError, and the workers' errors."""
        began = time.monotonic()
        self._bytes = float(sum(one.size for one in recordings))
        with self._store.writing():
            try:
                for result in workers.run(self.planned(recordings)):
                    self._take(result)
                    self.report.wall_s = time.monotonic() - began
                    self._progress(self._line())
            except (OutputError, SourceError):
                self._touched.clear()  # it cannot be reached: merging fails, too
                raise
            finally:
                self._store.merge(self._touched)
                self.report.wall_s = time.monotonic() - began
            self._drop_old()
        return self.report

    def planned(self, recordings: Sequence[Recording]) -> Iterator[RecordingPiece]:
        """The pieces that are not done, recording by recording."""
        for recording in recordings:
            self.report.recordings += 1
            try:
                entry = self._entry(recording)
            except (InputBrokenError, InputMissingError) as error:
                self._refuse(recording.address, error)
                self._bytes_done += recording.size
                continue
            if entry.complete or entry.digest in self._left:
                self.report.known += 1
                self._bytes_done += recording.size
                continue
            yield from self._pieces(entry)

    def _pieces(self, entry: RecordingEntry) -> Iterator[RecordingPiece]:
        done = self._book.done(entry.digest)
        left = [stretch for stretch in entry.pieces if stretch[0] not in done]
        self._left[entry.digest] = {start for start, _ in left}
        self._entries[entry.digest] = entry
        self._weight[entry.digest] = entry.size / max(entry.seconds, 1e-9)
        ready = sum(stop - start for start, stop in entry.pieces if start in done) / 1000
        self._bytes_done += ready * self._weight[entry.digest]
        if not left:  # killed between the last piece and this
            self._book.complete(entry)
        for start, stop in left:
            yield RecordingPiece(
                digest=entry.digest,
                address=entry.address,
                camera=entry.camera,
                begun=entry.start,
                fps=entry.fps,
                start_ms=start,
                stop_ms=stop,
            )

    def _entry(self, recording: Recording) -> RecordingEntry:
        """What is known of a recording, read now where it is new."""
        digest = self._book.digest_of(recording)
        if digest is not None and (entry := self._book.find(digest)) is not None:
            return entry
        with local_copy(recording.address) as path:
            digest = digest_of(path)
            if (entry := self._book.find(digest)) is not None:
                self._book.remember(recording, digest)
                return entry
            seen = outline(path)
            start = recording.start
            if start is None:
                self.report.assumed_times += 1
                start = _when(recording.modified, path.stat().st_mtime) - seen.seconds
        entry = RecordingEntry(
            digest=digest,
            **{**asdict(recording), "start": start},
            seconds=seen.seconds,
            fps=seen.fps,
            scan=self._config.scan,
            pieces=cut(seen, self._config.piece_s),
        )
        self._book.write(entry)
        return entry

    def _take(self, result: PieceIndex | PieceFailure) -> None:
        piece = result.piece
        self._bytes_done += piece.seconds * self._weight[piece.digest]
        if isinstance(result, PieceFailure):
            self._refuse(piece.address, result.error)
            return
        tracks = self._kept(result.tracks)
        self._store.add(piece.id, tracks)
        facts = {"tracks": len(tracks), "seconds": piece.seconds}
        self._book.mark(piece.digest, piece.start_ms, facts)
        self._touched |= {partition(day_of(t.start), t.camera) for t in tracks}
        left = self._left[piece.digest]
        left.discard(piece.start_ms)
        if not left:
            self._book.complete(self._entries[piece.digest])
        report = self.report
        report.pieces += 1
        report.tracks += len(tracks)
        report.withheld += len(result.tracks) - len(tracks)
        report.without_template += result.without_template
        report.frames += result.frames
        report.looked += result.looked
        report.video_s += piece.seconds
        report.cpu_s += result.cpu_s

    def _kept(self, tracks: Sequence[ArchivedTrack]) -> list[ArchivedTrack]:
        if self._hides is None or not tracks:
            return list(tracks)
        hidden = self._hides(np.stack([track.template for track in tracks]))
        return [track for track, hide in zip(tracks, hidden, strict=True) if not hide]

    def _refuse(self, address: str, error: JetsonFaceError) -> None:
        self.report.refused.setdefault(address, str(error))
        log.warning("recording_refused %s", error)

    def _line(self) -> str:
        share = min(1.0, self._bytes_done / self._bytes) if self._bytes else 1.0
        left = self.report.wall_s * (1 - share) / share if share else 0.0
        return (
            f"{100 * share:.0f} %, {self.report.tracks} tracks, "
            f"{self.report.hours_per_hour:.1f} hours of video an hour, {span(left)} left"
        )

    def _drop_old(self) -> None:
        if self._config.keep_days is not None:
            before = day_of(self._now() - 86_400 * self._config.keep_days)
            self.report.dropped_days = self._store.drop_days(before)


def _when(modified: str, otherwise: float) -> float:
    """UTC seconds of what a store says, where it says a number."""
    try:
        return float(modified)
    except ValueError:
        return otherwise


def span(seconds: float) -> str:
    """A time span for people: 45 s, 12 min, 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
