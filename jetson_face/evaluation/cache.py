"""Faces that were found and embedded before, kept on the disk between evaluations.

Two files: where the faces are depends on the detector only, what they look like on the embedding
too. Another embedding does not search the pictures again.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from jetson_face.core.types import Detections, ImageU8
from jetson_face.evaluation.extract import FaceExtractor, Located, Remembered, SubjectFace
from jetson_face.util.files import write_file

_log = logging.getLogger(__name__)
_NO_CROP: ImageU8 = np.zeros((0, 0, 3), np.uint8)
_NOBODY = SubjectFace(_NO_CROP, np.full(4, np.nan, np.float32), np.nan, False, 0)
_NOWHERE = Detections(
    np.zeros((1, 4), np.float32), np.zeros(1, np.float32), np.zeros((1, 5, 2), np.float32)
)
_WHERE = ("relaxed_search", "backend", "detector_settings")
_WHAT = (*_WHERE, "alignment", "mirror", "space", "precision", "weights")

Row: TypeAlias = "tuple[Path, dict[str, Any]]"
"""A picture and its item of every array."""


class FaceCache:
    """The files of one method in `folder`. facts: what changes its faces, by name."""

    def __init__(self, folder: Path, facts: Mapping[str, object]) -> None:
        self.places = _file(folder, "places", {key: facts[key] for key in _WHERE})
        self.faces = _file(folder, "faces", {key: facts[key] for key in _WHAT})

    def recall(self, extractor: FaceExtractor) -> tuple[int, int]:
        """Give the extractor what was kept; returns pictures searched, and embedded.

        A picture that changed since is looked at again; a damaged file is passed over with a
        warning.
        """
        places = _read(self.places, _place_of)
        faces = _read(self.faces, _face_of)
        extractor.located.update(places)
        extractor.remembered.update(faces)
        return len(places), len(faces)

    def keep(self, extractor: FaceExtractor) -> None:
        """Write all that the extractor remembers. Raises OutputError."""
        located = extractor.located
        faces = [place.face if len(place.face) else _NOWHERE for place in located.values()]
        _write(
            self.places,
            list(located),
            box=[face.boxes[0] for face in faces],
            score=[face.scores[0] for face in faces],
            landmarks=[face.landmarks[0] for face in faces],
            relaxed=[place.relaxed for place in located.values()],
            count=[place.count for place in located.values()],
        )
        kept = extractor.remembered
        nothing = np.full(extractor.embedder.space.dim, np.nan, np.float32)
        rows = [row or (_NOBODY, nothing) for row in kept.values()]
        _write(
            self.faces,
            list(kept),
            vector=[vector for _, vector in rows],
            box=[face.box for face, _ in rows],
            quality=[face.quality for face, _ in rows],
            relaxed=[face.relaxed for face, _ in rows],
            count=[face.count for face, _ in rows],
        )


def _place_of(row: Mapping[str, Any]) -> Located:
    count = int(row["count"])
    there = slice(0, 1 if count else 0)
    face = Detections(
        row["box"][None][there], row["score"].reshape(1)[there], row["landmarks"][None][there]
    )
    return Located(face, bool(row["relaxed"]), count)


def _face_of(row: Mapping[str, Any]) -> Remembered:
    if np.isnan(row["quality"]):
        return None
    quality, relaxed, count = float(row["quality"]), bool(row["relaxed"]), int(row["count"])
    return SubjectFace(_NO_CROP, row["box"], quality, relaxed, count), row["vector"]


def _file(folder: Path, what: str, facts: Mapping[str, object]) -> Path:
    text = json.dumps(facts, sort_keys=True, default=str)
    return folder / f"{what}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"


def _read(path: Path, item_of: Callable[[Mapping[str, Any]], Any]) -> dict[Path, Any]:
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as kept:
            arrays = {key: kept[key] for key in kept.files}
        return {picture: item_of(row) for picture, row in _rows(arrays)}
    except Exception as error:  # zip, numpy and its header each raise their own
        _log.warning("%s: left out, not a file of faces: %s", path, error)
        return {}


def _rows(arrays: Mapping[str, Any]) -> Iterator[Row]:
    for at, name in enumerate(arrays["path"]):
        picture = Path(str(name))
        if _stamp(picture) == tuple(arrays["stamp"][at]):
            yield picture, {key: values[at] for key, values in arrays.items()}


def _write(path: Path, pictures: list[Path], **columns: list[Any]) -> None:
    stamps = [_stamp(picture) for picture in pictures]
    arrays: dict[str, Any] = {key: np.array(values) for key, values in columns.items()}
    arrays["path"] = np.array([str(picture) for picture in pictures], np.str_)
    arrays["stamp"] = np.array(stamps, np.int64).reshape(-1, 2)
    out = io.BytesIO()
    np.savez(out, **arrays)
    write_file(path, out.getvalue())


def _stamp(picture: Path) -> tuple[int, int]:
    """Size and time of change; (0, 0) for none."""
    try:
        facts = picture.stat()
    except OSError:
        return 0, 0
    return facts.st_size, facts.st_mtime_ns
