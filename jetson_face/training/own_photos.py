"""A small set from photos as they are, one folder a person: faces found, then aligned."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np

from jetson_face.config import Config
from jetson_face.core.errors import InputBrokenError
from jetson_face.core.types import ImageU8
from jetson_face.detection.detector import Detector
from jetson_face.embedding.align import Aligner
from jetson_face.evaluation.extract import pick_subject
from jetson_face.factory.networks import build_detector
from jetson_face.gallery.enroll import photos_by_folder
from jetson_face.training.small import SmallSet
from jetson_face.util.images import read_picture

SHARE_MIN = 2
"""Photos of a person that a face must be found in, for the person to be trained on."""


def found_faces(
    config: Config, folder: Path, progress: Callable[[int, int, object], None]
) -> SmallSet:
    """The faces that the configured detector finds. Raises InputBrokenError where two photos or
    more show a face of fewer than two people, and what detector and photos raise."""
    aligner = Aligner("arcface112")
    folders = photos_by_folder(folder)
    people: list[list[ImageU8]] = []
    with closing(build_detector(config, relaxed=True)) as detector:
        for done, (home, photos) in enumerate(folders.items(), 1):
            crops = [crop for photo in photos for crop in _subject(photo, detector, aligner)]
            if len(crops) >= SHARE_MIN:
                people.append(crops)
            progress(done, len(folders), home.name)
    if len(people) < 2:
        raise InputBrokenError(
            f"{folder}: faces in two photos or more were found of {len(people)} people; two "
            "people are needed"
        )
    labels = np.repeat(np.arange(len(people)), [len(crops) for crops in people])
    return SmallSet(np.stack([c for crops in people for c in crops]), labels, folder.name)


def _subject(photo: Path, detector: Detector, aligner: Aligner) -> list[ImageU8]:
    """The face that the photo is of, RGB, or none."""
    image = read_picture(photo)
    found = detector.detect(image)
    found = found[np.asarray(np.isfinite(found.landmarks).all(axis=(1, 2)))]
    if not len(found):
        return []
    at = pick_subject(found, (image.shape[0], image.shape[1]))
    return [aligner.crop(image, found.landmarks[at : at + 1])[0, :, :, ::-1]]
