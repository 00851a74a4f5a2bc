"""What a threshold does: how often strangers get a name, and enrolled people theirs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jetson_face.calibration.fpir import (
    RateWithInterval,
    Scores,
    correctly_identified,
    named,
    together,
)
from jetson_face.calibration.impostors import Impostors, averaged
from jetson_face.calibration.leave_one_out import Enrol, ask, ask_as_known, ask_as_strangers
from jetson_face.calibration.site_centre import learn_centre, strangers_without_themselves
from jetson_face.core.types import F32
from jetson_face.gallery.matcher import GallerySnapshot


@dataclass(frozen=True, slots=True)
class Line:
    """What a threshold does to faces of strangers and of enrolled people, `average` at a time."""

    threshold: float
    average: int
    strangers: RateWithInterval
    enrolled: RateWithInterval


class CalibrationTrial:
    """A gallery asked about its own people, each left out of it, and about impostors.

    enrol: from templates to a matcher. margin_min: the lead over the second person that a name
    needs. trained: making a matcher takes long, so that the own people are left out several at a
    time. centre: what is taken from all vectors, None for nothing.
    """

    centre: tuple[float, ...] | None = None

    def __init__(
        self,
        snapshot: GallerySnapshot,
        enrol: Enrol,
        impostors: Impostors | None = None,
        *,
        margin_min: float = 0.0,
        trained: bool = False,
    ) -> None:
        self.snapshot = snapshot
        self.impostors = impostors
        self._enrol = enrol
        self._matcher = enrol(snapshot)
        self._margin = margin_min
        self._parts_max = 10 if trained else 200
        self._asked: dict[int, tuple[Scores, Scores]] = {}

    def strangers(self, average: int = 1) -> Scores:
        """Faces of the impostors and of every person left out, `average` at a time."""
        return self._scores(average)[0]

    def outsiders(self, average: int = 1) -> Scores:
        """Faces of the impostors alone, `average` at a time, however small the lead."""
        return self._of_impostors(average, 0.0)

    def line(self, threshold: float, average: int = 1) -> Line:
        """The rates at a threshold."""
        strangers, known = self._scores(average)
        return Line(
            threshold, average, named(strangers, threshold), correctly_identified(known, threshold)
        )

    def named_strangers(self, threshold: float) -> list[str]:
        """The impostors' faces that would get a name, surest first: perhaps they are enrolled."""
        if self.impostors is None:
            return []
        matches = self._matcher.pick(self._matcher.scores(self.impostors.faces))
        rows = zip(matches, self.impostors.source, strict=True)
        found = [
            (match.similarity, source, match.person.name)
            for match, source in rows
            if match.person and match.similarity >= threshold and match.margin >= self._margin
        ]
        return [f"{source} as {name} ({at:.3f})" for at, source, name in sorted(found)[::-1]]

    def _scores(self, average: int) -> tuple[Scores, Scores]:
        if average not in self._asked:
            known = ask_as_known(
                self.snapshot, self._enrol, margin_min=self._margin, average=average
            )
            self._asked[average] = self._strangers(average), known
        return self._asked[average]

    def _strangers(self, average: int) -> Scores:
        strangers = ask_as_strangers(
            self.snapshot,
            self._enrol,
            margin_min=self._margin,
            parts_max=self._parts_max,
            average=average,
        )
        return strangers + self._of_impostors(average, self._margin)

    def _of_impostors(self, average: int, margin_min: float) -> Scores:
        if self.impostors is None:
            return together([])
        return ask(self._matcher, *averaged(self.impostors, average), margin_min)


class CentredTrial(CalibrationTrial):
    """The same without what the site's faces have in common (`site_centre`). Strangers are the
    impostors alone, each asked with a centre that is not learned from that person.

    enrol: from a centre and templates to a matcher. Raises CalibrationError for too few people.
    """

    def __init__(
        self,
        snapshot: GallerySnapshot,
        enrol: Callable[[F32], Enrol],
        impostors: Impostors,
        *,
        margin_min: float = 0.0,
    ) -> None:
        centre = learn_centre(snapshot, impostors)
        self.centre = tuple(centre.tolist())
        self._outside, self._with_centre = impostors, enrol
        super().__init__(snapshot, enrol(centre), impostors, margin_min=margin_min)

    def _strangers(self, average: int) -> Scores:
        return strangers_without_themselves(
            self.snapshot,
            self._outside,
            self._with_centre,
            margin_min=self._margin,
            average=average,
        )
