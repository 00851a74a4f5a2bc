"""A canary: one face whose answer is known, asked again while the program runs.

An accelerator that answers wrong says nothing: names go to the wrong people or to nobody. Where the
answer drifts the program goes on, for a restart would not fix it and a door must not lock, but not
in silence: an event, a log line of level error, the audit log, and a service that is not ready.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from jetson_face.core.types import F32, Embeddings, ImageU8
from jetson_face.util.rounding import away

P = TypeVar("P")
_COSINE_MIN = 0.999


@dataclass(frozen=True, slots=True)
class CanaryEvent:
    """The answer began to drift, or is right again. cosine: to the answer wanted; NaN counts as
    drift."""

    at_ns: int
    state: Literal["drifted", "recovered"]
    cosine: float
    cosine_min: float

    def to_json(self) -> dict[str, Any]:
        """As plain values; a cosine that is no number is None."""
        cosine = self.cosine if np.isfinite(self.cosine) else None
        return {"state": self.state, "cosine": cosine, "cosine_min": self.cosine_min}

    def __str__(self) -> str:
        if self.state == "recovered":
            return f"the golden face is answered right again (cosine {self.cosine:.5f})"
        return (
            f"the golden face is answered wrong: cosine {away(self.cosine, self.cosine_min, 5)}, "
            f"wanted {self.cosine_min} or more: names are not to be trusted; with TensorRT stop "
            "the program and run jetson-face engines check, else test the machine's memory"
        )


class Canary:
    """Asks the embedder for one golden face every `every_ns` and tells when the answer changes.

    embed: the running embedder's `embed`. crops: (1, S, S, 3) uint8 BGR. wanted: its (D,) unit
    vector, from the same embedder when it was judged good. every_ns: 0 asks never. drifted: how
    things stood before, so that a good answer is a recovery.
    """

    def __init__(
        self,
        embed: Callable[[ImageU8], Embeddings],
        crops: ImageU8,
        wanted: F32,
        every_ns: int,
        *,
        drifted: bool = False,
    ) -> None:
        self._embed, self._crops = embed, crops
        self._wanted = np.array(wanted, np.float64).reshape(-1)
        self._every_ns = every_ns
        self._asked_ns: int | None = None
        self.drifted = drifted
        self.asked = 0
        self.last_cosine: float | None = None

    def due(self, now_ns: int) -> bool:
        """Is it time to ask? The first time at once."""
        if self._every_ns <= 0:
            return False
        return self._asked_ns is None or now_ns - self._asked_ns >= self._every_ns

    def poll(self, now_ns: int) -> CanaryEvent | None:
        """Ask if it is due; an event only where the state changed. Costs one embedding."""
        if not self.due(now_ns):
            return None
        self._asked_ns = now_ns
        self.asked += 1
        vector = self._embed(self._crops).vectors[0].astype(np.float64)
        norms = float(np.linalg.norm(vector) * np.linalg.norm(self._wanted))
        cosine = 0.0 if norms == 0 else float(vector @ self._wanted) / norms
        self.last_cosine = cosine
        drifted = not cosine >= _COSINE_MIN
        if drifted == self.drifted:
            return None
        self.drifted = drifted
        return CanaryEvent(now_ns, "drifted" if drifted else "recovered", cosine, _COSINE_MIN)


class CanaryWatch(Generic[P]):
    """The canary of whatever runs now, and what it said; polled between two frames.

    build: a canary for the parts that run, given how things stood before; called again when the
    parts were exchanged. tell: gets each event. The state may be read from any thread.
    """

    def __init__(
        self, build: Callable[[P, bool], Canary], tell: Callable[[CanaryEvent], None]
    ) -> None:
        self._build, self._tell = build, tell
        self._parts: P | None = None
        self._canary: Canary | None = None
        self._asked_before = 0
        self.last: CanaryEvent | None = None

    def poll(self, parts: P, now_ns: int) -> None:
        """Ask if it is due. Raises what the embedder raises."""
        if self._canary is None or parts is not self._parts:
            self._asked_before += 0 if self._canary is None else self._canary.asked
            self._canary, self._parts = self._build(parts, self.drifted), parts
        event = self._canary.poll(now_ns)
        if event is not None:
            self.last = event
            self._tell(event)

    @property
    def drifted(self) -> bool:
        """The last answer was wrong."""
        return self._canary is not None and self._canary.drifted

    @property
    def asked(self) -> int:
        """How often it was asked."""
        return self._asked_before + (0 if self._canary is None else self._canary.asked)

    @property
    def cosine(self) -> float | None:
        """Of the last answer to the one wanted; None before the first and where it is no number."""
        last = None if self._canary is None else self._canary.last_cosine
        return last if last is not None and np.isfinite(last) else None

    def summary(self) -> str:
        """In words: `ok`, `drifted` or `not asked`, and what was measured."""
        if not self.asked:
            return "not asked"
        state = "drifted" if self.drifted else "ok"
        said = "not a number" if self.cosine is None else f"{self.cosine:.5f}"
        return f"{state}, asked {self.asked} times, last cosine {said}"

    def to_json(self) -> dict[str, Any]:
        """For the status."""
        return {
            "state": "drifted" if self.drifted else "ok" if self.asked else "not asked",
            "asked": self.asked,
            "cosine": self.cosine,
            "last_event": None if self.last is None else str(self.last),
        }
