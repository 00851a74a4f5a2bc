"""From photos to templates: one face a photo, good enough, once; the rest refused with a reason."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol

import numpy as np

from jetson_face.core.errors import (
    EnrollmentError,
    InputBrokenError,
    InputMissingError,
    NameInvalidError,
)
from jetson_face.core.types import F32, Detections, Embeddings, ImageU8
from jetson_face.detection.detector import Detector
from jetson_face.embedding.align import Portrait
from jetson_face.embedding.embedder import Embedder
from jetson_face.embedding.quality import Verdict
from jetson_face.embedding.recognisable import Recognisability
from jetson_face.gallery.batch import Batch, EnrollmentResult, Refusal, RefusedError
from jetson_face.gallery.names import valid_name
from jetson_face.gallery.records import NewTemplate, photo_name
from jetson_face.gallery.store import GalleryStore
from jetson_face.util.images import decode_picture, read_bytes, shrunk
from jetson_face.util.rounding import away
from jetson_face.util.strays import (
    is_folder,
    is_named_as_picture,
    listed,
    passed_over,
    unreadable,
    why_unread,
)

SIDE_MAX = 2000
"""Pixels of the longer side that a photo is shrunk to: a face of an enrolment photo is large."""
NO_PHOTO = "no photo in this folder"
LOOSE = "it lies beside the folders of the persons: put it into a folder with the person's name"
OTHER_FACE_MIN = 0.4
"""A second face counts when its side is at least this share of the largest one's."""

PhotoProgress = Callable[[int, int, Path], None]
"""Called after each photo: how many are done, of how many, which one."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A photo that is in memory already. label: what results call it. image: (H, W, 3) uint8 BGR,
    upright."""

    label: Path
    image: ImageU8


@dataclass(frozen=True, slots=True)
class PictureBytes:
    """A picture file that is in memory. label: what results call it. data: the file's bytes."""

    label: Path
    data: bytes


class FaceCropper(Protocol):
    """Aligned faces: (H, W, 3) image and (N, 5, 2) landmarks to (N, S, S, 3) crops."""

    def crop(self, image: ImageU8, landmarks: F32) -> ImageU8: ...


class Enroller:
    """Enrols photos into a gallery.

    portraits: (image, (N, 5, 2) landmarks) to N portraits. assess: (aligned crops (1, S, S, 3), the
    face) to its quality. face_px_min: shorter side of the box. quality_min: [0, 1].
    """

    def __init__(
        self,
        store: GalleryStore,
        *,
        detector: Detector,
        aligner: FaceCropper,
        embedder: Embedder,
        portraits: Callable[[ImageU8, F32], Sequence[Portrait]],
        assess: Callable[[ImageU8, Detections], Verdict],
        recognisable: Recognisability | None = None,
        recognisable_min: float = 0.0,
        face_px_min: float = 48.0,
        quality_min: float = 0.25,
    ) -> None:
        self._store = store
        self._detector = detector
        self._aligner = aligner
        self._embedder = embedder
        self._portraits = portraits
        self._assess = assess
        self._recognisable, self._recognisable_min = recognisable, recognisable_min
        self._face_px_min = face_px_min
        self._quality_min = quality_min

    def enroll_photos(
        self,
        name: str,
        photos: Iterable[Path | Picture | PictureBytes],
        *,
        force: bool = False,
        progress: PhotoProgress | None = None,
    ) -> EnrollmentResult:
        """Enrol photos of one person, each on its own: a bad one does not stop the others.

        Each photo is in the gallery and the audit log for good before the next is looked at. One
        that looks like somebody else, or that was erased with a person, is refused unless `force`.
        Raises NameInvalidError, GalleryError.
        """
        every = list(photos)
        batch = Batch(self._store, self._embedder.similarity_min, force=force)
        result = self._enroll(batch, valid_name(name), every, _counting(progress, len(every)))
        batch.judge()
        return result

    def enroll_folder(
        self, root: Path, *, force: bool = False, progress: PhotoProgress | None = None
    ) -> list[EnrollmentResult]:
        """Enrol a folder per person, `root/NAME/*.jpg`, in the order of their names.

        One that cannot be read is refused, and so is what looks like a photo and lies elsewhere;
        the result of photos that lie in no folder is called as `root` is.
        Raises InputMissingError, InputBrokenError where `root` cannot be read, EnrollmentError when
        there are no such folders, GalleryError.
        """
        folders = {folder: _photos_and_refused(folder) for folder in _folders_in(root)}
        counted = _counting(progress, sum(len(photos) for photos, _ in folders.values()))
        batch = Batch(self._store, self._embedder.similarity_min, force=force)
        results = []
        for folder, (photos, refused) in folders.items():
            try:
                name = valid_name(folder.name)
            except NameInvalidError as error:
                results.append(EnrollmentResult(folder.name, refused=[Refusal(folder, str(error))]))
                continue
            results.append(self._enroll(batch, name, photos, counted))
            results[-1].refused.extend(refused)
        batch.judge()
        if loose := _loose_in(root):
            results.append(EnrollmentResult(str(root), refused=loose))
        return results

    def _enroll(
        self,
        batch: Batch,
        name: str,
        photos: Sequence[Path | Picture | PictureBytes],
        progress: Callable[[Path], None],
    ) -> EnrollmentResult:
        result = EnrollmentResult(name, self._store.find(name))
        for photo in photos:
            path = photo if isinstance(photo, Path) else photo.label
            try:
                added = self._enroll_one(batch, result, photo, path)
            except RefusedError as error:
                result.refused.append(Refusal(path, str(error)))
            except (InputMissingError, InputBrokenError) as error:
                # the refusal carries the file's name
                why = str(error).removeprefix(f"{path}: ")
                result.refused.append(Refusal(path, why))
            else:
                (result.added if added else result.already).append(path)
            progress(path)
        return result

    def _enroll_one(
        self,
        batch: Batch,
        result: EnrollmentResult,
        given: Path | Picture | PictureBytes,
        path: Path,
    ) -> bool:
        data = _bytes_of(given)
        photo = hashlib.sha256(data).hexdigest()
        if result.person is not None and self._store.has_photo(result.person, photo):
            return False
        batch.check_photo(photo)
        if isinstance(given, Picture):
            image = shrunk(given.image, SIDE_MAX)
        else:
            image = decode_picture(data, str(path), side_max=SIDE_MAX)
        face = self._only_face(self._detector.detect(image))
        crops = self._aligner.crop(image, face.landmarks)
        verdict = self._assess(crops, face)
        if verdict.score < self._quality_min:
            why = ", ".join(verdict.reasons).replace("_", " ") or "too blurred, dark or turned"
            raise RefusedError(
                f"{why} (quality {away(verdict.score, self._quality_min, 2)}, needs "
                f"{self._quality_min:g})"
            )
        embedded = self._embedder.embed(crops)
        self._must_show_somebody(embedded)
        vector = embedded.vectors[0].copy()
        portrait = self._portraits(image, face.landmarks)[0]
        new = NewTemplate(
            vector, verdict.score, photo, portrait.image, portrait.landmarks, photo_name(path)
        )
        return batch.add(result, path, new)

    def _must_show_somebody(self, face: Embeddings) -> None:
        """Raises RefusedError for a crop that the network can make nothing of."""
        if self._recognisable is None:
            return
        score = float(self._recognisable.scores(face)[0])
        if score < self._recognisable_min:
            raise RefusedError(
                f"the face cannot be recognised ({away(score, self._recognisable_min, 2)}, needs "
                f"{self._recognisable_min:g}): give a sharper or a larger photo"
            )

    def _only_face(self, found: Detections) -> Detections:
        """The one face of a photo that is meant. Raises RefusedError."""
        if not len(found):
            raise RefusedError("no face found")
        sides = (found.boxes[:, 2:] - found.boxes[:, :2]).min(axis=1)
        largest = int(sides.argmax())
        several = int((sides >= OTHER_FACE_MIN * sides[largest]).sum())
        if several > 1:
            raise RefusedError(f"{several} faces found: cut the photo to the one that is meant")
        if sides[largest] < self._face_px_min:
            raise RefusedError(
                f"the face is too small: {away(sides[largest], self._face_px_min)} pixels, needs "
                f"{self._face_px_min:g}"
            )
        face = found[np.array([largest])]
        if not np.isfinite(face.landmarks).all():
            raise RefusedError("the face has no landmarks to align it by")
        return face


def _bytes_of(given: Path | Picture | PictureBytes) -> bytes:
    """What a photo is known by: the file, or the pixels where there is none."""
    if isinstance(given, Path):
        return read_bytes(given)
    return given.data if isinstance(given, PictureBytes) else given.image.tobytes()


def photos_by_folder(root: Path) -> dict[Path, list[Path]]:
    """The folders in `root`, sorted by name, each with its pictures; hidden ones are left out.

    Raises InputMissingError, EnrollmentError when `root` is not a folder of folders,
    InputBrokenError where it or one of them cannot be read.
    """
    return {folder: photos_in(folder) for folder in _folders_in(root)}


def photos_in(path: Path) -> list[Path]:
    """The pictures of a folder, sorted by name, without hidden ones and other files; of what is no
    folder itself. Raises InputBrokenError for a folder that cannot be read."""
    if not is_folder(path):
        return [path]
    return [entry for entry in listed(path) if is_named_as_picture(entry) and not is_folder(entry)]


def strays_in(path: Path) -> list[Refusal]:
    """What `photos_in` leaves out of a person's folder and somebody may miss. Raises
    InputBrokenError for a folder that cannot be read."""
    return [Refusal(*stray) for stray in passed_over(path)] if is_folder(path) else []


def _photos_and_refused(folder: Path) -> tuple[list[Path], list[Refusal]]:
    """The pictures of a person's folder, and what is refused before any of them is read."""
    try:
        photos, strays = photos_in(folder), strays_in(folder)
    except InputBrokenError as error:
        return [], [Refusal(folder, str(error).removeprefix(f"{folder}: "))]
    return photos, strays if photos or strays else [Refusal(folder, NO_PHOTO)]


def _loose_in(root: Path) -> list[Refusal]:
    """What looks like a photo and lies in no person's folder."""
    return [
        Refusal(entry, LOOSE)
        for entry in listed(root)
        if not is_folder(entry) and (is_named_as_picture(entry) or why_unread(entry) is not None)
    ]


def _folders_in(root: Path) -> list[Path]:
    """See `photos_by_folder`."""
    try:
        there = root.exists()
    except OSError as error:
        raise unreadable(root, error) from error
    if not there:
        raise InputMissingError(f"{root}: no such folder")
    if not root.is_dir():
        raise EnrollmentError(f"{root}: not a folder: name one person with --name NAME {root.name}")
    folders = [entry for entry in listed(root) if is_folder(entry)]
    if not folders:
        raise EnrollmentError(
            f"{root}: no folders in it: expected a folder per person with photos, or --name NAME"
        )
    return folders


def _counting(progress: PhotoProgress | None, total: int) -> Callable[[Path], None]:
    if progress is None:
        return lambda path: None
    done = count(1)
    return lambda path: progress(next(done), total, path)
