"""How long the stages of one frame took."""

from __future__ import annotations

from collections.abc import Callable


class Stopwatch:
    """Milliseconds by stage, for one frame."""

    def __init__(self, clock_ns: Callable[[], int]) -> None:
        self._clock_ns = clock_ns
        self.ms: dict[str, float] = {}

    def __call__(self, stage: str) -> _Stage:
        """Time a block; the same stage twice adds up. A block that raises is not counted."""
        return _Stage(self, self._clock_ns, stage)

    def add(self, stage: str, ns: int) -> None:
        """Time that was taken elsewhere."""
        self.ms[stage] = self.ms.get(stage, 0.0) + ns / 1e6


class _Stage:
    """One block. By hand: a generator's context manager takes three times as long."""

    __slots__ = ("_clock_ns", "_name", "_start", "_watch")

    def __init__(self, watch: Stopwatch, clock_ns: Callable[[], int], name: str) -> None:
        self._watch, self._clock_ns, self._name = watch, clock_ns, name

    def __enter__(self) -> None:
        self._start = self._clock_ns()

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._watch.add(self._name, self._clock_ns() - self._start)
