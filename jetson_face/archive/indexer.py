"""The work on a piece of a recording: its frames through the recogniser of the live loop."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from jetson_face.archive.gathering import TrackGatherer
from jetson_face.archive.pieces import RecordingPiece
from jetson_face.archive.reading import Counts, frames_of
from jetson_face.archive.recordings import local_copy
from jetson_face.archive.scanning import EveryFrame, KeyFrames, MotionGate
from jetson_face.archive.tracks import ArchivedTrack
from jetson_face.config import Config
from jetson_face.core.types import EmbeddingSpace
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


class PieceIndexer:
    """Keeps the networks of a configuration loaded and indexes pieces with them.

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

    def index(self, piece: RecordingPiece) -> PieceIndex:
        """Raises InputMissingError, InputBrokenError."""
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
        return PieceIndex(
            piece,
            tracks,
            gatherer.without_template,
            counts.frames,
            counts.looked,
            time.process_time() - began,
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
