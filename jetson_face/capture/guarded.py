"""Sources of others: held to the contract, named when they break it, found by their scheme."""

from __future__ import annotations

from collections.abc import Callable

from jetson_face.capture.source import (
    EndOfSource,
    FrameBroken,
    Source,
    SourceHealth,
    SourceInfo,
)
from jetson_face.capture.uri import SourceUri
from jetson_face.core.errors import PluginError
from jetson_face.core.types import Frame
from jetson_face.util.plugins import blamed, find, require


class GuardedSource:
    """A source from outside. who: what errors call it.

    Raises PluginError where the object is no source; `read` where it fails.
    """

    def __init__(self, inner: Source, who: str) -> None:
        require(inner, who, "info", "health", "read", "close")
        self._inner, self._who = inner, who
        with blamed(who):
            self.info = inner.info
        if not isinstance(self.info, SourceInfo):
            raise PluginError(f"{who}: info is not a jetson_face.SourceInfo")

    @property
    def health(self) -> SourceHealth:
        """See Source."""
        with blamed(self._who):
            return self._inner.health

    def read(self, timeout_s: float) -> Frame:
        """See Source."""
        with blamed(self._who, EndOfSource, FrameBroken, TimeoutError):
            frame = self._inner.read(timeout_s)
        if not isinstance(frame, Frame):
            raise PluginError(f"{self._who}: gave a {type(frame).__name__}, not jetson_face.Frame")
        if frame.source != self.info.name:
            raise PluginError(
                f"{self._who}: a frame says source {frame.source!r}, info says {self.info.name!r}"
            )
        return frame

    def close(self) -> None:
        """See Source."""
        with blamed(self._who):
            self._inner.close()


def opener(uri: SourceUri, name: str) -> Callable[[], GuardedSource]:
    """What opens the source of an installed plug-in's scheme. Raises UsageError for none."""
    plugin = find("source", uri.scheme)

    def open_plugin() -> GuardedSource:
        return GuardedSource(plugin.make(uri.raw, name), str(plugin))

    return open_plugin
