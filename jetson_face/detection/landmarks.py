"""Five landmarks for detectors that give only boxes: alignment must come from landmarks.

A face cut by the box of a cascade alone costs recognition about 8 points of accuracy (deepface's
published comparison of detectors).
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import cv2
import numpy as np

from jetson_face.core.errors import ModelError
from jetson_face.core.geometry import apply_transforms, similarity_transforms, square_boxes
from jetson_face.core.types import F32, ImageU8
from jetson_face.detection.detector import Refiner
from jetson_face.models.cards import ModelCard, resolve
from jetson_face.util.optional import needs, pip_install

# An average upright face: eyes, nose, mouth corners as MTCNN places them, and the base of the nose.
_FACE = np.array(
    [[-0.5, 0], [0.5, 0], [0, 0.57], [-0.44, 1.14], [0.44, 1.14]],
    np.float32,
)
_NOSE_BASE = np.array([0, 0.76], np.float32)


class PointFinder(Protocol):
    """(H, W, 3) BGR image and boxes (N, 4) to landmarks (N, 5, 2); NaN where it finds none."""

    def points(self, image: ImageU8, boxes: F32) -> F32: ...


class OnetPoints:
    """MTCNN's third network on squares around the boxes. It also says where there is no face."""

    def __init__(self, refiner: Refiner) -> None:
        self._refiner = refiner

    def points(self, image: ImageU8, boxes: F32) -> F32:
        """See PointFinder."""
        squares = square_boxes(np.asarray(boxes, np.float32))
        return self._refiner.refine(image, squares).landmarks


class DlibPoints:
    """dlib's shape predictor with 68 or with 5 points, reduced to ours.

    The one with 5 has the corners of the eyes and the base of the nose; nose tip and mouth corners
    follow from them by an average face. Raises ModelError, MissingDependencyError.
    """

    def __init__(self, card: ModelCard, kind: Literal["dlib68", "dlib5"]) -> None:
        self._dlib = import_dlib()
        self._kind = kind
        self._predictor = open_dlib(self._dlib.shape_predictor, card, kind)

    def points(self, image: ImageU8, boxes: F32) -> F32:
        """See PointFinder."""
        return self.points_rgb(np.ascontiguousarray(image[:, :, ::-1]), boxes)

    def points_rgb(self, rgb: ImageU8, boxes: F32) -> F32:
        """The same for a contiguous RGB picture."""
        out = np.empty((len(boxes), 5, 2), np.float32)
        for row, (left, top, right, bottom) in enumerate(np.asarray(boxes).round().astype(int)):
            area = self._dlib.rectangle(int(left), int(top), int(right), int(bottom))
            parts = self._predictor(rgb, area).parts()
            shape = np.array([(part.x, part.y) for part in parts], np.float32)
            out[row] = five_of_68(shape) if self._kind == "dlib68" else five_of_5(shape)
        return out


class EyePoints:
    """OpenCV's eye cascade in the upper half of each box; the rest by an average face.

    Raises ModelError as `open_cascade`.
    """

    def __init__(self, cascade: Any) -> None:
        self._cascade = cascade

    def points(self, image: ImageU8, boxes: F32) -> F32:
        """See PointFinder."""
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        out = np.full((len(boxes), 5, 2), np.nan, np.float32)
        for row, box in enumerate(np.asarray(boxes).round().astype(int)):
            eyes = self._eyes(grey, *(int(edge) for edge in box))
            if eyes is not None:
                out[row] = face_from(eyes, _FACE[:2])
        return out

    def _eyes(self, grey: Any, left: int, top: int, right: int, bottom: int) -> F32 | None:
        """Centres (2, 2) of the best eye in each half of the box, left one first."""
        width, height = right - left, bottom - top
        upper = grey[max(top, 0) : max(top, 0) + round(height * 0.6), max(left, 0) : right]
        if min(upper.shape) < 10:
            return None
        least = max(width // 8, 5)
        found, counts = self._cascade.detectMultiScale2(upper, 1.05, 3, 0, (least, least))
        best: list[tuple[int, tuple[float, float]] | None] = [None, None]
        for (x, y, w, h), count in zip(found, counts, strict=True):
            centre = x + w / 2 + max(left, 0), y + h / 2 + max(top, 0)
            side = int(centre[0] > left + width / 2)
            now = best[side]
            if now is None or int(count) > now[0]:
                best[side] = int(count), centre
        if best[0] is None or best[1] is None:
            return None
        eyes = np.array([best[0][1], best[1][1]], np.float32)
        across = eyes[1] - eyes[0]
        fits = 0.25 * width < across[0] < 0.7 * width and abs(across[1]) < 0.5 * across[0]
        return eyes if fits else None


def five_of_68(shape: F32) -> F32:
    """Our points (5, 2) of the 68 of the iBUG scheme, counted from 0 (68, 2)."""
    return np.stack(
        [shape[36:42].mean(axis=0), shape[42:48].mean(axis=0), shape[30], shape[48], shape[54]]
    )


def five_of_5(shape: F32) -> F32:
    """Our points (5, 2) of dlib's (5, 2): outer and inner corner of the eye at the image's right,
    of the one at its left, base of the nose."""
    known = np.stack([shape[2:4].mean(axis=0), shape[0:2].mean(axis=0), shape[4]])
    points = face_from(known, np.concatenate([_FACE[:2], _NOSE_BASE[None]]))
    points[:2] = known[:2]
    return points


def face_from(known: F32, places: F32) -> F32:
    """The average face (5, 2) moved so that its `places` (K, 2) lie on the `known` ones (K, 2)."""
    matrix = similarity_transforms(places[None], known)
    return np.asarray(apply_transforms(matrix, _FACE[None])[0], np.float32)


def import_dlib() -> Any:
    """dlib. Raises MissingDependencyError."""
    with needs(f"dlib is not installed: {pip_install('dlib')}"):
        import dlib
    return dlib


def open_dlib(loader: Any, card: ModelCard, part: str) -> Any:
    """A model of dlib's own file format. Raises ModelError."""
    path = resolve(card, part)
    try:
        return loader(str(path))
    except RuntimeError as exc:
        raise ModelError(f"{path}: dlib cannot read it: {exc}") from exc


def open_cascade(name: str) -> Any:
    """One of the cascades that come with OpenCV, by its file name.

    Raises ModelError where this OpenCV has no cascades (5.0 dropped them) or not this one.
    """
    if not hasattr(cv2, "CascadeClassifier"):
        raise ModelError(
            f"OpenCV {cv2.__version__} has no CascadeClassifier: "
            "pip install 'opencv-python-headless>=4.8,<5'"
        )
    folder = getattr(getattr(cv2, "data", None), "haarcascades", "/usr/share/opencv4/haarcascades/")
    cascade = cv2.CascadeClassifier(folder + name)
    if cascade.empty():
        raise ModelError(f"{folder}{name}: not a cascade that OpenCV can read; reinstall OpenCV")
    return cascade
