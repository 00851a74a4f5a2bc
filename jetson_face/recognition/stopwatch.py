"""How long the stages of one frame took."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopwatch:
    """Milliseconds by stage, for one frame."""

    def __init__(self, clock_ns: Callable[[], int]) -> None:
        self._clock_ns = clock_ns
        self.ms: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time a block; the same stage twice adds up."""
        start = self._clock_ns()
        yield
        self.add(stage, self._clock_ns() - start)

    def add(self, stage: str, ns: int) -> None:
        """Time that was taken elsewhere."""
        self.ms[stage] = self.ms.get(stage, 0.0) + ns / 1e6
