"""What the API sends and takes about people who are not enrolled and are remembered."""

from __future__ import annotations

from pydantic import BaseModel, Field

from jetson_face.web.strict import Strict


class UnknownRow(BaseModel):
    """Somebody who is not enrolled. visits: how often they came; first, last: when. source: the
    camera of the best face."""

    id: str
    visits: int
    first: str
    last: str
    source: str | None
    face_count: int


class UnknownVisitRow(BaseModel):
    """last: its last moment. seconds: how long it was, in time of service."""

    last: str
    seconds: float


class UnknownFaceRow(BaseModel):
    """A face that is kept."""

    time: str
    source: str
    quality: float


class UnknownDetails(UnknownRow):
    """sightings: the last 100 visits, the newest first. faces: the best first; their pictures are
    `faces/0`, `faces/1`, …"""

    sightings: list[UnknownVisitRow]
    faces: list[UnknownFaceRow]


class UnknownName(Strict):
    """Of somebody enrolled, or new."""

    name: str = Field(min_length=1, max_length=200)


class UnknownNamed(BaseModel):
    """id, name: of the person who has the faces now. added: photos. remembered: still there as
    unknown, because of `reason`."""

    id: str
    name: str
    added: int
    remembered: bool
    reason: str | None


class UnknownErased(BaseModel):
    """events: that lost the id. pictures: deleted. failed: files that could not be searched."""

    people: int
    events: int
    pictures: int
    failed: list[str]
    complete: bool
