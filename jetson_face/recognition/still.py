"""Who is in one picture, on its own: no track, no frames to average."""

from __future__ import annotations

from typing import Protocol

from jetson_face.core.types import ImageU8, Sighting
from jetson_face.detection.detector import Detector
from jetson_face.embedding.align import Aligner
from jetson_face.embedding.embedder import Embedder
from jetson_face.gallery.matcher import Matcher
from jetson_face.recognition.decision import Decider, undecided


class Parts(Protocol):
    """What it takes to get from a picture to vectors."""

    @property
    def detector(self) -> Detector: ...
    @property
    def aligner(self) -> Aligner: ...
    @property
    def embedder(self) -> Embedder: ...


def identify(
    image: ImageU8, parts: Parts, matcher: Matcher, decider: Decider
) -> tuple[Sighting, ...]:
    """The faces of a (H, W, 3) BGR picture, best detection first, each with its decision."""
    faces = parts.detector.detect(image)
    if not len(faces):
        return ()
    vectors = parts.embedder.embed(parts.aligner.crop(image, faces.landmarks))
    sightings = []
    for row, match in enumerate(matcher.match(vectors)):
        decision = decider.decide(undecided(0), match, 1, 0)
        left, top, right, bottom = (float(edge) for edge in faces.boxes[row])
        sightings.append(
            Sighting(
                track=row + 1,
                box=(left, top, right, bottom),
                state=decision.state,
                person=decision.person,
                similarity=decision.similarity,
                frames=1,
            )
        )
    return tuple(sightings)
