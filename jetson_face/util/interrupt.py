"""What a signal may do to a process that is still loading: no heavy imports here."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_INTERRUPTED = 130
_IMPORT_SYSTEM = "<frozen importlib"


class CtrlC:
    """What SIGINT does: one line and the end of the process, at once.

    Inside `with` the first one raises KeyboardInterrupt instead, so that a command can close what
    it holds; but not in the middle of an import.
    """

    def __init__(self) -> None:
        self._gentle = False

    def __enter__(self) -> None:
        self._gentle = True

    def __exit__(self, *error: object) -> None:
        self._gentle = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The signal's handler."""
        if self._gentle and not is_importing(frame):
            self._gentle = False
            raise KeyboardInterrupt
        try:
            os.write(2, b"jetson-face: interrupted\n")
        finally:
            os._exit(EXIT_INTERRUPTED)


@contextmanager
def catching(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """While inside, SIGINT and SIGTERM call `handler`; main thread only."""
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, was in before.items():
            signal.signal(number, was)


def is_importing(frame: FrameType | None) -> bool:
    """Whether a signal came in the middle of an import: libraries take whatever a handler raises
    there for a package that is missing, and go on or say so."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(_IMPORT_SYSTEM):
            return True
        frame = frame.f_back
    return False
