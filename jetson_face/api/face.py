"""What the API says of one face."""

from __future__ import annotations

from dataclasses import dataclass

from jetson_face.core.types import F32, Box, Candidate, Sighting, State


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A face in a picture or frame, and who it is.

    name: who it is, None unless `state` is `known`. similarity: to that person, or to the nearest
    one while there is none: cosine in [-1, 1], higher is more alike (with another
    `matching.method`: its score); None before any comparison. box: x1, y1, x2, y2 in pixels.
    state: `known`; `unknown`; `review` (between sure and no: a person should decide); `pending`
    (not enough frames yet, or no landmarks). landmarks: (5, 2) float32 x, y in pixels: the eye at
    the image's left, the eye at its right, nose, mouth corner at the image's left, the one at its
    right; None where the face was only predicted. candidates: the nearest three people, best first,
    each with `.person` (`.name`, `.id`) and `.similarity`. quality: [0, 1], of the face's picture;
    None on frames on which it was not compared. person_id: stable when a person is renamed.

    Of frames only: track: number of the face while it stays in view, unique in one source;
    detected: it was seen in this very frame, not only predicted from the last ones; changed: name
    or state differ from the frame before; frames: how many were averaged so far. Of a picture they
    are None, True, True and 1.
    """

    name: str | None
    similarity: float | None
    box: Box
    state: State
    landmarks: F32 | None
    candidates: tuple[Candidate, ...]
    quality: float | None
    person_id: str | None
    track: int | None = None
    detected: bool = True
    changed: bool = True
    frames: int = 1


def face_of(sighting: Sighting, *, track: int | None, changed: bool) -> Face:
    """A sighting as the API gives it."""
    known = sighting.person
    return Face(
        name=None if known is None else known.name,
        similarity=sighting.similarity,
        box=sighting.box,
        state=sighting.state,
        landmarks=sighting.landmarks,
        candidates=sighting.candidates,
        quality=sighting.quality,
        person_id=None if known is None else known.id,
        track=track,
        detected=sighting.detected,
        changed=changed,
        frames=sighting.frames,
    )
