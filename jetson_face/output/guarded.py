"""Sinks of others: named when they fail."""

from __future__ import annotations

from jetson_face.core.types import Frame, Report
from jetson_face.output.sink import Sink
from jetson_face.util.plugins import blamed, require


class GuardedSink:
    """A sink from outside. who: what errors call it.

    Raises PluginError where the object is no sink; the methods where it fails.
    """

    def __init__(self, inner: Sink, who: str) -> None:
        require(inner, who, "name", "wants_frame", "open", "write", "close")
        self._inner, self._who = inner, who
        self.name, self.wants_frame = str(inner.name), bool(inner.wants_frame)

    def open(self) -> None:
        """See Sink."""
        with blamed(self._who):
            self._inner.open()

    def write(self, report: Report, frame: Frame | None) -> None:
        """See Sink."""
        with blamed(self._who):
            self._inner.write(report, frame)

    def close(self) -> None:
        """See Sink."""
        with blamed(self._who):
            self._inner.close()
