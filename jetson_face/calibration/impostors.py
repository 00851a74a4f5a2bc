"""Faces of people who are not enrolled, to measure how often a stranger gets a name."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np

from jetson_face.calibration.leave_one_out import grouped
from jetson_face.core.errors import EmbeddingSpaceError, InputBrokenError, InputMissingError
from jetson_face.core.types import (
    F32,
    I64,
    BoolArray,
    Detections,
    Embeddings,
    EmbeddingSpace,
    ImageU8,
)
from jetson_face.detection.detector import Detector
from jetson_face.embedding.embedder import Embedder
from jetson_face.gallery.enroll import SIDE_MAX, FaceCropper
from jetson_face.util.files import write_file
from jetson_face.util.images import SUFFIXES, read_picture

_log = logging.getLogger(__name__)
_BATCH = 32


class Grader(Protocol):
    """Quality in [0, 1] of aligned faces (`jetson_face.embedding.quality.QualityGate`)."""

    def scores(self, crops: ImageU8, faces: Detections) -> F32: ...


@dataclass(frozen=True, slots=True, eq=False)
class Impostors:
    """N faces of strangers. person, series: (N,) numbers, ascending: whose face it is, and of
    which folder of following pictures; source: the face's file, for people.
    """

    faces: Embeddings
    person: I64
    series: I64
    source: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.person)

    def save(self, path: Path) -> None:
        """Keep the vectors (not the pictures). Raises OutputError."""
        out = io.BytesIO()
        space = self.faces.space
        np.savez_compressed(
            out,
            vectors=self.faces.vectors,
            person=self.person,
            series=self.series,
            source=np.array(self.source, np.str_),
            space=np.array([space.model, space.digest, str(space.dim)]),
        )
        write_file(path, out.getvalue())

    @classmethod
    def load(cls, path: Path, space: EmbeddingSpace) -> Impostors:
        """What `save` wrote. Raises InputBrokenError, EmbeddingSpaceError for another network."""
        try:
            with np.load(path, allow_pickle=False) as kept:
                model, digest, dim = (str(item) for item in kept["space"])
                own = EmbeddingSpace(model, digest, int(dim))
                if own != space:
                    raise EmbeddingSpaceError(
                        f"{path}: packed with {own}, the embedder is {space}: pack the pictures "
                        "again"
                    )
                vectors = np.asarray(kept["vectors"], np.float32)
                person, series = (np.asarray(kept[key], np.int64) for key in ("person", "series"))
                source = tuple(str(item) for item in kept["source"])
                counts = {len(vectors), len(person), len(series), len(source)}
                if len(counts) != 1 or not np.isfinite(vectors).all():
                    raise ValueError("arrays of different lengths")
                return cls(Embeddings(vectors, own), person, series, source)
        except EmbeddingSpaceError:
            raise
        except Exception as error:  # zip, numpy and its header each raise their own
            raise InputBrokenError(
                f"{path}: no packed impostors: make one with jetson-face calibrate --impostors "
                "FOLDER --pack FILE"
            ) from error


def averaged(
    impostors: Impostors, average: int, part: BoolArray | slice = slice(None)
) -> tuple[Embeddings, I64]:
    """Unit means of up to `average` faces of one series, and whose each is. part: of the faces."""
    vectors, series = grouped(impostors.faces.vectors[part], impostors.series[part], average)
    owner = np.zeros(int(impostors.series.max(initial=0)) + 1, np.int64)
    owner[impostors.series] = impostors.person
    return Embeddings(vectors, impostors.faces.space), owner[series]


def gather(
    folder: Path,
    *,
    detector: Detector,
    aligner: FaceCropper,
    embedder: Embedder,
    grader: Grader,
    quality_min: float = 0.0,
    progress: Callable[[int, int, object], None] = lambda done, total, item: None,
) -> Impostors:
    """The faces of a folder: PERSON/…/picture.jpg, or pictures right in it.

    Of a picture in a person's folder the largest face counts; of a picture right in the folder
    every face does, each as a person of its own. Faces below `quality_min` are left out, pictures
    that cannot be read too, with a warning.
    Raises InputMissingError without the folder, InputBrokenError where it shows no face.
    """
    if not folder.is_dir():
        raise InputMissingError(f"{folder}: no such folder: name one with pictures of strangers")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())

    def found() -> Iterator[tuple[ImageU8, SourceFace]]:
        for done, path in enumerate(paths, 1):
            inside = path.relative_to(folder)
            alone = len(inside.parts) > 1
            crops = _crops(path, detector, aligner, grader, quality_min, alone)
            yield from ((crop, _face_of(inside, number)) for number, crop in enumerate(crops))
            progress(done, len(paths), path.name)

    faces: list[SourceFace] = []
    vectors: list[F32] = []
    waiting = found()
    while batch := list(islice(waiting, _BATCH)):
        vectors.append(embedder.embed(np.stack([crop for crop, _ in batch])).vectors.copy())
        faces += [face for _, face in batch]
    if not faces:
        raise InputBrokenError(f"{folder}: no face in {len(paths)} pictures")
    return impostors_of(faces, Embeddings(np.concatenate(vectors), embedder.space))


@dataclass(frozen=True, slots=True)
class SourceFace:
    """By names: whose it is, of which folder, of which file."""

    person: str
    series: str
    source: str


def _face_of(inside: Path, number: int) -> SourceFace:
    """inside: the picture's path in the folder. number: of its faces."""
    source = inside.as_posix()
    if len(inside.parts) > 1:
        return SourceFace(inside.parts[0], str(inside.parent), source)
    return SourceFace(f"{source}/{number}", f"{source}/{number}", source)


def _crops(
    path: Path,
    detector: Detector,
    aligner: FaceCropper,
    grader: Grader,
    quality_min: float,
    alone: bool,
) -> Iterator[ImageU8]:
    try:
        image = read_picture(path, side_max=SIDE_MAX)
    except InputBrokenError as error:
        _log.warning("left out: %s", error)
        return
    faces = detector.detect(image)
    faces = faces[np.asarray(~np.isnan(faces.landmarks).any(axis=(1, 2)))]
    if alone and len(faces) > 1:
        sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
        largest = int(np.argmax(np.prod(sides, axis=1)))
        faces = faces[largest : largest + 1]
    if not len(faces):
        return
    crops = aligner.crop(image, faces.landmarks)
    good = grader.scores(crops, faces) >= quality_min
    yield from crops[good]


def impostors_of(found: Sequence[SourceFace], faces: Embeddings) -> Impostors:
    """Faces (N, dim) with whose they are, in the order that `Impostors` needs."""
    person = _numbers([face.person for face in found])
    series = _numbers([face.series for face in found])
    order = np.lexsort((series, person))
    series = _numbers(series[order].tolist())  # a person's series need not follow each other
    ordered = Embeddings(faces.vectors[order], faces.space)
    source = tuple(found[at].source for at in order)
    return Impostors(ordered, person[order], series, source)


def _numbers(names: Sequence[Hashable]) -> I64:
    """From 0, in the order in which the names appear."""
    known = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([known[name] for name in names], np.int64)
