"""What a signal may do to a process that is still loading: no heavy imports here."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

EXIT_INTERRUPTED = 130
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends a command in its own way; of these SIGHUP says that its terminal was closed."""
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
    """While inside, SIGINT, SIGTERM and a SIGHUP that is not ignored, as by nohup, call `handler`;
    main thread only."""

    def handle(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            _leave_terminal()
        handler(number, frame)

    held_on = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    numbers = [number for number in ENDING if number != signal.SIGHUP or not held_on]
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, was in before.items():
            signal.signal(number, was)


def _leave_terminal() -> None:
    """Let what is printed go nowhere where the terminal was closed: it would refuse it."""
    for stream in (1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(stream).st_mode) and not os.isatty(stream):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream)
                os.close(nowhere)


def is_importing(frame: FrameType | None) -> bool:
    """Whether a signal came in the middle of an import: libraries take whatever a handler raises
    there for a package that is missing, and go on or say so."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(_IMPORT_SYSTEM):
            return True
        frame = frame.f_back
    return False
