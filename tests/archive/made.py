"""Made tracks, archives and recordings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from jetson_face.archive.places import ArchivePlace
from jetson_face.archive.store import ArchiveStore
from jetson_face.archive.tracks import ArchivedTrack
from jetson_face.core.protocols import Cipher
from jetson_face.core.types import F32, EmbeddingSpace, ImageU8
from jetson_face.privacy.encryption import AesGcm
from jetson_face.util.images import encode_jpeg, read_picture

SPACE = EmbeddingSpace("made", "0" * 64, 32)
KEY = AesGcm(bytes(range(32)))
MARCH = 1_773_475_200.0
"""2026-03-14 08:00 UTC."""
CROP = encode_jpeg(np.full((64, 64, 3), 120, np.uint8))


def vectors(count: int, seed: int = 1, dim: int = SPACE.dim) -> F32:
    """(count, dim) random unit vectors."""
    made = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)


def track(
    template: F32,
    number: int = 0,
    *,
    piece: str = "a" * 16 + "-000000000",
    camera: str = "door",
    start: float = MARCH,
    seconds: float = 4.0,
) -> ArchivedTrack:
    """A track of a piece."""
    return ArchivedTrack(
        id=f"{piece}-{number:05d}",
        piece=piece,
        camera=camera,
        start=start,
        end=start + seconds,
        media_s=start - MARCH,
        frames=3,
        quality=0.7,
        template=template,
        crops=(CROP, CROP + b"second"),
        boxes=np.array([[0, 1, 2, 3, 4], [0.5, 2, 3, 4, 5]], np.float32),
    )


def archive(
    folder: Path, *, cipher: Cipher | None = KEY, space: EmbeddingSpace = SPACE
) -> ArchiveStore:
    """A new one."""
    return ArchiveStore.create(ArchivePlace(str(folder)), space, cipher)


def fill(
    store: ArchiveStore,
    templates: F32,
    *,
    a_piece: int = 10,
    cameras: Sequence[str] = ("door", "yard"),
    days: int = 3,
) -> list[ArchivedTrack]:
    """The templates as tracks of several pieces, cameras and days."""
    made = []
    for begin in range(0, len(templates), a_piece):
        number = begin // a_piece
        piece = f"{number:016x}-000000000"
        start = MARCH + 86_400 * (number % days) + 60 * number
        own = [
            track(
                template,
                at,
                piece=piece,
                camera=cameras[number % len(cameras)],
                start=start + 10 * at,
            )
            for at, template in enumerate(templates[begin : begin + a_piece])
        ]
        store.add(piece, own)
        made += own
    return made


def recording(
    path: Path,
    portrait: Path,
    *,
    seconds: float = 4.0,
    fps: int = 10,
    here: tuple[float, float] = (0.0, 1e9),
) -> Path:
    """A quiet room in 320 x 240 where somebody walks to the right between two seconds `here`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    face: ImageU8 = cv2.resize(read_picture(portrait)[0:300, 80:380], (160, 160))
    noise = np.random.default_rng(1)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (320, 240))
    for number in range(round(seconds * fps)):
        frame = np.full((240, 320, 3), 120, np.uint8)
        frame += noise.integers(0, 3, frame.shape, np.uint8)
        if here[0] <= number / fps < here[1]:
            left = 10 + int(140 * (number / fps - max(here[0], 0)) / seconds)
            frame[40:200, left : left + 160] = face
        writer.write(frame)
    writer.release()
    return path


def encoded(path: Path, images: Iterable[ImageU8], **options: str) -> Path:
    """The pictures at 25 a second, a key frame in each second, as `AvWriter` writes them."""
    from av_writer import AvWriter

    writer = AvWriter(path, bit_rate=400_000, **{"g": "25", **options})  # type: ignore[arg-type]
    for image in images:
        writer.write(image)
    writer.release()
    return path


def moving(count: int, size: tuple[int, int] = (160, 120)) -> Iterable[ImageU8]:
    """Pictures (height, width, 3) that all differ: a bright square goes over a grey ramp."""
    width, height = size
    ramp = np.linspace(40, 160, width, dtype=np.uint8)
    for number in range(count):
        image = np.repeat(np.tile(ramp, (height, 1))[..., None], 3, axis=2)
        left, top = (3 * number) % (width - 30), (2 * number) % (height - 30)
        image[top : top + 30, left : left + 30] = (number % 200, 250, 30)
        yield image
