"""The golden faces that ship with the program: what every network must answer alike."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np

from jetson_face.core.errors import EngineError
from jetson_face.core.types import F32, ImageU8
from jetson_face.embedding.align import Aligner
from jetson_face.models.cards import card_dir
from jetson_face.util.images import decode_picture

CANARY_POINTS = ((175.8, 151.9), (246.0, 148.4), (215.3, 190.6), (185.9, 222.7), (242.9, 218.0))
"""Those of the last golden picture, so that the canary needs no detector."""
FIRST_POINTS = ((133.7, 100.1), (176.1, 102.6), (155.2, 127.8), (131.3, 138.3), (174.7, 141.0))
"""Those of the first golden picture."""


def golden_pictures(file: Path | None = None) -> list[ImageU8]:
    """Pictures that are known to show a face: each as it is, mirrored, darker and smaller.

    file: an .npz of JPEG bytes; None: the one that ships. Raises EngineError.
    """
    path = file or card_dir() / "golden_faces.npz"
    pictures: list[ImageU8] = []
    for name, jpeg in _stored(path).items():
        image = decode_picture(jpeg, f"{path.name}/{name}")
        mirrored = np.ascontiguousarray(image[:, ::-1])
        darker = (image * np.float32(0.6)).astype(np.uint8)
        smaller = np.ascontiguousarray(image[::2, ::2])
        pictures += [image, mirrored, darker, smaller]
    return pictures


def _stored(path: Path) -> dict[str, bytes]:
    """The JPEG files of an .npz by name, in order."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name].tobytes() for name in sorted(stored.files)}
    except (OSError, ValueError, BadZipFile) as exc:
        raise EngineError(f"{path}: cannot be read ({exc}): install jetson-face again") from exc


def on_frame(picture: ImageU8, size: tuple[int, int]) -> ImageU8:
    """The picture at the upper left corner of a frame of (width, height), made smaller where it
    must be. Not larger: of a face that fills the frame two boxes are as good, and which of them is
    the better hangs on the last bit."""
    scale = min(1.0, size[0] / picture.shape[1], size[1] / picture.shape[0])
    width, height = (max(1, int(side * scale)) for side in picture.shape[1::-1])
    frame = np.full((size[1], size[0], 3), 127, np.uint8)
    frame[:height, :width] = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return frame


def golden_points() -> F32:
    """The five points of each golden picture's face, as MTCNN finds them: (N, 5, 2) pixels."""
    points: list[F32] = []
    for width, first in ((330, FIRST_POINTS), (410, CANARY_POINTS)):
        plain: F32 = np.array(first, np.float32)
        mirrored = plain[[1, 0, 2, 4, 3]]  # its left is its right
        mirrored[:, 0] = width - 1 - mirrored[:, 0]
        points += [plain, mirrored, plain, plain * np.float32(0.5)]
    return np.stack(points)


def golden_crops(alignment: str) -> ImageU8:
    """The face of each golden picture, aligned: (N, S, S, 3)."""
    aligner = Aligner(alignment)
    pairs = zip(golden_pictures(), golden_points()[:, None], strict=True)
    return np.stack([aligner.crop(image, points)[0] for image, points in pairs])


def golden_face(aligner: Aligner) -> ImageU8:
    """The canary's face, aligned: (1, S, S, 3). No other picture is decoded at each start."""
    path = card_dir() / "golden_faces.npz"
    *_, (name, jpeg) = _stored(path).items()
    picture = decode_picture(jpeg, f"{path.name}/{name}")
    return aligner.crop(picture, np.array([CANARY_POINTS], np.float32))
