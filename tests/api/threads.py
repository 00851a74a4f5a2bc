"""Threads that a test's own runs and sources leave behind."""

from __future__ import annotations

import threading
import time

OTHERS: set[threading.Thread] = set()


def note_threads() -> None:
    """Threads that are there now do not count from now on."""
    OTHERS.clear()
    OTHERS.update(threading.enumerate())


def working_threads() -> set[str]:
    """Names of the threads of runs and sources, after those that are ending had a moment."""
    deadline = time.monotonic() + 3
    while True:
        names = {t.name for t in threading.enumerate() if t not in OTHERS}
        if not names or time.monotonic() > deadline:
            return names
        time.sleep(0.01)
