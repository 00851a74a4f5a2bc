"""The last few things that went wrong, for the status."""

from __future__ import annotations

import logging
from collections import deque
from datetime import datetime, timezone

from jetson_face.util.cleanlog import message_of


class RecentErrors(logging.Handler):
    """Keeps the last warnings and errors that were logged."""

    def __init__(self, size: int = 20) -> None:
        super().__init__(logging.WARNING)
        self._kept: deque[dict[str, str]] = deque(maxlen=size)

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        when = datetime.fromtimestamp(record.created, timezone.utc)
        self._kept.append(
            {
                "time": when.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "level": record.levelname.lower(),
                "message": message_of(record)[:500],
            }
        )

    def list(self) -> list[dict[str, str]]:
        """Oldest first."""
        return list(self._kept)
