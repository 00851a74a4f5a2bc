"""Aligned crops: a face's five points moved onto a network's template by a similarity transform."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np

from jetson_face.core.geometry import (
    affine_transforms,
    apply_transforms,
    similarity_transforms,
    transform_scales,
)
from jetson_face.core.types import F32, ImageU8, Pixels, bgr


@dataclass(frozen=True, slots=True)
class Template:
    """Where five points lie in a square crop of `size` pixels.

    points: eye at the image's left, eye at its right, nose, mouth corners left and right; xy.
    triple: where the outer corners of the eyes and the base of the nose go, exactly, which may
    shear the face; None: the five points are met as well as turning, scaling and shifting can.
    """

    name: str
    size: int
    points: tuple[tuple[float, float], ...]
    triple: tuple[tuple[float, float], ...] | None = None

    @property
    def array(self) -> F32:
        """The points as (5, 2) float32."""
        return np.array(self.points, np.float32)


_ARCFACE = Template(
    # The reference points of InsightFace's published ArcFace training crops.
    "arcface112",
    112,
    (
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ),
)
_DLIB = Template(
    # Where MTCNN's points lie, on average over 378 LFW faces, in the chips that dlib's
    # get_face_chip(150, padding 0.25) cuts by its own landmarks: its ResNet was trained on those.
    "dlib150",
    150,
    (
        (46.9, 44.9),
        (100.6, 44.9),
        (73.3, 76.9),
        (50.0, 102.9),
        (97.6, 103.2),
    ),
)
_OPENFACE = Template(
    # OpenFace pins three of dlib's 68 points to its mean face, scaled to fill the 96 pixels. The
    # five points are those of the same mean face.
    "openface96",
    96,
    (
        (26.63, 16.06),
        (67.79, 15.26),
        (47.24, 40.52),
        (29.49, 61.62),
        (65.08, 61.20),
    ),
    triple=((18.64, 16.25), (75.73, 15.18), (47.52, 49.39)),
)
_PORTRAIT = Template(
    # ArcFace's points scaled to half of a 256 px square, face in its middle: what any template
    # needs lies inside, with room for those that show more of the head.
    "portrait256",
    256,
    tuple((128 + (x - 56.0) * 1.6, 128 + (y - 63.0) * 1.6) for x, y in _ARCFACE.points),
)
TEMPLATES: Mapping[str, Template] = MappingProxyType(
    {t.name: t for t in (_ARCFACE, _DLIB, _OPENFACE)}
)
"""By name, as model cards give it in `alignment`."""


class Aligner:
    """Cuts crops that follow one template. Raises ValueError on a name that there is not."""

    def __init__(self, template: str | Template) -> None:
        if isinstance(template, str):
            if template not in TEMPLATES:
                raise ValueError(f"no template {template!r}; there are {', '.join(TEMPLATES)}")
            template = TEMPLATES[template]
        self.template = template

    @property
    def size(self) -> int:
        """Side of the crops, pixels."""
        return self.template.size

    def crop(self, image: Pixels, landmarks: F32) -> ImageU8:
        """Faces of an image by landmarks (N, 5, 2): (N, S, S, 3) uint8 BGR.

        Black where a crop reaches outside the image. Raises ValueError on landmarks that are not
        finite.
        """
        return warp_faces(image, landmarks, self.template)


@dataclass(frozen=True, slots=True, eq=False)
class Portrait:
    """A keepsake of one face that any template can be cut from later.

    image: (256, 256, 3) uint8 BGR. landmarks: (5, 2) float32, pixels of `image`.
    """

    image: ImageU8
    landmarks: F32

    def crop(self, aligner: Aligner) -> ImageU8:
        """The crop that `aligner`'s network needs: (S, S, 3) uint8 BGR."""
        return np.asarray(aligner.crop(self.image, self.landmarks[None])[0], np.uint8)


def cut_portraits(image: ImageU8, landmarks: F32) -> list[Portrait]:
    """One portrait for each face of (N, 5, 2) landmarks. Raises ValueError as `Aligner.crop`."""
    crops = warp_faces(image, landmarks, _PORTRAIT)
    if not len(crops):
        return []
    placed = apply_transforms(similarity_transforms(landmarks, _PORTRAIT.array), landmarks)
    return [Portrait(crop, points) for crop, points in zip(crops, placed, strict=True)]


def warp_faces(image: Pixels, landmarks: F32, template: Template) -> ImageU8:
    """`Aligner.crop` for any template.

    A face much larger than the template is averaged down by whole factors before it is warped:
    bilinear samples alone would skip pixels and alias.
    """
    landmarks = np.asarray(landmarks, np.float32)
    out = np.zeros((len(landmarks), template.size, template.size, 3), np.uint8)
    if not len(landmarks):
        return out
    if template.triple is not None:
        triple = np.array(template.triple, np.float32)
        matrices = affine_transforms(eyes_and_nose(landmarks), triple)
    else:
        matrices = similarity_transforms(landmarks, template.array)
    scales = transform_scales(matrices)
    size = (template.size, template.size)
    for i, (matrix, scale) in enumerate(zip(matrices, scales, strict=True)):
        source, matrix = _pre_shrink(image, matrix, float(scale), template.size)
        if image.shape[2] == 3:
            cv2.warpAffine(source, matrix, size, dst=out[i], flags=cv2.INTER_LINEAR)
        else:  # the crop alone is made BGR
            out[i] = bgr(np.asarray(cv2.warpAffine(source, matrix, size), np.uint8))
    return out


def eyes_and_nose(landmarks: F32) -> F32:
    """Outer corners of the eyes and base of the nose (N, 3, 2), estimated from our (N, 5, 2).

    Least squares over the 68 points that dlib found in 150 LFW faces. OpenFace's crops made so are
    off by 1.4 of 96 pixels (median of the mean shift over a crop; 95th percentile 2.7) from those
    by the 68 points; pinning eye centres and nose tip instead is off by 5.0 (14.6).
    """
    left, right, nose = landmarks[:, 0], landmarks[:, 1], landmarks[:, 2]
    across, eyes = right - left, (left + right) / 2
    mouth = landmarks[:, 3:].mean(axis=1)
    base = nose + 0.352 * (mouth - nose) - 0.058 * (eyes - nose)
    triple = np.stack([left - 0.193 * across, right + 0.193 * across, base], axis=1)
    return np.asarray(triple, np.float32)


def _pre_shrink(image: Pixels, matrix: F32, scale: float, size: int) -> tuple[Pixels, F32]:
    """The part of the image that the crop shows, averaged over factor x factor pixels.

    Returns it with the matrix that maps its pixels. Unchanged where the face is no more than 1.5
    times the template.
    """
    factor = int(1 / max(scale, 1e-6) + 0.5)
    if factor < 2:
        return image, matrix
    inverse = cv2.invertAffineTransform(matrix)
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]], np.float32)
    reach = corners @ inverse[:, :2].T + inverse[:, 2]
    height, width = image.shape[:2]
    low = np.floor(reach.min(axis=0)).astype(int) - factor
    high = np.ceil(reach.max(axis=0)).astype(int) + factor
    x0, y0 = int(np.clip(low[0], 0, width)), int(np.clip(low[1], 0, height))
    x1, y1 = int(np.clip(high[0], x0, width)), int(np.clip(high[1], y0, height))
    columns, rows = (x1 - x0) // factor, (y1 - y0) // factor
    if columns < 1 or rows < 1:
        return image, matrix
    part = image[y0 : y0 + rows * factor, x0 : x0 + columns * factor]
    small = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA)
    # Pixel centres: x = x0 + factor * u + (factor - 1) / 2.
    shift = np.array([x0, y0], np.float32) + (factor - 1) / 2
    moved = np.empty((2, 3), np.float32)
    moved[:, :2] = matrix[:, :2] * factor
    moved[:, 2] = matrix[:, :2] @ shift + matrix[:, 2]
    return np.asarray(small, np.uint8), moved
