"""The face of who walks past: clean, the right one, with pose and quality."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import demo_clip
import numpy as np
import pytest

from jetson_face.config import load_config
from jetson_face.core.types import Frame, Report, Sighting
from jetson_face.factory.parts import Parts, build_parts
from jetson_face.service.walking import face_page
from jetson_face.service.watching import WATCHED_S, Watching
from jetson_face.util.images import decode_picture


@pytest.fixture(scope="module")
def parts() -> Parts:
    return build_parts(load_config(None, ["backend.type=onnxruntime"]))


@pytest.fixture(scope="module")
def frame() -> Frame:
    image = cv2.resize(demo_clip.head("collins"), (400, 400))
    return Frame(np.ascontiguousarray(image, np.uint8), 7, 0, 0.0, "door")


@pytest.fixture(scope="module")
def sighting(parts: Parts, frame: Frame) -> Sighting:
    found = parts.detector.detect(frame.image)
    x1, y1, x2, y2 = (float(edge) for edge in found.boxes[0])
    return Sighting(3, (x1, y1, x2, y2), "unknown", None, None, 1, landmarks=found.landmarks[0])


def report(*sightings: Sighting) -> Report:
    return Report("door", 7, 0, 0.0, (400, 400), sightings, {}, True)


def said(parts: Parts, frame: Frame, *sightings: Sighting) -> tuple[dict[str, object], bytes]:
    page = face_page(frame, report(*sightings), lambda: parts)
    head, _, jpeg = page.body.partition(b"\n")
    return json.loads(head), jpeg


def test_the_face_comes_clean_so_that_it_can_be_enrolled(
    parts: Parts, frame: Frame, sighting: Sighting
) -> None:
    head, jpeg = said(parts, frame, sighting)
    face = head["face"]
    assert isinstance(face, dict)
    assert (face["track"], face["reasons"]) == (3, [])
    assert face["quality"] > 0.5
    assert abs(face["turn"]) < 0.2
    found = parts.detector.detect(decode_picture(jpeg, "crop"))
    assert len(found) == 1


def test_a_mirrored_face_looks_to_the_other_side(
    parts: Parts, frame: Frame, sighting: Sighting
) -> None:
    assert sighting.landmarks is not None
    turned = sighting.landmarks.copy()
    turned[2, 0] += 20  # the nose
    other = turned.copy()
    other[:, 0] = 400 - other[:, 0]
    other = other[[1, 0, 2, 4, 3]]
    turns = []
    for landmarks in (turned, other):
        head, _ = said(parts, frame, replace(sighting, landmarks=landmarks))
        face = head["face"]
        assert isinstance(face, dict)
        turns.append(face["turn"])
    assert turns[0] > 0.1
    assert turns[1] == pytest.approx(-turns[0], abs=0.02)


def test_of_several_nobody_is_meant(parts: Parts, frame: Frame, sighting: Sighting) -> None:
    x1, y1, x2, y2 = sighting.box
    beside = replace(sighting, track=4, box=(0.0, 0.0, (x2 - x1) / 2, (y2 - y1) / 2))
    head, jpeg = said(parts, frame, beside, sighting)
    assert (head["several"], head["face"], jpeg) == (True, None, b"")
    far = replace(sighting, track=4, box=(0.0, 0.0, 10.0, 10.0))
    head, jpeg = said(parts, frame, far, sighting)
    assert head["several"] is False
    assert jpeg
    assert said(parts, frame)[0] == {"seq": 7, "several": False, "face": None}


def test_frames_are_kept_while_somebody_watches(parts: Parts, frame: Frame) -> None:
    now = 0.0
    watching = Watching(lambda: parts, clock=lambda: now)
    watching.offer(frame, report())
    assert watching.page("door", {}).status == 204
    watching.offer(frame, report())
    assert watching.page("door", {}).status == 200
    assert watching.page("door", {"after": "7"}).status == 204
    assert watching.face("door", {}).status == 200
    now = WATCHED_S + 0.1
    watching.offer(replace(frame, seq=8), report())
    assert (watching._newest, watching._views) == ({}, {})
    assert watching.page("door", {}).status == 204
