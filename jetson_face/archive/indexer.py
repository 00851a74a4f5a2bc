"""The work on a piece of a recording: its frames through the recogniser of the live loop."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from jetson_face.archive.gathering import TrackGatherer
from jetson_face.archive.pictures import pictures
from jetson_face.archive.pieces import RecordingPiece
from jetson_face.archive.recordings import local_copy
from jetson_face.archive.scanning import EveryFrame, KeyFrames, MotionGate
from jetson_face.archive.tracks import ArchivedTrack
from jetson_face.config import Config
from jetson_face.core.errors import InputBrokenError, InputMissingError, JetsonFaceError
from jetson_face.core.types import EmbeddingSpace, Frame
from jetson_face.factory.parts import build_parts, build_recognizer
from jetson_face.gallery.matcher import GallerySnapshot, Matcher


@dataclass(frozen=True, slots=True, eq=False)
class PieceIndex:
    """What a piece gave. without_template: tracks too small, dark or blurred to search for. frames,
    looked: see Counts. cpu_s: processor time."""

    piece: RecordingPiece
    tracks: tuple[ArchivedTrack, ...]
    without_template: int
    frames: int
    looked: int
    cpu_s: float


@dataclass(frozen=True, slots=True)
class PieceFailure:
    """A piece that cannot be indexed, and why."""

    piece: RecordingPiece
    error: JetsonFaceError


class PieceIndexer:
    """Keeps the networks of a configuration loaded and indexes pieces with them, in this process.

    Nobody is enrolled here: who somebody is is asked of the index. Raises the networks' errors.
    """

    def __init__(self, config: Config) -> None:
        self._config = _of_scan(config)
        self._parts = build_parts(self._config)
        nobody = GallerySnapshot.empty(self._parts.embedder.space)
        self._matcher = Matcher(nobody)
        self._copy = ExitStack()
        self._copied: tuple[str, Path] | None = None

    @property
    def space(self) -> EmbeddingSpace:
        """Of the templates."""
        return self._parts.embedder.space

    def run(self, pieces: Iterable[RecordingPiece]) -> Iterator[PieceIndex | PieceFailure]:
        """See PieceWorkers: one piece after the other."""
        return map(self.index, pieces)

    def index(self, piece: RecordingPiece) -> PieceIndex | PieceFailure:
        """One piece; what is wrong with its recording comes back as a failure."""
        try:
            return self._indexed(piece)
        except (InputBrokenError, InputMissingError) as error:
            return PieceFailure(piece, error)

    def _indexed(self, piece: RecordingPiece) -> PieceIndex:
        began = time.process_time()
        path = self._local(piece.address)
        recognizer = build_recognizer(self._config, self._parts, lambda now_ns: self._matcher)
        gatherer = TrackGatherer(
            piece, recognizer.decisions.fuser.means, crops=self._config.archive.crops
        )
        gate = gate_of(self._config)
        counts = Counts()
        for frame in frames_of(piece, path, gate, counts):
            if gate.fresh:
                recognizer.finder.interval.reset()
            gate.tell(gatherer.add(recognizer.process(frame), frame))
        tracks = tuple(gatherer.finish())
        took = time.process_time() - began
        return PieceIndex(
            piece, tracks, gatherer.without_template, counts.frames, counts.looked, took
        )

    def close(self) -> None:
        """Close the networks; harmless when repeated."""
        self._copy.close()
        self._parts.close()

    def _local(self, address: str) -> Path:
        """One recording of an object store is kept until the next is asked for."""
        if self._copied is None or self._copied[0] != address:
            self._copy.close()
            self._copied = None
            self._copied = address, self._copy.enter_context(local_copy(address))
        return self._copied[1]


@dataclass(slots=True)
class Counts:
    """frames: decoded; of key frames only those. looked: given to the recogniser."""

    frames: int = 0
    looked: int = 0


def frames_of(
    piece: RecordingPiece, path: Path, gate: EveryFrame, counts: Counts
) -> Iterator[Frame]:
    """The frames of a piece that the gate wants and passes. `captured_ns` is media time, `wall` the
    time at which the frame was recorded. Raises InputBrokenError."""
    period = 1000 / piece.fps
    found = pictures(path, piece.start_ms, piece.fps, keys_only=gate.keys_only)
    for number, picture in enumerate(found):
        at = picture.at_ms
        if at >= piece.stop_ms - period / 2:
            return
        counts.frames += 1
        if not gate.wants(number, at):
            continue
        image = picture.fetch()
        if image is not None and gate.passes(image, at):
            counts.looked += 1
            wall = piece.begun + at / 1000
            yield Frame(image, number, round(at * 1e6), wall, piece.camera)


def gate_of(config: Config) -> EveryFrame:
    """Which frames `archive.scan` looks at."""
    scan = config.archive.scan
    if scan == "key_frames":
        return KeyFrames()
    return MotionGate(config.sampling.interval) if scan == "motion" else EveryFrame()


def _of_scan(config: Config) -> Config:
    """Key frames are few: each one is searched."""
    if config.archive.scan != "key_frames":
        return config
    sampling = config.sampling.model_copy(update={"interval": 1, "auto": None})
    return config.model_copy(update={"sampling": sampling})
