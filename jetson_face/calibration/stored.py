"""The threshold that was set from a site's own faces, and what it was set for."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter, ValidationError

from jetson_face.core.types import EmbeddingSpace
from jetson_face.gallery.store import GalleryStore

NOTE = "calibration"
GROWTH_MAX = 1.5
"""A gallery with more than so many times the people names noticeably more strangers."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A threshold with its FPIR and the 95 % interval of that.

    method: of matching, with every setting that changes its scores. space: of the vectors.
    engine: what ran the network. faces of strangers: what it was measured with. people,
    templates: the gallery then. made: UTC seconds. centre: what is taken from all vectors before
    they are compared, as scores were when the threshold was set; None for nothing.
    """

    similarity_min: float
    fpir: float
    low: float
    high: float
    faces: int
    strangers: int
    method: str
    space: str
    engine: str
    people: int
    templates: int
    made: float
    centre: tuple[float, ...] | None = None

    def as_json(self) -> str:
        """What `from_json` takes."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Calibration | None:
        """None for what is no calibration: then there is none, and `calibrate` writes it again."""
        try:
            return TypeAdapter(cls).validate_json(text)
        except ValidationError:
            return None

    def unfit(self, method: str, space: EmbeddingSpace) -> str | None:
        """Why its scores are not those of today, or None: then the threshold holds."""
        if self.space != space.full_name:
            return "the embedding network changed"
        if self.centre is not None and len(self.centre) != space.dim:
            return "its centre is damaged"
        if self.method != method:
            return f"matching was {self.method} and is {method}"
        return None

    def doubts(self, engine: str, people: int) -> list[str]:
        """What changed since, where the threshold still means what it meant."""
        found = []
        if people > GROWTH_MAX * self.people:
            found.append(
                f"the gallery grew from {self.people} to {people} people: about "
                f"{people / self.people:.1f} times as many strangers get a name"
            )
        if engine != self.engine:
            found.append(f"the network ran on {self.engine} and runs on {engine}")
        return found


def read_calibration(gallery: GalleryStore) -> Calibration | None:
    """The gallery's calibration, if it has one. Raises the gallery's errors."""
    text = gallery.note(NOTE)
    return None if text is None else Calibration.from_json(text)


def write_calibration(gallery: GalleryStore, calibration: Calibration | None) -> None:
    """Keep it with the gallery, or forget it. Raises the gallery's errors."""
    gallery.set_note(NOTE, None if calibration is None else calibration.as_json())
