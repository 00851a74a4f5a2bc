"""How much of the processor nobody uses just now."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

IDLE_MIN = 0.4
"""Share from which on there is room for what is only nice to have."""
_EVERY_S = 1.0
_STAT = Path("/proc/stat")


class IdleShare:
    """Of all cores together, in the last second or more; asked as often as one likes, by any
    thread.

    stat: the kernel's counters; where they cannot be read nothing counts as idle. clock: seconds.
    """

    def __init__(self, stat: Path = _STAT, clock: Callable[[], float] = time.monotonic) -> None:
        self._stat, self._clock = stat, clock
        self._lock = threading.Lock()
        self._share = 0.0
        self._next = clock() + _EVERY_S
        self._before = self._ticks()

    def __call__(self) -> float:
        """[0, 1]; 0 in the first second."""
        with self._lock:
            now = self._clock()
            if now >= self._next:
                self._next = now + _EVERY_S
                (idle, every), before = self._ticks(), self._before
                self._before = idle, every
                passed = every - before[1]
                self._share = min(1.0, max(0.0, (idle - before[0]) / passed)) if passed > 0 else 0.0
            return self._share

    def _ticks(self) -> tuple[int, int]:
        """Idle ones, with those that wait for a disk, and all; 0 where there are none."""
        try:
            # user, nice, system, idle, iowait, irq, softirq, steal: what follows is in these
            fields = [
                int(word) for word in self._stat.read_text("ascii").split("\n", 1)[0].split()[1:9]
            ]
            return fields[3] + fields[4], sum(fields)
        except (OSError, ValueError, IndexError):
            return 0, 0
