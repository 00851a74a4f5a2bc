"""MTCNN: finds faces in three steps and follows known faces with the third alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import cv2
import numpy as np

from jetson_face.core.errors import ModelError
from jetson_face.core.geometry import clip_boxes, square_boxes
from jetson_face.core.types import F32, Area, Detections, ImageU8
from jetson_face.detection.detector import moved
from jetson_face.detection.mtcnn.decode import (
    cut_patches,
    proposals,
    pyramid_scales,
    regress,
    suppress,
)
from jetson_face.detection.mtcnn.onet import OnetRefiner
from jetson_face.detection.mtcnn.pyramid import Level, build_pyramid, pyramid_levels
from jetson_face.detection.shrink import shrink, small_size
from jetson_face.detection.sized import SizedSearches
from jetson_face.inference.backend import Backend

_PNET_OVERLAP_MAX = 0.5
_OVERLAP_MAX = 0.7
_PROPOSALS_MIN, _CELLS_EACH = 100, 460
"""R-Net gets the best 100 proposals, or one for so many of P-Net's cells: 200 of a 1080p frame.
With 240 on average it took a seventh of the time on the crowd clip. All 603 faces of the reference
stay as they are; with half as many two are lost."""
_LARGE_FROM_PX = 960
"""Of a 640x480 frame a whole search takes a fifth of a 1080p frame's time."""


class Mtcnn:
    """Detector and refiner over three back ends that run the graphs of `graph`.

    min_face_px: smallest face looked for, pixels of the image as given: time grows with its
    inverse square. pyramid_factor: ratio of neighbouring pyramid levels. thresholds: least score
    after P-, R- and O-Net. max_faces: the best so many are returned. drop_below_px: a box whose
    longer side is below this is not returned. max_side_px: search on a picture shrunk to this
    longer side; None: full size. candidates_max: the best so many proposals of a pyramid level
    are looked at, which bounds the time on a picture full of texture. searches: by width and height
    of a picture as given, what runs `mtcnn_search`'s graph for it; P-Net and the CPU's resizing
    serve all others.
    Raises ValueError on a parameter out of range, ModelError on a search made for other settings.
    """

    name = "mtcnn"

    def __init__(
        self,
        pnet: Backend,
        rnet: Backend,
        onet: Backend,
        *,
        min_face_px: float = 40,
        pyramid_factor: float = 0.709,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7),
        max_faces: int = 32,
        drop_below_px: float = 0,
        max_side_px: int | None = None,
        candidates_max: int = 500,
        searches: Mapping[tuple[int, int], Backend] | None = None,
    ) -> None:
        if min_face_px < 12 or not 0.3 < pyramid_factor < 0.95 or max_faces < 1:
            raise ValueError(
                "MTCNN needs min_face_px >= 12, 0.3 < pyramid_factor < 0.95, max_faces >= 1; got "
                f"{min_face_px}, {pyramid_factor}, {max_faces}"
            )
        self._pnet, self._rnet = pnet, rnet
        self._onet = OnetRefiner(onet, score_min=thresholds[2])
        self._min_face_px = min_face_px
        self._factor = pyramid_factor
        self._thresholds = thresholds
        self._max_faces = max_faces
        self._drop_below_px = drop_below_px
        self._max_side_px = max_side_px
        self._candidates_max = candidates_max
        self._searches = SizedSearches(searches, "level by level")
        for size, search in self._searches.items():
            self._check_search(size, search)

    def detect(self, image: ImageU8) -> Detections:
        """The faces of a (H, W, 3) BGR image, best first."""
        small, scale = shrink(image, self._max_side_px)
        levels = self._levels(image, self._max_side_px)
        search = self._searches.of(image)
        maps = self._maps(small, levels) if search is None else _found(search, small, len(levels))
        return self._find(image, small, scale, levels, maps)

    def search_large(self, image: ImageU8) -> Detections:
        """As `detect`, without the pyramid's first level: half of its cells. See LargeFirst."""
        small, scale = shrink(image, self._max_side_px)
        levels = self._levels(image, self._max_side_px)[1:]
        return self._find(image, small, scale, levels, self._maps(small, levels))

    def search_area(self, image: ImageU8, area: Area) -> Detections:
        """As `detect`, of a part of the picture, at the scale of the whole. See AreaSearch."""
        left, top, right, bottom = area
        part, side = image[top:bottom, left:right], self._max_side_px
        if side is not None:
            side = math.ceil(side * max(part.shape[:2]) / max(image.shape[:2]))
        small, scale = shrink(part, side)
        levels = self._levels(part, side)
        return moved(self._find(part, small, scale, levels, self._maps(small, levels)), area)

    def takes_areas(self, size: tuple[int, int]) -> bool:
        """Not where a plan of its own searches all of the picture. See AreaSearch."""
        return size not in self._searches

    def saves(self, size: tuple[int, int]) -> bool:
        """Not on pictures that are searched at few pixels anyway, or by a plan of their own."""
        side = max(small_size(size, self._max_side_px)[0])
        return side >= _LARGE_FROM_PX and size not in self._searches

    def _find(
        self,
        image: ImageU8,
        small: ImageU8,
        scale: float,
        levels: list[Level],
        maps: Iterator[tuple[F32, F32]],
    ) -> Detections:
        """The faces of `image`, searched as `small`, from what P-Net said of it."""
        boxes = self._propose(levels, maps)
        boxes = self._refine_proposals(small, boxes)
        boxes, scores, points = self._onet.look(small, boxes)
        sure = scores > self._thresholds[2]
        boxes, scores, points = boxes[sure], scores[sure], points[sure]
        keep = suppress(boxes, scores, _OVERLAP_MAX, over="min")
        height, width = image.shape[:2]
        boxes = clip_boxes(boxes[keep] / scale, width, height)
        large = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) >= self._drop_below_px
        found = Detections(boxes, scores[keep], points[keep] / np.float32(scale))
        return found[large][: self._max_faces]

    def refine(self, image: ImageU8, boxes: F32) -> Detections:
        """Known boxes (N, 4) moved onto their faces by O-Net alone; a lost face has score 0."""
        return self._onet.refine(image, boxes)

    def close(self) -> None:
        """Close the back ends."""
        for backend in (self._pnet, self._rnet, *self._searches):
            backend.close()
        self._onet.close()

    def _levels(self, image: ImageU8, max_side_px: int | None) -> list[Level]:
        """The pyramid of a picture of this size."""
        size = image.shape[1], image.shape[0]
        return search_levels(size, self._min_face_px, self._factor, max_side_px=max_side_px)[1]

    def _maps(self, image: ImageU8, levels: list[Level]) -> Iterator[tuple[F32, F32]]:
        """P-Net's offsets (4, h, w) and scores (h, w) of each level."""
        for level in build_pyramid(image, levels):
            maps = self._pnet.run({"image": cv2.dnn.blobFromImage(level)})
            yield maps["offsets"][0], maps["scores"][0, 0]

    def _propose(self, levels: list[Level], maps: Iterator[tuple[F32, F32]]) -> F32:
        """Squares (N, 4) that P-Net takes for faces."""
        found: list[tuple[F32, F32]] = []
        cells = 0
        for level, (offsets, scores) in zip(levels, maps, strict=True):
            cells += scores.size
            boxes, picked = proposals(
                offsets, scores, level.scale, self._thresholds[0], self._candidates_max
            )
            keep = suppress(boxes, picked, _PNET_OVERLAP_MAX, ordered=True)
            found.append((boxes[keep], picked[keep]))
        if not found:
            return np.zeros((0, 4), np.float32)
        boxes = np.concatenate([f[0] for f in found])
        scores = np.concatenate([f[1] for f in found])
        best = suppress(boxes, scores, _OVERLAP_MAX)[: max(_PROPOSALS_MIN, cells // _CELLS_EACH)]
        return square_boxes(boxes[best])

    def _check_search(self, size: tuple[int, int], search: Backend) -> None:
        small, levels = search_levels(
            size, self._min_face_px, self._factor, max_side_px=self._max_side_px
        )
        wanted = (1, small[1], small[0], 3)
        have = search.inputs["picture"].shape if "picture" in search.inputs else None
        if have != wanted or len(search.outputs) != 2 * len(levels):
            raise ModelError(
                f"the search for {size[0]}x{size[1]} takes {have} and answers for "
                f"{len(search.outputs) // 2} levels; these settings want {wanted} and {len(levels)}"
            )

    def _refine_proposals(self, image: ImageU8, boxes: F32) -> F32:
        """Squares (M, 4) that R-Net lets pass."""
        result = self._rnet.run({"image": cut_patches(image, boxes, 24)})
        scores = result["scores"][:, 0]
        sure = scores > self._thresholds[1]
        boxes = regress(boxes[sure], result["offsets"][sure])
        return square_boxes(boxes[suppress(boxes, scores[sure], _OVERLAP_MAX)])


def search_levels(
    size: tuple[int, int], min_face_px: float, factor: float, *, max_side_px: int | None
) -> tuple[tuple[int, int], list[Level]]:
    """Width and height that a picture of `size` is searched at, and the pyramid's levels."""
    small, scale = small_size(size, max_side_px)
    scales = pyramid_scales(*small, max(12.0, min_face_px * scale), factor)
    return small, pyramid_levels(*small, scales)


def _found(search: Backend, image: ImageU8, levels: int) -> Iterator[tuple[F32, F32]]:
    maps = search.run({"picture": image[None]})
    return ((maps[f"offsets_{i}"][0], maps[f"scores_{i}"][0, 0]) for i in range(levels))
