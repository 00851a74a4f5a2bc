"""A canary: one face whose answer is known, asked again while the program runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jetson_face.types import F32, Embeddings, ImageU8


@dataclass(frozen=True, slots=True)
class CanaryEvent:
    """The answer began to drift, or is right again. cosine: to the answer wanted; NaN counts as
    drift."""

    at_ns: int
    state: Literal["drifted", "recovered"]
    cosine: float
    cosine_min: float

    def __str__(self) -> str:
        if self.state == "recovered":
            return f"the golden face is answered right again (cosine {self.cosine:.5f})"
        return (
            f"the golden face is answered wrong: cosine {self.cosine:.5f}, wanted "
            f"{self.cosine_min} or more: stop the program and run jetson-face engines check"
        )


class Canary:
    """Asks the embedder for one golden face every `every_ns` and tells when the answer changes.

    embed: the running embedder's `embed`. crops: (1, S, S, 3) uint8 BGR. wanted: its (D,) unit
    vector, from the same embedder when it was judged good. every_ns: 0 asks never.
    """

    def __init__(
        self,
        embed: Callable[[ImageU8], Embeddings],
        crops: ImageU8,
        wanted: F32,
        every_ns: int,
        *,
        cosine_min: float = 0.999,
    ) -> None:
        self._embed, self._crops = embed, crops
        self._wanted = np.array(wanted, np.float64).reshape(-1)
        self._every_ns, self._cosine_min = every_ns, cosine_min
        self._asked_ns: int | None = None
        self._drifted = False
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
        vector = self._embed(self._crops).vectors[0].astype(np.float64)
        norms = float(np.linalg.norm(vector) * np.linalg.norm(self._wanted))
        cosine = float(vector @ self._wanted) / norms if norms > 0 else 0.0
        self.last_cosine = cosine
        drifted = not cosine >= self._cosine_min
        if drifted == self._drifted:
            return None
        self._drifted = drifted
        state: Literal["drifted", "recovered"] = "drifted" if drifted else "recovered"
        return CanaryEvent(now_ns, state, cosine, self._cosine_min)
