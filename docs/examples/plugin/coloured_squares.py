"""A package that brings one of each: its "faces" are coloured squares, and a person is a colour.

No network, no camera: everything that a plug-in needs, and nothing else.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np

from jetson_face import (
    Detections,
    Embeddings,
    EmbeddingSpace,
    EndOfSource,
    Frame,
    Report,
    SourceHealth,
    SourceInfo,
)

COLOURS = {"red": (40, 40, 230), "green": (40, 230, 40), "blue": (230, 40, 40)}  # BGR
# Where a frontal face has eyes, nose and mouth corners, in shares of its box.
POINTS = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.78], [0.65, 0.78]], np.float32)


class SquareDetector:
    """Finds each colour's square. least: how many pixels it must have."""

    name = "squares"

    def __init__(self, least: int = 100) -> None:
        self._least = least

    def detect(self, image: np.ndarray) -> Detections:
        boxes = []
        for colour in COLOURS.values():
            rows, columns = np.nonzero((image == colour).all(axis=2))
            if len(rows) >= self._least:
                boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        found = np.array(boxes, np.float32).reshape(-1, 4)
        landmarks = found[:, None, :2] + POINTS * (found[:, None, 2:] - found[:, None, :2])
        return Detections(found, np.full(len(found), 0.9, np.float32), landmarks)

    def close(self) -> None:
        pass


class SquareRefiner:
    """Moves each box onto the nearest square, if there is one near."""

    def __init__(self, reach: float = 40) -> None:
        self._detector, self._reach = SquareDetector(), reach

    def refine(self, image: np.ndarray, boxes: np.ndarray) -> Detections:
        found = self._detector.detect(image)
        out, scores = boxes.copy(), np.zeros(len(boxes), np.float32)
        landmarks = np.full((len(boxes), 5, 2), np.nan, np.float32)
        for row, box in enumerate(boxes):
            away = np.abs(found.boxes - box).max(axis=1, initial=0)
            if len(found) and away.min() <= self._reach:
                nearest = int(away.argmin())
                out[row], scores[row] = found.boxes[nearest], 0.9
                landmarks[row] = found.landmarks[nearest]
        return Detections(out, scores, landmarks)


class ColourEmbedder:
    """The direction of a crop's mean colour."""

    space = EmbeddingSpace("colour", "1", 3)  # another digest whenever its vectors change
    alignment = "arcface112"
    similarity_min = 0.95

    def embed(self, crops: np.ndarray) -> Embeddings:
        means = crops[:, 40:90, 40:70].reshape(len(crops), -1, 3).mean(axis=1) - 39
        vectors = means / np.linalg.norm(means, axis=1, keepdims=True)
        return Embeddings(vectors.astype(np.float32), self.space)

    def close(self) -> None:
        pass


class SquareSource:
    """A red and a blue square that move, as `squares://?frames=20`."""

    def __init__(self, name: str, uri: str, frames: int) -> None:
        self.info = SourceInfo(name, uri, is_live=False, width=320, height=240, frames=frames)
        self._frames, self._next = frames, 0

    @property
    def health(self) -> SourceHealth:
        return SourceHealth("running", {})

    def read(self, timeout_s: float) -> Frame:
        if self._next == self._frames:
            raise EndOfSource
        seq, self._next = self._next, self._next + 1
        image = np.full((240, 320, 3), 90, np.uint8)
        image[40:140, 30 + seq : 110 + seq] = COLOURS["red"]
        image[60:160, 220 - seq : 300 - seq] = COLOURS["blue"]
        return Frame(image, seq, seq * 40_000_000, 0.0, self.info.name)

    def close(self) -> None:
        pass


def open_squares(uri: str, name: str) -> SquareSource:
    """Called with the URI as it was given, and the source's name."""
    query = parse_qs(urlsplit(uri).query)
    return SquareSource(name, uri, int(query.get("frames", ["20"])[0]))


class LineSink:
    """Writes a line whenever a decision changes."""

    name = "lines"
    wants_frame = False

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._lines: list[str] = []

    def open(self) -> None:
        self._lines.clear()

    def write(self, report: Report, frame: Frame | None) -> None:
        for face in report.sightings:
            if face.changed:
                name = "" if face.person is None else face.person.name
                self._lines.append(f"{report.source} {report.seq} {face.state} {name}".rstrip())

    def close(self) -> None:
        self._path.write_text("\n".join(self._lines) + "\n")
