"""What flows through the program: frames, detections, embeddings, sightings, reports.

Arrays where the number of faces varies inside a frame, small frozen objects at the end. `eq=False`
on whatever holds an array: a frozen dataclass with an array raises on `==` and `hash()`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

ImageU8: TypeAlias = NDArray[np.uint8]
"""(H, W, 3) or (N, H, W, 3) uint8, BGR."""
Pixels: TypeAlias = NDArray[np.uint8]
"""(H, W, 3) uint8 BGR, or (H, W, 4) uint8 BGRx, of which the fourth byte means nothing."""
F32: TypeAlias = NDArray[np.float32]
I64: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]
Box: TypeAlias = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the frame."""
Area: TypeAlias = tuple[int, int, int, int]
"""x1, y1, x2, y2 in whole pixels of the frame, x2 and y2 not included."""
Spared: TypeAlias = Literal["", "part", "all"]
"""What a search that was due left out, since nothing had changed there."""
State: TypeAlias = Literal["pending", "known", "unknown", "review"]
Index: TypeAlias = BoolArray | I64 | slice


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of one source, with its times.

    pixels: as the camera gave them, C-contiguous, read-only: a Jetson's converter has no BGR.
    seq: per source, from 0; a gap is a drop.
    captured_ns: `time.monotonic_ns()` when the read returned (files: media time); every interval
        uses this.
    wall: UTC seconds when the read returned, of a file too; for people and files only, never
        subtracted.
    source: configured name, never the URL.
    """

    pixels: Pixels
    seq: int
    captured_ns: int
    wall: float
    source: str
    _bgr: ImageU8 | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        pixels = self.pixels
        if pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or pixels.dtype != np.uint8:
            raise ValueError(
                "a frame is (H, W, 3) uint8 BGR or (H, W, 4) uint8 BGRx, got "
                f"{pixels.shape} {pixels.dtype}"
            )
        if pixels.size == 0:
            raise ValueError(f"a frame has a row and a column at least, got {pixels.shape}")
        pixels.flags.writeable = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def image(self) -> ImageU8:
        """(H, W, 3) uint8 BGR, C-contiguous, read-only; of BGRx made when it is first asked for."""
        if self.pixels.shape[2] == 3:
            return self.pixels
        if self._bgr is None:
            made = bgr(self.pixels)
            made.flags.writeable = False
            object.__setattr__(self, "_bgr", made)
        assert self._bgr is not None
        return self._bgr


def bgr(pixels: Pixels) -> ImageU8:
    """(H, W, 3) BGR: the same array where it is BGR already, a new one of BGRx.

    By OpenCV: numpy takes fifty times as long.
    """
    if pixels.shape[2] == 3:
        return pixels
    import cv2

    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR), np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """N faces of one frame as parallel arrays; N = 0 is normal and keeps the shapes.

    boxes: (N, 4) float32 xyxy, pixels of the frame, clipped to it.
    scores: (N,) float32 in [0, 1], higher is surer.
    landmarks: (N, 5, 2) float32 xy pixels: the eye at the image's left, the eye at its right, nose,
        the mouth corner at the image's left, the one at its right. NaN where a detector gives none.
    """

    boxes: F32
    scores: F32
    landmarks: F32

    def __post_init__(self) -> None:
        n = len(self.scores)
        if self.boxes.shape != (n, 4) or self.scores.ndim != 1 or self.landmarks.shape != (n, 5, 2):
            raise ValueError(
                f"detections need (N, 4), (N,), (N, 5, 2), got "
                f"{self.boxes.shape}, {self.scores.shape}, {self.landmarks.shape}"
            )

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, which: Index) -> Detections:
        """The rows that a mask, a slice or an index array selects."""
        return Detections(self.boxes[which], self.scores[which], self.landmarks[which])

    @classmethod
    def empty(cls) -> Detections:
        """No face."""
        return cls(
            np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32)
        )


@dataclass(frozen=True, slots=True)
class EmbeddingSpace:
    """Where a vector lives; two vectors may be compared only if their spaces are equal.

    model: the card's name. digest: hex SHA-256 of the model file and its preprocessing.
    """

    model: str
    digest: str
    dim: int

    def __str__(self) -> str:
        return f"{self.model}/{self.digest[:12]}/{self.dim}"

    @property
    def full_name(self) -> str:
        """With the whole digest."""
        return f"{self.model}/{self.digest}/{self.dim}"


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """N unit vectors of one space. vectors: (N, dim) float32, length 1, finite."""

    vectors: F32
    space: EmbeddingSpace

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or self.vectors.shape[1] != self.space.dim:
            raise ValueError(f"embeddings need (N, {self.space.dim}), got {self.vectors.shape}")

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody enrolled. id: stable, opaque; name: what people read and may change."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """Somebody whom a face may be. similarity: as in `Match`, higher is more alike."""

    person: Person
    similarity: float


@dataclass(frozen=True, slots=True)
class Match:
    """The nearest person to a probe, and how far the second one is.

    similarity: cosine in [-1, 1], higher is more alike. second: the same for the best *other*
    person, -1 where there is none. `person` is None for an empty gallery. candidates: the nearest
    people, best first, `person` among them.
    """

    person: Person | None
    similarity: float
    second: float
    candidates: tuple[Candidate, ...] = field(default=(), compare=False)

    @property
    def margin(self) -> float:
        """Cosine between first and second: small means ambiguous."""
        return self.similarity - self.second


NO_MATCH = Match(None, -1.0, -1.0)


@dataclass(frozen=True, slots=True)
class Sighting:
    """One face in one report.

    track: id of the face's track, unique per source in a run. box: xyxy pixels. similarity: cosine
    of the track's mean vector to `person` (or to the nearest person while there is none), None
    before any match. frames: embeddings averaged so far. changed: the decision differs from
    the last report's: this sighting is an event. detected: the box was seen by the detector or the
    refiner in this very frame; False when only predicted. landmarks: (5, 2) float32 as in
    `Detections`, None where the box was only predicted or the detector gives none. quality: [0, 1],
    of the aligned crop, None on frames that did not embed the face. candidates: see `Match`.
    withheld: it is of the do-not-recognise list: said to be `unknown`, and no crop of it may be
    kept.
    """

    track: int
    box: Box
    state: State
    person: Person | None
    similarity: float | None
    frames: int
    changed: bool = False
    detected: bool = True
    landmarks: F32 | None = field(default=None, compare=False)
    quality: float | None = None
    candidates: tuple[Candidate, ...] = field(default=(), compare=False)
    withheld: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ReviewCandidate:
    """A face between sure and no, for a person to decide; one a track.

    nearest: who it may be. similarity: cosine of the track's mean vector to them; second: to the
    best other person. quality: [0, 1]. face: one vector, of the face in this very frame.
    landmarks: (5, 2) float32, pixels of the frame.
    """

    track: int
    nearest: Person
    similarity: float
    second: float
    quality: float
    face: Embeddings
    landmarks: F32


@dataclass(frozen=True, slots=True, eq=False)
class UnknownFace:
    """A face that nobody enrolled is, good enough to be known again; one a track.

    frames: averaged into `face`, the unit mean of the track. quality: [0, 1], of the crop in this
    very frame; landmarks: (5, 2) float32, pixels of the frame.
    """

    track: int
    frames: int
    quality: float
    face: Embeddings
    landmarks: F32


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """What one frame said. stages_ms: milliseconds by stage name, only stages that ran."""

    source: str
    seq: int
    captured_ns: int
    wall: float
    size: tuple[int, int]
    """Frame (width, height), pixels."""
    sightings: tuple[Sighting, ...]
    stages_ms: Mapping[str, float]
    searched: bool
    """A full detection ran on this frame."""
    embedded: int = 0
    """Faces embedded on this frame."""
    review_candidates: tuple[ReviewCandidate, ...] = ()
    unseen: tuple[int, ...] = ()
    """Tracks that go on although they were not found; one neither here nor in `sightings` ended."""
    unknown_faces: tuple[UnknownFace, ...] = ()
    spared: Spared = ""
    """Of a search that was due and did not run in full."""
