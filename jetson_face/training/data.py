"""Training faces: packed zip or plain folders, decoded once into a memory-mapped array.

The sampler.
"""

from __future__ import annotations

import csv
import io
import os
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from jetson_face.core.errors import InputBrokenError, InputMissingError
from jetson_face.core.types import I64, ImageU8

if TYPE_CHECKING:
    from jetson_face.training.settings import DataSettings

SIDE = 112
PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


@dataclass(frozen=True, eq=False)
class FaceSet:
    """Aligned faces (N, 112, 112, 3) uint8 RGB, and what is known of each.

    labels: (N,) int64, -1 unknown. teacher: (N, D). focus: (M,) faces to be drawn more often.
    """

    faces: ImageU8
    labels: I64
    people: tuple[str, ...]
    teacher: NDArray[np.float16] | None
    focus: I64 | None = None

    def __len__(self) -> int:
        return len(self.labels)


def data_folder() -> Path:
    """``JETSON_FACE_DATA``, or ``../shared/data`` beside the project."""
    return Path(os.environ.get("JETSON_FACE_DATA", "../shared/data"))


def load(how: DataSettings, dim: int = 128) -> FaceSet:
    """Read a training set, decoding it into ``how.cache`` the first time.

    ``dim`` for a teacher network.

    Raises:
        InputMissingError: the set or the teacher file is absent.
        InputBrokenError: teacher rows and faces differ in number, or a picture cannot be read.
    """
    source = find(how.packed or how.folder or Path())
    names, people, read = from_zip(source) if how.packed else _from_folder(source)
    path = _decode_to(source, names, read, how.cache)
    faces = np.asarray(np.load(path, allow_pickle=False))  # in memory: 2.2 GB for 60,000
    known = tuple(sorted({p for p in people if p}))
    number = {p: i for i, p in enumerate(known)}
    labels = np.array([number.get(p, -1) for p in people], np.int64)
    teacher = None
    if how.teacher_onnx is not None:
        from jetson_face.training.teacher import teacher_vectors

        model = find(how.teacher_onnx.file)
        teacher = teacher_vectors(how.teacher_onnx, model, faces, dim, how.cache)
    elif how.teacher is not None:
        teacher = np.load(find(how.teacher), allow_pickle=False)
        if len(teacher) != len(labels):
            raise InputBrokenError(f"{how.teacher}: {len(teacher)} vectors for {len(labels)} faces")
    focus = None if how.focus is None else np.load(find(how.focus), allow_pickle=False)
    return FaceSet(faces, labels, known, teacher, focus)


def find(path: Path) -> Path:
    """``path`` itself or below the data folder. Raises InputMissingError."""
    for candidate in (path, data_folder() / path):
        if candidate.exists():
            return candidate
    raise InputMissingError(
        f"{path} is neither here nor under {data_folder()}: set JETSON_FACE_DATA"
    )


Reader = Callable[[str], bytes]


def from_zip(path: Path) -> tuple[list[str], list[str], Reader]:
    """Files and people ("" unknown) of a zip's labels.csv, and what reads one of the files."""
    archive = zipfile.ZipFile(path)
    with archive.open("labels.csv") as raw:
        rows = list(csv.DictReader(io.TextIOWrapper(raw, "utf-8", newline="")))
    return [r["file"] for r in rows], [r["person"] for r in rows], archive.read


def _from_folder(path: Path) -> tuple[list[str], list[str], Reader]:
    files = sorted(f for f in path.glob("*/*") if f.suffix.lower() in PICTURES)
    if not files:
        raise InputBrokenError(f"{path}: no pictures in PERSON/PHOTO folders")
    names = [f.relative_to(path).as_posix() for f in files]
    return names, [f.parent.name for f in files], lambda name: (path / name).read_bytes()


def open_packed(packed: Path, cache: Path) -> tuple[ImageU8, list[str]]:
    """The faces of a zip (N, 112, 112, 3), left on the disk, and their people ("" unknown).

    Raises:
        InputMissingError, InputBrokenError: as for ``load``.
    """
    source = find(packed)
    names, people, read = from_zip(source)
    path = _decode_to(source, names, read, cache)
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False)), people


def _decode_to(source: Path, names: list[str], read: Reader, cache: Path) -> Path:
    """The file of the decoded faces.

    It is made under a temporary name so that a kill leaves no half of one.
    """
    key = sha256("\n".join([str(source.stat().st_size), *names]).encode()).hexdigest()[:16]
    path = cache / f"faces_{key}.npy"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        shape = (len(names), SIDE, SIDE, 3)
        out = np.lib.format.open_memmap(part, "w+", np.uint8, shape)

        def decode(i: int) -> None:
            out[i] = decode_face(read(names[i]), names[i])

        with ThreadPoolExecutor(os.cpu_count()) as pool:  # OpenCV releases the interpreter lock
            for _ in pool.map(decode, range(len(names))):
                pass
        out.flush()
        part.replace(path)
    return path


def decode_face(data: bytes, name: str) -> ImageU8:
    """A face (112, 112, 3) uint8 RGB from a picture's file. Raises InputBrokenError."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise InputBrokenError(f"{name}: not a picture")
    if image.shape[:2] != (SIDE, SIDE):
        image = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


class Walk:
    """Endless shuffles of ``rows``, one after the other; a pure function of the place."""

    def __init__(self, rows: I64, seed: int) -> None:
        self._rows, self._seed = rows, seed
        self._shuffles: dict[int, I64] = {}

    def __call__(self, first: int, count: int) -> I64:
        """``count`` rows from place ``first``."""
        places = np.arange(first, first + count)
        epochs = places // len(self._rows)
        out = np.empty(count, np.int64)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            out[here] = self._shuffle(int(epoch))[places[here] % len(self._rows)]
        return out

    def _shuffle(self, epoch: int) -> I64:
        if epoch not in self._shuffles:
            self._shuffles = {k: v for k, v in self._shuffles.items() if k >= epoch - 1}
            rng = np.random.default_rng((self._seed, 0, epoch))
            self._shuffles[epoch] = rng.permutation(self._rows)
        return self._shuffles[epoch]


class BatchSampler:
    """Endless batches of face numbers, a pure function of (seed, step).

    A resumed run goes on exactly.

    ``identity_share`` of a batch is drawn person by person (each person as likely, however many
    pictures there are), ``photos_each`` pictures of each; ``focus_share`` from ``focus``; the
    rest walks through a fresh shuffle of all faces every epoch.
    """

    def __init__(
        self,
        labels: I64,
        batch: int,
        seed: int,
        identity_share: float = 0.0,
        photos_each: int = 4,
        focus: I64 | None = None,
        focus_share: float = 0.0,
    ) -> None:
        order = np.argsort(labels, kind="stable")
        order = order[labels[order] >= 0]
        cuts = np.flatnonzero(np.diff(labels[order])) + 1
        self._groups = [g for g in np.split(order, cuts) if len(g) >= 2]
        self._people = round(batch * identity_share / photos_each) if self._groups else 0
        self._each = photos_each
        self._focus = focus
        self._extra = 0 if focus is None else round(batch * focus_share)
        self._plain = max(batch - self._people * photos_each - self._extra, 0)
        self._size = self._plain + self._people * photos_each + self._extra
        self._count, self._seed = len(labels), seed
        self._walk = Walk(np.arange(len(labels)), seed)

    def __call__(self, step: int) -> I64:
        """Face numbers of batch ``step``, int64."""
        rng = np.random.default_rng((self._seed, 1, step))
        parts = [self._walk(step * self._plain, self._plain)]
        if self._focus is not None:
            parts.append(rng.choice(self._focus, self._extra))
        if self._people:
            replace = self._people > len(self._groups)
            for g in rng.choice(len(self._groups), self._people, replace=replace):
                group = self._groups[g]
                parts.append(rng.choice(group, self._each, replace=len(group) < self._each))
        return np.concatenate(parts)

    def epoch(self, step: int) -> float:
        """Passes over the whole set before batch ``step``."""
        return step * self._size / self._count
