"""The largest face of the newest frame, clean, with pose and quality: to enrol who walks past."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from jetson_face.core.types import F32, Detections, Frame, ImageU8, Report, Sighting
from jetson_face.embedding.quality import measure_pose
from jetson_face.factory.parts import Parts
from jetson_face.service.events import cut
from jetson_face.service.http import Page
from jetson_face.util.images import encode_jpeg

OTHER_FACE_MIN = 0.4
"""A second face counts when its side is at least this share of the largest one's."""
_MARGIN = 0.6
_QUALITY = 95


def face_page(frame: Frame, report: Report, parts: Callable[[], Parts]) -> Page:
    """One line of JSON, then the face with its surroundings as JPEG; no JPEG where no face, or more
    than one, is large enough to be meant. parts: asked when there is a face."""
    faces = [one for one in report.sightings if one.landmarks is not None]
    faces.sort(key=_side, reverse=True)
    several = len(faces) > 1 and _side(faces[1]) >= OTHER_FACE_MIN * _side(faces[0])
    head: dict[str, Any] = {"seq": frame.seq, "several": several, "face": None}
    crop = None
    if faces and not several:
        crop = cut(frame.image, faces[0].box, _MARGIN)
        head["face"] = _rated(faces[0], frame.image, parts())
    jpeg = b"" if crop is None else encode_jpeg(crop, quality=_QUALITY)
    return Page(200, json.dumps(head).encode() + b"\n" + jpeg, "application/octet-stream")


def _rated(face: Sighting, image: ImageU8, parts: Parts) -> dict[str, Any]:
    assert face.landmarks is not None
    landmarks = face.landmarks[None]
    one = Detections(np.array([face.box], np.float32), np.ones(1, np.float32), landmarks)
    verdict = parts.quality.verdict(parts.aligner.crop(image, landmarks), one)
    turn, roll = measure_pose(landmarks)
    return {
        "track": face.track,
        "state": face.state,
        "name": None if face.person is None else face.person.name,
        "quality": round(float(verdict.score), 3),
        "reasons": [reason.replace("_", " ") for reason in verdict.reasons],
        "turn": round(float(turn[0]) * _direction(face.landmarks), 3),
        "roll": round(float(roll[0]), 1),
    }


def _direction(landmarks: F32) -> int:
    """1 where the nose points to the right of the image, -1 to the left."""
    eyes, mouth = landmarks[:2].mean(axis=0), landmarks[3:].mean(axis=0)
    down, nose = mouth - eyes, landmarks[2] - (eyes + mouth) / 2
    return 1 if nose[0] * down[1] - nose[1] * down[0] > 0 else -1


def _side(face: Sighting) -> float:
    x1, y1, x2, y2 = face.box
    return min(x2 - x1, y2 - y1)
