"""What is kept of each track while a recording is looked through: template, best crops, boxes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from jetson_face.archive.pieces import RecordingPiece
from jetson_face.archive.tracks import ArchivedTrack
from jetson_face.core.types import F32, I64, Embeddings, Frame, ImageU8, Report, Sighting
from jetson_face.embedding.align import cut_portraits
from jetson_face.util.images import encode_jpeg

_APART_NS = 500_000_000
"""Two crops of a track are at least so far apart: more would show the same look."""
_BOXES = 200
_JPEG = 85
"""13 kB a portrait; at 95 it is 32 kB."""


@dataclass(frozen=True, slots=True, eq=False)
class _Crop:
    quality: float
    at_ns: int
    image: ImageU8


@dataclass(slots=True, eq=False)
class _Open:
    """A track in view."""

    first_ns: int
    last_ns: int
    frames: int = 0
    template: F32 | None = None
    crops: list[_Crop] = field(default_factory=list)
    boxes: list[tuple[float, float, float, float, float]] = field(default_factory=list)
    every: int = 1
    count: int = 0


class TrackGatherer:
    """Follows the reports of one piece. means: the averages of tracks that were embedded, by their
    numbers. crops: kept of a track."""

    def __init__(
        self, piece: RecordingPiece, means: Callable[[I64], Embeddings], *, crops: int
    ) -> None:
        self._piece, self._means, self._crops = piece, means, crops
        self._open: dict[int, _Open] = {}
        self._done: list[ArchivedTrack] = []
        self.without_template = 0

    def add(self, report: Report, frame: Frame) -> int:
        """Count one report; how many tracks are in view."""
        for sighting in report.sightings:
            if sighting.detected:
                self._see(sighting, frame)
        alive = {sighting.track for sighting in report.sightings} | set(report.unseen)
        for track in sorted(self._open.keys() - alive):
            self._close(track)
        return len(alive)

    def finish(self) -> list[ArchivedTrack]:
        """The tracks with a template, in order; the rest only counts."""
        for track in sorted(self._open):
            self._close(track)
        return sorted(self._done, key=lambda track: track.id)

    def _see(self, sighting: Sighting, frame: Frame) -> None:
        now = frame.captured_ns
        track = self._open.get(sighting.track)
        if track is None:
            track = self._open[sighting.track] = _Open(now, now)
        track.last_ns = now
        self._box(track, sighting)
        if sighting.quality is None or sighting.landmarks is None or not sighting.frames:
            return
        track.frames = sighting.frames
        mean = self._means(np.array([sighting.track], np.int64))
        track.template = mean.vectors[0].copy()
        self._crop(track, sighting.quality, sighting.landmarks, frame)

    def _box(self, track: _Open, sighting: Sighting) -> None:
        """Fewer and fewer of a long track, evenly."""
        if track.count % track.every == 0:
            track.boxes.append(((track.last_ns - track.first_ns) / 1e9, *sighting.box))
        track.count += 1
        if len(track.boxes) > _BOXES:
            track.boxes, track.every = track.boxes[::2], 2 * track.every

    def _crop(self, track: _Open, quality: float, landmarks: F32, frame: Frame) -> None:
        now = frame.captured_ns
        near = [crop for crop in track.crops if now - crop.at_ns < _APART_NS]
        if any(crop.quality >= quality for crop in near):
            return
        rest = [crop for crop in track.crops if crop not in near]
        if len(rest) >= self._crops and min(crop.quality for crop in rest) >= quality:
            return
        (portrait,) = cut_portraits(frame.image, landmarks[None])
        made = [*rest, _Crop(quality, now, portrait.image)]
        made.sort(key=lambda crop: -crop.quality)
        track.crops = made[: self._crops]

    def _close(self, number: int) -> None:
        track = self._open.pop(number)
        if track.template is None or not track.crops:
            self.without_template += 1
            return
        begun = self._piece.begun
        self._done.append(
            ArchivedTrack(
                id=f"{self._piece.id}-{number:05d}",
                piece=self._piece.id,
                camera=self._piece.camera,
                start=begun + track.first_ns / 1e9,
                end=begun + track.last_ns / 1e9,
                media_s=track.first_ns / 1e9,
                frames=track.frames,
                quality=track.crops[0].quality,
                template=track.template,
                crops=tuple(encode_jpeg(crop.image, quality=_JPEG) for crop in track.crops),
                boxes=np.array(track.boxes, np.float32).reshape(-1, 5),
            )
        )
