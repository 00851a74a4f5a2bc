"""Are people without a name as like the enrolled ones as the impostor curve expects?

Where the camera was moved or the light changed they are more alike, and more of them get a name
than was stated; or less, and the threshold is stricter than it need be.
"""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from typing import Any, Literal

from jetson_face.calibration.fpir import exact_interval

TAIL = 0.1
"""Counted are the faces as like somebody as the curve expects of one in ten."""
FACTOR = 2.0
"""Drift is that share twice as large as expected, or half, beyond chance."""
_LEVEL = 0.999
AGAIN = "jetson-face calibrate --impostors FOLDER --write"


@dataclass(frozen=True, slots=True)
class DriftEvent:
    """The similarities began to drift, or are as expected again. share: of the last `faces`, those
    in the tail; expected: what it should be."""

    state: Literal["drifted", "recovered"]
    share: float
    expected: float
    faces: int

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        rounded = {"share": round(self.share, 4), "expected": round(self.expected, 4)}
        return asdict(self) | rounded

    def __str__(self) -> str:
        told = (
            f"{100 * self.share:.0f} % of the last {self.faces} unnamed faces are as like somebody "
            f"enrolled as {100 * self.expected:.0f} % should be"
        )
        if self.state == "recovered":
            return f"{told}: as expected again"
        more = "more people than stated get a wrong name"
        less = "the threshold is stricter than it need be"
        cause = more if self.share > self.expected else less
        return f"{told}: {cause} (camera moved, light changed?): fit it again with {AGAIN}"


class SimilarityDrift:
    """Watches the last `faces` unnamed faces, each of another track. fpir: at or below which a face
    is named, so that it is not among them."""

    def __init__(self, faces: int, fpir: float) -> None:
        self._seen: deque[bool] = deque(maxlen=faces)
        self._expected = max(TAIL - fpir, 0.0) / (1 - fpir)
        self.drifted = False

    @property
    def share(self) -> float | None:
        """Of the last faces, those in the tail; None before there are enough."""
        full = len(self._seen) == self._seen.maxlen and self._seen
        return sum(self._seen) / len(self._seen) if full else None

    def see(self, rate: float) -> DriftEvent | None:
        """A face as like somebody as the curve expects of a share `rate` of impostors; an event
        where the state changed."""
        self._seen.append(rate <= TAIL)
        share, faces = self.share, len(self._seen)
        if share is None or not self._expected:
            return None
        low, high = exact_interval(share, faces, _LEVEL)
        wrong = low > FACTOR * self._expected or high < self._expected / FACTOR
        right = self._expected / FACTOR <= share <= FACTOR * self._expected
        if wrong == self.drifted or (self.drifted and not right):
            return None
        self.drifted = wrong
        state: Literal["drifted", "recovered"] = "drifted" if wrong else "recovered"
        return DriftEvent(state, share, self._expected, faces)
