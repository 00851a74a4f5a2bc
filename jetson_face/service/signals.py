"""SIGTERM, SIGINT and SIGHUP as flags that the main loop looks at."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType

from jetson_face.util.interrupt import is_importing

_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Signals:
    """Catches the three signals while inside `with`; main thread only.

    reload: SIGHUP came; whoever acts on it sets it back. end: SIGTERM or SIGINT came. started: set
    once the main loop looks at `end`; before that the signal ends the process at once.
    """

    def __init__(self) -> None:
        self.reload = self.end = self.started = False
        self._before: list[object] = []

    def __enter__(self) -> Signals:
        self._before = [signal.signal(number, self._on_signal) for number in _HANDLED]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in zip(_HANDLED, self._before, strict=True):
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # Only flags: a handler that took locks could interrupt their holder.
        if number == signal.SIGHUP:
            self.reload = True
        elif self.started:
            self.end = True
        elif is_importing(frame):
            os._exit(0)
        else:
            raise SystemExit(0)
