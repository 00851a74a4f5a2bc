"""The last lines of the log, and the last few things that went wrong, for the status."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from datetime import datetime, timezone

from jetson_face.util.cleanlog import message_of


class RecentErrors(logging.Handler):
    """Keeps the last warnings and errors that were logged, and the last lines of any kind."""

    def __init__(self, size: int = 20, lines: int = 300) -> None:
        super().__init__(logging.INFO)
        self._kept: deque[dict[str, str]] = deque(maxlen=size)
        self._lines: deque[dict[str, str]] = deque(maxlen=lines)

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        when = datetime.fromtimestamp(record.created, timezone.utc)
        line = {
            "time": when.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "level": record.levelname.lower(),
            "message": message_of(record)[:500],
        }
        self._lines.append(line)
        if record.levelno >= logging.WARNING:
            self._kept.append(line)

    def list(self) -> list[dict[str, str]]:
        """What went wrong, oldest first."""
        return [*self._kept]

    def lines(self) -> Sequence[dict[str, str]]:
        """What was logged, oldest first."""
        return [*self._lines]
