"""YuNet: one small network for boxes and five landmarks, on any back end.

Wu, Peng, Yu, "YuNet: a tiny millisecond-level face detector", 2023. OpenCV's own reader
(`FaceDetectorYN`, 4.14) refuses the graph with dynamic shapes; a back end takes it, and the same
decoding then runs with TensorRT.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import cv2
import numpy as np

from jetson_face.core.errors import ModelError
from jetson_face.core.geometry import clip_boxes, iou_matrix, iou_pairs, nms
from jetson_face.core.types import F32, I64, Area, Detections, ImageU8, Pixels, bgr
from jetson_face.detection.detector import moved, sharpened
from jetson_face.detection.shrink import shrink, shrink_fast, small_size
from jetson_face.detection.sized import SizedSearches
from jetson_face.detection.yunet_decode import STRIDES, decode
from jetson_face.detection.yunet_search import PICTURE
from jetson_face.inference.backend import Array, Backend

_OVERLAP_MAX = 0.3
_TOP_K = 1000
TILE_PX = 128
"""Side of the square in which a known face is looked at again, where it is TILE_PX / _TILE_FACES
large. Landmarks need those 80 pixels: with 48 (96 and 2.0) rank-1 of averaged video frames fell
from 87.7 to 86.6 %."""
FOLLOWED_PX = 96, 64
"""Height and width where the face is only followed: 0.4 of the work, and rough landmarks. On the
crowd clip 661 faces are seen with 96 x 96, 660 with 128 x 128, 598 with 64 x 64. Faces are narrower
than high, but those at a tile's edge score less: see FOLLOWED_SHARE."""
LARGE = 2.0
"""Faces larger than the smallest wanted by this factor are found by a search for large ones, in 0.2
of the time. On the crowd clip 6.20 ± 0.05 faces a frame are seen so, and 6.25 ± 0.04 with 1.6,
which takes 0.3."""
_LARGE_FROM_PX = 700
_FAST_FROM_PX = 1000
"""On 320x240 frames with faces of 40 pixels 90.0 % are found, 89.2 when shrunk the fast way, 86.7
when every other search is for large ones only; they are searched in a few milliseconds anyway."""
_TILE_FACES = 1.6
KNOWN_SHARE = 0.7
"""Share of score_min that a face has to reach where one is known to be. On the crowd clip 96 % of
the faces found are then found again two pixels away; with all of it 90 %, by O-Net 82 %."""
FOLLOWED_SHARE = 0.6
"""The same where it is only followed. On the crowd clip 6.28 ± 0.05 faces a frame are seen so, 6.08
with 0.7, and 6.25 ± 0.03 with 0.7 in tiles of 96 x 96. On three made clips all three find 97 % of
the faces, and nothing that is none."""
_FOLLOWED_IOU_MIN = 0.3
_AS_GOOD = 0.02
"""A face's cells that come so near to its best one are averaged with it: of two that are as good
rounding would pick one, and their landmarks are some pixels apart. On two photos each of 107 people
of LFW genuine pairs then have a mean cosine of 0.615, not 0.613."""
_SAME_FACE_IOU_MIN = 0.5
SEARCHED_FACE_PX = 24
"""Longer side that the smallest face wanted has in the network's picture. On the crowd clip, frames
shrunk so that it is 20 px find 133 faces of 40 px and more, at 16.7 px 125, at 13.3 px 112, and not
shrunk 121. On made 320x240 frames with faces of about 40 px 24 px find 91 % and name 80 %, as MTCNN
does, and 20 px 64 and 20 %."""
_SMALLER = 0.75
"""Of the smallest face wanted: what is found a little below is kept, as MTCNN keeps it. On 320x240
frames with faces of about 40 px, half of them were dropped without that."""

_Use: TypeAlias = Literal["all", "large", "area"]
"""What a picture is searched for, or that it is a part of one."""


class YuNet:
    """Detector and refiner over a back end with YuNet's graph.

    backend: takes one picture of any size. tiles: takes any number of TILE_PX squares; None:
    `backend` does both. searches: by width and height of a picture as given, what runs
    `yunet_search`'s graph for it; `backend` and the CPU's shrinking serve all others. score_min:
    [0, 1]. min_face_px: faces below three quarters of it are not returned, and pictures are shrunk
    until a face of it has SEARCHED_FACE_PX. max_faces, max_side_px: see Mtcnn. together: so many
    pictures of one size are searched in one run; any_together: by `backend`, too. Raises ModelError
    on another graph, or a search made for other settings.
    """

    name = "yunet"

    def __init__(
        self,
        backend: Backend,
        *,
        tiles: Backend | None = None,
        searches: Mapping[tuple[int, int], Backend] | None = None,
        score_min: float = 0.7,
        min_face_px: float = 20,
        max_faces: int = 32,
        max_side_px: int | None = None,
        together: int = 1,
        any_together: bool = True,
    ) -> None:
        self._backend = backend
        self._tiles = backend if tiles is None else tiles
        self._searches = SizedSearches(searches, "by a plan for any size")
        for each in self._backends():
            _check_graph(each)
        self.takes_bgrx = bool(self._searches)
        self._input = next(iter(backend.inputs))
        self._score_min = score_min
        self._min_face_px = min_face_px
        self._max_faces = max_faces
        self._max_side_px = max_side_px
        self._together, self._any_together = together, any_together
        self._planes: dict[_Use, F32] = {}
        self._filled: dict[_Use, tuple[int, int, int]] = {}
        for size, search in self._searches.items():
            self._check_search(size, search)

    def detect(self, image: Pixels) -> Detections:
        """The faces of an image, best first.

        Where the picture was shrunk for the search, the landmarks are those of a second look at
        each face, see `refine`: crops by those of the shrunk picture lost 1.6 points of rank-1.
        """
        found = self.search(image)
        if not len(found) or self._side_px(image) >= max(image.shape[:2]):
            return found
        return sharpened(self, image, found)

    def sharpen(self, image: Pixels, boxes: F32) -> F32:
        """Landmarks (N, 5, 2) of the faces in known boxes (N, 4), by a second look. See
        SecondLook."""
        return self.refine(image, boxes).landmarks

    def search(self, image: Pixels) -> Detections:
        """As `detect`, landmarks as exact as the picture that is searched."""
        return self.search_many([image])[0]

    def search_many(self, images: Sequence[Pixels], *, large: bool = False) -> list[Detections]:
        """As `search` or `search_large`, pictures of one size in one run. See SearchMany."""
        side, longer = self._side_px(images[0]), max(images[0].shape[:2])
        if large:
            return self._search(images, max(1, round(side / LARGE)), "large", longer)
        return self._search(images, side, "all", longer)

    def together(self, size: tuple[int, int]) -> int:
        """How many pictures of (width, height) `size` one run takes. See SearchMany."""
        return self._together if self._any_together or size in self._searches else 1

    def search_area(self, image: Pixels, area: Area) -> Detections:
        """As `search`, of a part of the picture, at the scale of the whole. See AreaSearch."""
        left, top, right, bottom = area
        whole_px = max(image.shape[:2])
        side = math.ceil(self._side_px(image) * max(right - left, bottom - top) / whole_px)
        part = image[top:bottom, left:right]
        return moved(self._search([part], side, "area", whole_px)[0], area)

    def takes_areas(self, size: tuple[int, int]) -> bool:
        """Not where a plan of its own searches all of the picture. See AreaSearch."""
        return size not in self._searches

    def search_large(self, image: Pixels) -> Detections:
        """As `search`, for faces LARGE times the smallest one wanted. See LargeFirst."""
        return self.search_many([image], large=True)[0]

    def saves(self, size: tuple[int, int]) -> bool:
        """Not on pictures that are searched at few pixels anyway, or by a plan of their own."""
        side = searched_side(max(size), self._min_face_px, self._max_side_px)
        return side >= _LARGE_FROM_PX and size not in self._searches

    def _search(
        self, images: Sequence[Pixels], side_px: int, use: _Use, whole_px: int
    ) -> list[Detections]:
        """What is found at `side_px` in pictures of one size. whole_px: longer side of the pictures
        that they are of."""
        maps, columns = self._maps(images, side_px, use, whole_px)
        row, *found = decode(maps, columns, self._score_min)
        shape = images[0].shape[:2]
        return [
            self._picked(shape, side_px, *(part[row == n] for part in found))
            for n in range(len(images))
        ]

    def _picked(
        self, shape: tuple[int, ...], side_px: int, boxes: F32, scores: F32, points: F32
    ) -> Detections:
        """Of what was found in a picture (height, width) at `side_px`, each face once."""
        height, width = shape
        _, scale = small_size((width, height), side_px)
        boxes = clip_boxes(boxes / np.float32(scale), width, height)
        size = boxes[:, 2:] - boxes[:, :2]
        least = _SMALLER * self._min_face_px
        good = (size.max(axis=1, initial=0) >= least) & (size.min(axis=1, initial=np.inf) >= 1)
        best = np.flatnonzero(good)
        best = best[np.argsort(-scores[best], kind="stable")][:_TOP_K]
        keep = best[nms(boxes[best], scores[best], _OVERLAP_MAX)][: self._max_faces]
        near = iou_matrix(boxes[keep], boxes[best]) >= _SAME_FACE_IOU_MIN
        weights = np.where(near, np.maximum(scores[best] - scores[keep, None] + _AS_GOOD, 0), 0)
        weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
        return Detections(
            np.asarray(weights @ boxes[best], np.float32),
            scores[keep],
            np.asarray(np.tensordot(weights, points[best], 1) / scale, np.float32),
        )

    def refine(self, image: Pixels, boxes: F32) -> Detections:
        """Known boxes (N, 4) moved onto their faces; a lost face has score 0. See Refiner.

        The network sees each in a tile of its own, all tiles in one run: thirty faces are as many
        pixels as one search of a 1080p frame.
        """
        return self._look(image, boxes, (TILE_PX, TILE_PX), KNOWN_SHARE)

    def follow(self, image: Pixels, boxes: F32) -> Detections:
        """As `refine`, with rough landmarks, in a quarter of the time. See SecondLook."""
        return self._look(image, boxes, FOLLOWED_PX, FOLLOWED_SHARE)

    def _look(self, image: Pixels, boxes: F32, size: tuple[int, int], share: float) -> Detections:
        """The faces in known boxes (N, 4), each in a tile of `size` (height, width), that reach
        this share of the least score."""
        boxes = np.asarray(boxes, np.float32)
        found = Detections(
            boxes.copy(),
            np.zeros(len(boxes), np.float32),
            np.full((len(boxes), 5, 2), np.nan, np.float32),
        )
        if not len(boxes):
            return found
        tiles, corners, scales = cut_tiles(image, boxes, size)
        planes = tiles.transpose(0, 3, 1, 2).astype(np.float32, order="C")
        maps = self._tiles.run({self._input: planes})
        row, faces, scores, points = decode(maps, size[1], self._score_min * share)
        factor, corner = scales[row, None, None], corners[row, None]
        faces = (faces.reshape(-1, 2, 2) / factor + corner).reshape(-1, 4)
        faces = clip_boxes(faces, image.shape[1], image.shape[0])
        points = points / factor + corner
        near = iou_pairs(boxes[row], faces)
        near[near < _FOLLOWED_IOU_MIN] = 0
        worth = near * scores
        best = np.zeros(len(boxes), np.float32)
        np.maximum.at(best, row, worth)
        weights = np.where(near > 0, np.maximum(worth - best[row] + _AS_GOOD, 0), 0)
        seen = best > 0
        means = _means(row, weights, len(boxes), faces, scores[:, None], points.reshape(-1, 10))
        found.boxes[seen], found.scores[seen] = means[0][seen], means[1][seen, 0]
        found.landmarks[seen] = means[2][seen].reshape(-1, 5, 2)
        return found

    def _maps(
        self, images: Sequence[Pixels], side_px: int, use: _Use, whole_px: int
    ) -> tuple[Mapping[str, Array], int]:
        """What the network says of whole pictures, and how many pixels wide it saw them."""
        search = self._searches.of(images[0]) if use == "all" else None
        if search is None:
            make_smaller = shrink_fast if whole_px >= _FAST_FROM_PX else shrink
            planes = self._padded([make_smaller(bgr(each), side_px)[0] for each in images], use)
            return self._backend.run({self._input: planes}), planes.shape[3]
        pictures = [_bgrx(each)[None] for each in images]
        picture = pictures[0] if len(pictures) == 1 else np.concatenate(pictures)
        return search.run({PICTURE: picture}), self._searched_size(images[0].shape[1::-1])[1]

    def _padded(self, images: Sequence[ImageU8], use: _Use) -> F32:
        """The pictures' colours as planes (N, 3, H, W), black up to multiples of 32.

        Into memory that is kept: fresh memory for each frame took longer than filling it, 9 ms
        where this takes 0.5.
        """
        height, width = images[0].shape[:2]
        shape = (len(images), 3, *padded_size((height, width)))
        count = math.prod(shape)
        if self._filled.get(use) != (len(images), height, width):
            if use not in self._planes or self._planes[use].size < count:
                self._planes[use] = np.empty(count, np.float32)
            self._planes[use][:count] = 0
            self._filled[use] = len(images), height, width
        planes = self._planes[use][:count].reshape(shape)
        for image, into in zip(images, planes, strict=True):
            for plane, colour in zip(into, cv2.split(image), strict=True):
                plane[:height, :width] = colour
        return planes

    def _side_px(self, image: Pixels) -> int:
        """Longer side to search at: min_face_px needs no more pixels than the network does."""
        return searched_side(max(image.shape[:2]), self._min_face_px, self._max_side_px)

    def _check_search(self, size: tuple[int, int], search: Backend) -> None:
        many = None if self._together > 1 else 1
        wanted = (many, size[1], size[0], 4)
        have = search.inputs[PICTURE].shape if PICTURE in search.inputs else None
        cells = math.prod(self._searched_size(size)) // STRIDES[0] ** 2
        answers = search.outputs[f"cls_{STRIDES[0]}"].shape[1]
        if have != wanted or answers != cells:
            raise ModelError(
                f"the search for {size[0]}x{size[1]} takes {have} and answers for {answers} cells; "
                f"these settings want {wanted} and {cells}"
            )

    def _searched_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of what the network sees of a picture of (width, height) `size`."""
        return search_size(size, self._min_face_px, self._max_side_px)

    def _backends(self) -> list[Backend]:
        """Each once."""
        every = [self._backend, self._tiles, *self._searches]
        return list({id(backend): backend for backend in every}.values())

    def close(self) -> None:
        """Close the back ends."""
        for backend in self._backends():
            backend.close()


def _bgrx(image: Pixels) -> ImageU8:
    if image.shape[2] == 4:
        return image
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2BGRA), np.uint8)


def _check_graph(backend: Backend) -> None:
    wanted = {f"{part}_{s}" for part in ("cls", "obj", "bbox", "kps") for s in STRIDES}
    if not wanted <= backend.outputs.keys() or len(backend.inputs) != 1:
        raise ModelError(f"not YuNet's graph: it has the outputs {sorted(backend.outputs)}")


def padded_size(size: tuple[int, int]) -> tuple[int, int]:
    """Both sides as multiples of the network's largest stride, never smaller."""
    return size[0] + -size[0] % STRIDES[-1], size[1] + -size[1] % STRIDES[-1]


def search_size(
    size: tuple[int, int], min_face_px: float, max_side_px: int | None
) -> tuple[int, int]:
    """Height and width of what the network gets for a picture of (width, height) `size`."""
    width, height = small_size(size, searched_side(max(size), min_face_px, max_side_px))[0]
    return padded_size((height, width))


def searched_side(side: int, min_face_px: float, max_side_px: int | None) -> int:
    """Pixels of the longer side that a picture of `side` is searched at; never more than it has."""
    needed = math.ceil(side * min(1.0, SEARCHED_FACE_PX / min_face_px))
    return max(1, needed if max_side_px is None else min(needed, max_side_px))


def cut_tiles(image: Pixels, boxes: F32, size: tuple[int, int]) -> tuple[ImageU8, F32, F32]:
    """Around each box (N, 4) a tile of `size` (height, width), pixels: tiles (N, height, width, 3),
    corners (N, 2), scales (N,) to it.

    A tile is as high as _TILE_FACES times the box's longer side; black outside the image.
    """
    height, width = size
    sides = np.maximum((boxes[:, 2:] - boxes[:, :2]).max(axis=1), 1) * _TILE_FACES
    scales = np.asarray(height / sides, np.float32)
    extents = np.array([width / height, 1], np.float32) * sides[:, None]
    corners = np.asarray((boxes[:, :2] + boxes[:, 2:] - extents) / 2, np.float32)
    tiles = np.empty((len(boxes), height, width, image.shape[2]), np.uint8)
    matrices = np.zeros((len(boxes), 2, 3), np.float32)
    matrices[:, 0, 0] = matrices[:, 1, 1] = scales
    matrices[:, :, 2] = -corners * scales[:, None]
    for matrix, tile in zip(matrices, tiles, strict=True):
        cv2.warpAffine(image, matrix, (width, height), dst=tile, flags=cv2.INTER_LINEAR)
    return tiles[..., :3], corners, scales


def _means(row: I64, weights: F32, count: int, *values: F32) -> list[F32]:
    """Weighted means (count, K) of `values` (n, K), by the row (n,) that each belongs to."""
    shares = np.zeros((count, len(row)), np.float32)
    shares[row, np.arange(len(row))] = weights
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)
    return [np.asarray(shares @ value, np.float32) for value in values]
