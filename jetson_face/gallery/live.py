"""The gallery of a running program: followed where its file goes, and kept while it is damaged."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

from jetson_face.core.errors import JetsonFaceError
from jetson_face.gallery import schema
from jetson_face.gallery.large import LargeGallery, LargeNames
from jetson_face.gallery.matcher import GallerySnapshot, Matcher
from jetson_face.gallery.schema import Identity
from jetson_face.gallery.store import GalleryStore

logger = logging.getLogger(__name__)
_AGAIN = 10
"""After so many looks a file that cannot be opened is tried again, changed or not."""


class LivePeople:
    """Looks for changes every so often, by the frame's time, and whenever it is told to.

    A file that cannot be used stops nothing: those who were read last go on being recognised, and
    that is said once. build: makes the matcher of what was read. The gallery stays its owner's.
    Raises the gallery's errors where it cannot be read at first.
    """

    def __init__(
        self,
        gallery: GalleryStore,
        build: Callable[[GallerySnapshot], Matcher],
        *,
        every_ns: int,
    ) -> None:
        self._gallery, self._build, self._every_ns = gallery, build, every_ns
        self._lock = threading.RLock()
        self._looked_ns: int | None = None
        self._failed: JetsonFaceError | None = None
        self._failed_with: Identity | None = None
        self._failed_looks = 0
        self.error: str | None = None
        self.gallery_id = gallery.id
        self._matcher = self._built(gallery.snapshot())

    def __call__(self, now_ns: int) -> Matcher:
        """The matcher to use for a frame captured at `now_ns`."""
        if self._looked_ns is None or abs(now_ns - self._looked_ns) >= self._every_ns:
            self._looked_ns = now_ns
            self.look()
        return self._matcher

    @property
    def snapshot(self) -> GallerySnapshot:
        """The gallery as last read."""
        return self._matcher.snapshot

    @property
    def names(self) -> Mapping[str, str]:
        """Whom faces may be called, as last read: id to name."""
        now = self.snapshot
        if isinstance(now, LargeGallery):
            return LargeNames(now)
        return {person.id: person.name for person in now.people if person.id not in now.withheld}

    @property
    def ids(self) -> Collection[str]:
        """The same, their ids."""
        return self.names.keys()

    def look(self) -> None:
        """Read the gallery if it changed; `error` says why it could not be read."""
        with self._lock:
            try:
                self._follow()
                snapshot = self._gallery.snapshot()
                if snapshot is not self._matcher.snapshot:
                    self._matcher = self._built(snapshot)
                    self.gallery_id = self._gallery.id
            except JetsonFaceError as error:
                if self.error is None:
                    logger.error("gallery_unreadable goes_on_with=last error=%s", error)
                self.error = str(error)
                return
            if self.error is not None:
                logger.warning("gallery_back")
                self.error = None

    def let_go(self) -> None:
        """Let the gallery close a file that was exchanged, before somebody else here opens the
        other one; see `GalleryStore.let_go`."""
        with self._lock, suppress(JetsonFaceError):
            if self._gallery.replaced():
                self._gallery.let_go()

    def _built(self, snapshot: GallerySnapshot) -> Matcher:
        if isinstance(snapshot, LargeGallery):
            snapshot.pack()
        return self._build(snapshot)

    def _follow(self) -> None:
        """Let the gallery open the file that lies in its place now, if that is another one."""
        if not self._gallery.replaced():
            return
        self._gallery.let_go()
        now = schema.identity(self._gallery.path)
        if self._failed is not None and now == self._failed_with and self._failed_looks < _AGAIN:
            # Opening reads all of it, which a live program does not do every second for nothing.
            self._failed_looks += 1
            raise self._failed
        self._failed = None
        try:
            self._gallery.revision()
        except JetsonFaceError as error:
            self._failed, self._failed_with, self._failed_looks = error, now, 0
            raise
