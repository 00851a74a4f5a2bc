"""Every face of a picture: who it is, whom it resembles, and why it may not count."""

from __future__ import annotations

from typing import Any

import numpy as np

from jetson_face.core.types import Detections, ImageU8, Sighting
from jetson_face.factory.parts import Parts, build_decider, build_matcher
from jetson_face.factory.threshold import calibrated
from jetson_face.gallery.matcher import GallerySnapshot
from jetson_face.recognition.still import identify
from jetson_face.service.control.desk import Desk
from jetson_face.service.control.http import ControlError, ControlRequest, Reply, Route
from jetson_face.util.images import decode_picture

_SIDE_MAX = 2000


class Pictures:
    """`POST /identify`, whose body is a picture file."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.routes: tuple[Route, ...] = (("POST", "/identify", self.identify),)

    def identify(self, request: ControlRequest) -> Reply:
        """Every face, best detection first."""
        if not request.body:
            raise ControlError(422, "the body is empty: send a picture file")
        image = decode_picture(request.body, "the picture", side_max=_SIDE_MAX)
        with self._desk.photo_parts() as (config, parts):
            snapshot = GallerySnapshot.empty(parts.embedder.space)
            if config.gallery_path.exists():
                with self._desk.gallery() as (_, store):
                    config, snapshot = calibrated(config, store), store.snapshot()
            matcher = build_matcher(config, snapshot, parts.embedder.similarity_min)
            decider = build_decider(config, parts.embedder, single=True)
            faces = identify(image, parts, matcher, decider)
            found = [_plain(face, image, parts, config.quality.embed_min) for face in faces]
        height, width = image.shape[:2]
        return Reply.of({"width": width, "height": height, "faces": found})


def _plain(face: Sighting, image: ImageU8, parts: Parts, quality_min: float) -> dict[str, Any]:
    return {
        "state": face.state,
        "name": None if face.person is None else face.person.name,
        "person": None if face.person is None else face.person.id,
        "similarity": None if face.similarity is None else round(face.similarity, 4),
        "candidates": [
            {
                "person": one.person.id,
                "name": one.person.name,
                "similarity": round(one.similarity, 4),
            }
            for one in face.candidates
        ],
        "quality": None if face.quality is None else round(face.quality, 3),
        "reasons": _reasons(face, image, parts, quality_min),
        "box": [round(edge, 1) for edge in face.box],
        "landmarks": None
        if face.landmarks is None
        else [[round(float(v), 1) for v in point] for point in face.landmarks],
    }


def _reasons(face: Sighting, image: ImageU8, parts: Parts, quality_min: float) -> list[str]:
    """What is wrong with a face that is too bad to go by."""
    if face.landmarks is None:
        return ["no landmarks of a face to align it by"]
    if face.quality is None or face.quality >= quality_min:
        return []
    one = Detections(np.array([face.box], np.float32), np.ones(1, np.float32), face.landmarks[None])
    crops = parts.aligner.crop(image, one.landmarks)
    verdict = parts.quality.verdict(crops, one)
    return [reason.replace("_", " ") for reason in verdict.reasons] or ["blurred, dark or turned"]
