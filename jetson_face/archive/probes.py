"""What is searched for: somebody who is enrolled, or the one face of a photo."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jetson_face.archive.looking_up import find_track, is_track
from jetson_face.archive.store import ArchiveStore
from jetson_face.config import Config
from jetson_face.core.errors import InputBrokenError, UsageError
from jetson_face.core.types import F32, EmbeddingSpace
from jetson_face.factory.parts import build_parts, for_photos, open_gallery
from jetson_face.factory.threshold import own_threshold
from jetson_face.gallery.enroll import OTHER_FACE_MIN
from jetson_face.util.images import SUFFIXES, read_picture


@dataclass(frozen=True, slots=True, eq=False)
class SearchProbe:
    """shown: for people. person: id in the gallery; photo-DIGEST for a photo. vectors: (P, dim)
    unit templates. similarity_min: the network's own cosine at or above which two faces are held to
    be one person's. reference: the database that the probe is from. without: tracks (ids) that are
    the probe itself."""

    shown: str
    person: str
    vectors: F32
    space: EmbeddingSpace
    similarity_min: float
    reference: str
    without: tuple[str, ...] = ()

    @property
    def mean(self) -> F32:
        """(dim,) the unit vector of the templates' sum."""
        total = self.vectors.sum(axis=0)
        return np.asarray(total / max(float(np.linalg.norm(total)), 1e-12), np.float32)


def is_photo(who: str) -> bool:
    """A picture's file, not somebody's name."""
    return Path(who).suffix.lower() in SUFFIXES or Path(who).is_file()


def probe_of(config: Config, store: ArchiveStore, who: str) -> SearchProbe:
    """A photo (its path), a track of the archive (its id), or a person by name or id.

    Raises UsageError for nobody of that name and no such track, InputMissingError, InputBrokenError
    for a photo without exactly one face, and the gallery's and the networks' errors.
    """
    if is_track(who):
        return _of_track(config, store, who)
    return _of_photo(config, Path(who)) if is_photo(who) else _of_person(config, who)


def _of_track(config: Config, store: ArchiveStore, key: str) -> SearchProbe:
    track = find_track(store, key)
    if track is None:
        raise UsageError(f"{store.place.shown}: there is no track {key}")
    shown = f"track {key}"
    least = own_threshold(config)
    return SearchProbe(shown, key, track.template[None], store.space, least, shown, (key,))


def _of_person(config: Config, who: str) -> SearchProbe:
    with open_gallery(config) as gallery:
        person = gallery.show(who).person
        snapshot = gallery.snapshot()
        index = [known.id for known in snapshot.people].index(person.id)
        vectors = snapshot.vectors[snapshot.person_index == index]
        return SearchProbe(
            person.name,
            person.id,
            np.array(vectors),
            snapshot.space,
            own_threshold(config),
            f"gallery {gallery.path}",
        )


def _of_photo(config: Config, path: Path) -> SearchProbe:
    image = read_picture(path)
    parts = for_photos(config, build_parts(config))
    try:
        faces = parts.detector.detect(image)
        usable = np.flatnonzero(np.isfinite(faces.landmarks).all(axis=(1, 2)))
        if not len(usable):
            raise InputBrokenError(f"{path}: no face found: give a sharper or a larger photo")
        faces = faces[usable]
        sides = (faces.boxes[:, 2:] - faces.boxes[:, :2]).min(axis=1)
        largest = int(sides.argmax())
        several = int((sides >= OTHER_FACE_MIN * sides[largest]).sum())
        if several > 1:
            raise InputBrokenError(
                f"{path}: {several} faces found: cut the photo to the one that is meant"
            )
        crops = parts.aligner.crop(image, faces.landmarks[largest : largest + 1])
        found = parts.embedder.embed(crops)
        return SearchProbe(
            str(path),
            f"photo-{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}",
            found.vectors.copy(),
            found.space,
            parts.embedder.similarity_min,
            f"photo {path.name}",
        )
    finally:
        parts.close()
