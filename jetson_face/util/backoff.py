"""How long to wait before the next try, and which failures are worth a line in the log."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits between tries: doubling from `first_s` up to `most_s`, each drawn between half and
    the whole, so that many boxes or cameras do not come back at the same moment."""

    first_s: float = 0.5
    most_s: float = 60.0

    def delay_s(self, failures: int, draw: float) -> float:
        """Seconds to wait after the n-th failure in a row (from 1). draw: in [0, 1)."""
        whole = min(self.most_s, self.first_s * 2.0 ** min(failures - 1, 30))
        return whole * (0.5 + draw / 2)


def worth_a_line(failures: int) -> bool:
    """Whether the n-th failure in a row (from 1) is logged: the 1st, 2nd, 4th, 8th and so on, so
    that a camera which is away for a month does not fill the log."""
    return failures & (failures - 1) == 0
