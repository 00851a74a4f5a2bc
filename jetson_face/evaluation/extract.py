"""From raw pictures to vectors, the way the product goes: read, detect, pick, align, embed.

Evaluation pictures show one subject each, sometimes with bystanders. Which face is the subject is
decided by `pick_subject`. A picture in which the detector finds nothing is searched again by the
relaxed detector, where there is one, and marked; one in which both find nothing stays in the table
without a vector, so that every figure can count it as an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from jetson_face.calibration.impostors import Grader
from jetson_face.core.types import F32, I64, BoolArray, Detections, EmbeddingSpace, ImageU8
from jetson_face.detection.detector import Detector
from jetson_face.embedding.embedder import Embedder
from jetson_face.gallery.enroll import FaceCropper
from jetson_face.util.images import read_picture

PictureProgress: TypeAlias = Callable[[int, int], None]
"""Called with (pictures done, pictures in all)."""


@dataclass(frozen=True, slots=True, eq=False)
class ExtractedFaces:
    """The subject of each of N pictures.

    vectors: (N, dim) float32 unit vectors. boxes: (N, 4) xyxy pixels. quality: (N,) in [0, 1], 1
    where nothing grades. All three are NaN where no face was found. relaxed: (N,) found by the
    second, relaxed search only. count: (N,) faces in the picture. seconds: by stage, those spent
    on this call, in which `searched` pictures were not remembered.
    """

    names: tuple[str, ...]
    vectors: F32
    boxes: F32
    quality: F32
    relaxed: BoolArray
    count: I64
    space: EmbeddingSpace
    seconds: Mapping[str, float]
    searched: int = 0

    def __len__(self) -> int:
        return len(self.names)

    @property
    def found(self) -> BoolArray:
        """(N,) True where there is a face."""
        return ~np.isnan(self.quality)

    @property
    def undetected(self) -> tuple[str, ...]:
        """The pictures in which no face was found."""
        return tuple(name for name, there in zip(self.names, self.found, strict=True) if not there)

    @property
    def row_of(self) -> dict[str, int]:
        """The row of every picture, by name."""
        return {name: row for row, name in enumerate(self.names)}

    def rows(self, names: Sequence[str]) -> I64:
        """The row of each name. Raises KeyError for a name that was not extracted."""
        place = self.row_of
        return np.array([place[name] for name in names], np.int64)

    def facts(self) -> dict[str, object]:
        """What every report says of the pictures."""
        return {
            "pictures": len(self),
            "undetected": int((~self.found).sum()),
            "undetected_pictures": list(self.undetected[:50]),
            "relaxed": int(self.relaxed.sum()),
            "several_faces": int((self.count > 1).sum()),
            "seconds": {stage: round(spent, 3) for stage, spent in self.seconds.items()},
        }


@dataclass(frozen=True, slots=True, eq=False)
class Located:
    """The subject's place in a picture: one face, or none. count: faces in the picture."""

    face: Detections
    relaxed: bool
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class SubjectFace:
    """The face that a picture is about. count: faces in the picture."""

    crop: ImageU8
    box: F32
    quality: float
    relaxed: bool
    count: int


Remembered: TypeAlias = "tuple[SubjectFace, F32] | None"
"""What is remembered of a picture: its subject without the crop, and the vector; None: no face."""


def pick_subject(faces: Detections, size: tuple[int, int]) -> int:
    """The row of the face that a one-subject picture is about: large, and near the middle.

    The one with the largest box area minus twice the squared distance of its centre from the
    picture's, pixels; a bystander at the edge may be larger. size: (height, width). Raises
    ValueError for no face.
    """
    if len(faces) == 0:
        raise ValueError("there is no face to pick")
    corner, opposite = faces.boxes[:, :2], faces.boxes[:, 2:]
    area = np.prod(opposite - corner, axis=1)
    away = (corner + opposite) / 2 - np.array([size[1], size[0]]) / 2
    return int(np.argmax(area - 2 * (away**2).sum(axis=1)))


class FaceExtractor:
    """Detector, aligner and embedder on pictures, with a memory of what was done.

    relaxed: searches where `detector` found nothing (smaller faces, lower thresholds), or None.
    grader: quality of the aligned faces, or None. batch: crops embedded at a time.
    """

    def __init__(
        self,
        detector: Detector,
        aligner: FaceCropper,
        embedder: Embedder,
        *,
        relaxed: Detector | None = None,
        grader: Grader | None = None,
        read: Callable[[Path], ImageU8] = read_picture,
        batch: int = 32,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if batch < 1:
            raise ValueError(f"batch must be 1 or more, got {batch}")
        self.embedder = embedder
        self._detector = detector
        self._aligner = aligner
        self._relaxed = relaxed
        self._grader = grader
        self._read = read
        self._batch = batch
        self._clock = clock
        self.remembered: dict[Path, Remembered] = {}
        self.located: dict[Path, Located] = {}

    def extract(
        self, pictures: Mapping[str, Path], progress: PictureProgress | None = None
    ) -> ExtractedFaces:
        """The faces of named pictures; a picture that was seen before is not searched again.

        Raises InputMissingError or InputBrokenError for a picture that cannot be read.
        """
        seconds = {"read": 0.0, "detect": 0.0, "align": 0.0, "embed": 0.0}
        waiting: list[tuple[Path, SubjectFace]] = []
        searched = 0
        for done, path in enumerate(pictures.values(), 1):
            if path not in self.remembered:
                searched += 1
                start = self._clock()
                image = self._read(path)
                seconds["read"] += self._clock() - start
                self.remembered[path] = None
                if path not in self.located:
                    self.located[path] = self._locate(image, seconds)
                subject = self._subject(image, self.located[path], seconds)
                if subject is not None:
                    waiting.append((path, subject))
            if len(waiting) >= self._batch or (waiting and done == len(pictures)):
                self._embed(waiting, seconds)
                waiting.clear()
            if progress is not None:
                progress(done, len(pictures))
        rows = [self.remembered[path] for path in pictures.values()]
        return self._table(tuple(pictures), rows, seconds, searched)

    def faces_of(self, images: Sequence[ImageU8]) -> ExtractedFaces:
        """The subjects of pictures in memory, (H, W, 3) uint8 BGR each; nothing is remembered."""
        seconds = {"detect": 0.0, "align": 0.0, "embed": 0.0}
        subjects = [self._subject(image, self._locate(image, seconds), seconds) for image in images]
        there = [subject for subject in subjects if subject is not None]
        vectors = iter(self._vectors([subject.crop for subject in there], seconds))
        rows: list[Remembered] = [None if s is None else (s, next(vectors)) for s in subjects]
        return self._table(tuple(map(str, range(len(images)))), rows, seconds, len(images))

    def _locate(self, image: ImageU8, seconds: dict[str, float]) -> Located:
        """The subject of one picture; times are added to `seconds`."""
        start = self._clock()
        faces, relaxed = self._search(image)
        seconds["detect"] += self._clock() - start
        if len(faces) == 0:
            return Located(faces, False, 0)
        at = pick_subject(faces, (image.shape[0], image.shape[1]))
        return Located(faces[at : at + 1], relaxed, len(faces))

    def _subject(
        self, image: ImageU8, place: Located, seconds: dict[str, float]
    ) -> SubjectFace | None:
        """The aligned subject; times are added to `seconds`."""
        if not len(place.face):
            return None
        start = self._clock()
        crops = self._aligner.crop(image, place.face.landmarks)
        quality = 1.0 if self._grader is None else float(self._grader.scores(crops, place.face)[0])
        seconds["align"] += self._clock() - start
        return SubjectFace(crops[0], place.face.boxes[0], quality, place.relaxed, place.count)

    def _search(self, image: ImageU8) -> tuple[Detections, bool]:
        for detector, relaxed in ((self._detector, False), (self._relaxed, True)):
            if detector is not None:
                faces = detector.detect(image)
                # a face without landmarks cannot be aligned
                faces = faces[np.asarray(~np.isnan(faces.landmarks).any(axis=(1, 2)))]
                if len(faces):
                    return faces, relaxed
        return Detections.empty(), False

    def _embed(self, waiting: list[tuple[Path, SubjectFace]], seconds: dict[str, float]) -> None:
        vectors = self._vectors([subject.crop for _, subject in waiting], seconds)
        for (path, subject), vector in zip(waiting, vectors, strict=True):
            # only the small facts are kept: crops of a large set would fill the memory
            self.remembered[path] = (replace(subject, crop=subject.crop[:0]), vector)

    def _vectors(self, crops: list[ImageU8], seconds: dict[str, float]) -> list[F32]:
        start = self._clock()
        out: list[F32] = []
        for at in range(0, len(crops), self._batch):
            embedded = self.embedder.embed(np.stack(crops[at : at + self._batch]))
            out.extend(vector.copy() for vector in embedded.vectors)
        seconds["embed"] += self._clock() - start
        return out

    def _table(
        self,
        names: tuple[str, ...],
        rows: Sequence[Remembered],
        seconds: Mapping[str, float],
        searched: int,
    ) -> ExtractedFaces:
        space = self.embedder.space
        vectors = np.full((len(rows), space.dim), np.nan, np.float32)
        boxes = np.full((len(rows), 4), np.nan, np.float32)
        quality = np.full(len(rows), np.nan, np.float32)
        relaxed = np.zeros(len(rows), np.bool_)
        count = np.zeros(len(rows), np.int64)
        for at, kept in enumerate(rows):
            if kept is not None:
                subject, vectors[at] = kept
                boxes[at], quality[at] = subject.box, subject.quality
                relaxed[at], count[at] = subject.relaxed, subject.count
        return ExtractedFaces(
            names, vectors, boxes, quality, relaxed, count, space, dict(seconds), searched
        )
