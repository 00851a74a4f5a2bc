"""Makes the centroids of a network's unrecognisable crops from pictures of people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np

from jetson_face.benchmark.clips import decoys
from jetson_face.config import Config
from jetson_face.core.errors import InputBrokenError
from jetson_face.core.types import Box, Embeddings, ImageU8
from jetson_face.embedding.recognisable import Recognisability
from jetson_face.factory.parts import Parts, build_parts
from jetson_face.util.images import SUFFIXES, read_picture

FACES = 100
_FACES_MIN = 20
_TINY_PX = 6
_BLUR = 0.125
"""Sigma in sides of the crop."""


def make_recognisability(config: Config, pictures: Path, *, seed: int = 1) -> Recognisability:
    """From faces blurred away, faces of a few pixels, and as many crops that are no face.

    pictures: a folder, searched with all below it; `FACES` of its faces are used.
    Raises InputBrokenError where there are too few faces, and the networks' errors.
    """
    with closing(build_parts(config)) as parts:
        random = np.random.default_rng(seed)
        blurred: list[ImageU8] = []
        tiny: list[ImageU8] = []
        other: list[ImageU8] = []
        for crop, picture, box in _faces(parts, pictures, random):
            side = crop.shape[0]
            blurred.append(np.asarray(cv2.GaussianBlur(crop, (0, 0), _BLUR * side), np.uint8))
            small = cv2.resize(crop, (_TINY_PX, _TINY_PX), interpolation=cv2.INTER_AREA)
            tiny.append(np.asarray(cv2.resize(small, (side, side)), np.uint8))
            other.append(_no_face(len(other), picture, box, side, random))
        if len(tiny) < _FACES_MIN:
            raise InputBrokenError(
                f"{pictures}: {len(tiny)} faces found, {_FACES_MIN} are needed: give more pictures"
            )
        return Recognisability.of([_embedded(parts, some) for some in (blurred, tiny, other)])


def _faces(
    parts: Parts, folder: Path, random: np.random.Generator
) -> Iterator[tuple[ImageU8, ImageU8, Box]]:
    """Aligned crop, picture and box of each face."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    found = 0
    for index in random.permutation(len(paths)):
        image = read_picture(paths[index])
        faces = parts.detector.detect(image)
        if len(faces) and np.isfinite(faces.landmarks[0]).all():
            left, top, right, bottom = (float(edge) for edge in faces.boxes[0])
            yield (
                parts.aligner.crop(image, faces.landmarks[:1])[0],
                image,
                (left, top, right, bottom),
            )
            found += 1
        if found == FACES:
            return


def _no_face(
    number: int, picture: ImageU8, face: Box, side: int, random: np.random.Generator
) -> ImageU8:
    if number % 3 == 0:
        made = decoys.back_of_head(random).image
    elif number % 3 == 1:
        made = decoys.texture(random).image
    else:
        made = decoys.beside_face(picture, face, random).image
    edge = int(len(made) * float(random.uniform(0.05, 0.25)))
    return np.asarray(cv2.resize(made[edge:-edge, edge:-edge], (side, side)), np.uint8)


def _embedded(parts: Parts, crops: list[ImageU8]) -> Embeddings:
    groups = [np.stack(crops[start : start + 8]) for start in range(0, len(crops), 8)]
    vectors = [parts.embedder.embed(group).vectors.copy() for group in groups]
    return Embeddings(np.concatenate(vectors), parts.embedder.space)
