"""Who is in one picture, on its own: no track, no frames to average."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from jetson_face.core.types import NO_MATCH, Detections, ImageU8, Match, Sighting
from jetson_face.detection.detector import Detector
from jetson_face.embedding.align import Aligner
from jetson_face.embedding.embedder import Embedder
from jetson_face.embedding.quality import QualityGate
from jetson_face.gallery.matcher import Matcher
from jetson_face.recognition.decision import Decider, undecided
from jetson_face.recognition.withheld import is_withheld, nobody, without


class StillParts(Protocol):
    """What it takes to get from a picture to vectors."""

    @property
    def detector(self) -> Detector: ...
    @property
    def aligner(self) -> Aligner: ...
    @property
    def quality(self) -> QualityGate: ...
    @property
    def embedder(self) -> Embedder: ...


def identify(
    image: ImageU8, parts: StillParts, matcher: Matcher, decider: Decider
) -> tuple[Sighting, ...]:
    """The faces of a (H, W, 3) BGR picture, best detection first, each with its decision.

    A face that the detector gave no landmarks cannot be aligned, and one that the detector is
    not sure enough of, or whose landmarks are not a face's, is none: all stay `pending`.
    """
    faces = parts.detector.detect(image)
    there = np.isfinite(faces.landmarks).all(axis=(1, 2))
    there &= faces.scores >= parts.quality.detection_min
    usable = np.flatnonzero(there & parts.quality.plausible(faces))
    found: dict[int, tuple[Match, float]] = {}
    if len(usable):
        crops = parts.aligner.crop(image, faces.landmarks[usable])
        quality = parts.quality.scores(crops, faces[usable])
        matches = matcher.match(parts.embedder.embed(crops))
        found = dict(zip(usable.tolist(), zip(matches, quality.tolist(), strict=True), strict=True))
    return tuple(
        _sighting(faces, row, found.get(row), decider, matcher) for row in range(len(faces))
    )


def _sighting(
    faces: Detections,
    row: int,
    found: tuple[Match, float] | None,
    decider: Decider,
    matcher: Matcher,
) -> Sighting:
    match, quality = found or (NO_MATCH, None)
    frames, hidden = 0 if found is None else 1, matcher.snapshot.withheld
    decision = decider.decide(undecided(0), match, frames, 0, matcher.thresholds)
    least = decider.withholds_from(frames, matcher.thresholds)
    withheld = is_withheld(False, decision, match, hidden, least)
    if withheld:
        decision = nobody(decision)
    left, top, right, bottom = (float(edge) for edge in faces.boxes[row])
    return Sighting(
        track=row + 1,
        box=(left, top, right, bottom),
        state=decision.state,
        person=decision.person,
        similarity=decision.similarity,
        frames=frames,
        landmarks=None if found is None else faces.landmarks[row].copy(),
        quality=quality,
        candidates=() if withheld else without(match, hidden).candidates,
        withheld=withheld,
    )
