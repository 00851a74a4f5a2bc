"""The outbox's file over the years: a disk that fails, a file that is damaged or taken away."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from jetson_face.events.outbox_file import OutboxFile, is_damaged, is_full
from jetson_face.events.outbox_repair import begin_again, clear_drafts, put_back

logger = logging.getLogger(__name__)
T = TypeVar("T")

_ROOM = 1 << 20
_MEND_EVERY_S = 10.0


class OutboxDisk:
    """Opens the file when it is needed, again after every error, and repairs what can be repaired.
    One thread at a time.

    opened: called with a file that was just opened, and what was repaired (`damaged_files`,
    `replaced_files`) or None; may raise what the file raises. make_room: see Outbox. retry_s:
    between two tries of a disk that takes nothing.
    """

    def __init__(
        self,
        path: Path,
        open_file: Callable[[Path], OutboxFile],
        opened: Callable[[OutboxFile, str | None], None],
        *,
        clock: Callable[[], float],
        retry_s: float,
        make_room: Callable[[int], int] | None,
    ) -> None:
        self._path, self._open_file, self._opened = path, open_file, opened
        self._clock, self._retry_s, self._make_room = clock, retry_s, make_room
        self._file: OutboxFile | None = None
        self._closed = False
        self._retry_at = self._mend_at = clock()
        self.error: str | None = None
        clear_drafts(path)

    def write(self, call: Callable[[OutboxFile], None]) -> bool:
        """Do something that must reach the disk; False where it does not."""
        if not self._may_try():
            return False
        for last in (False, False, True):
            try:
                call(self._ready())
                break
            except (sqlite3.Error, OSError) as error:
                self._drop()
                if last or not self._repair(error):
                    self._retry_at = self._clock() + self._retry_s
                    self._degrade(error)
                    return False
        if self.error is not None:
            logger.warning("outbox_recovered path=%s", self._path)
            self.error = None
        return True

    def use(self, call: Callable[[OutboxFile], T], *, patient: bool = True) -> T | None:
        """Do something that may be left undone: None then. patient: not before the next try of a
        disk that takes nothing; reading may work all the same."""
        if self._closed or (patient and not self._may_try()):
            return None
        try:
            return call(self._ready())
        except (sqlite3.Error, OSError) as error:
            self._drop()
            if not (is_damaged(error) and self._set_aside(error)):
                self._degrade(error)  # the next write is tried all the same
            return None

    def try_now(self) -> None:
        """Do not wait for the next try."""
        self._retry_at = self._mend_at = self._clock()

    def close(self) -> None:
        """Close for good; harmless when repeated."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._closed = True

    def _may_try(self) -> bool:
        return not self._closed and (self.error is None or self._clock() >= self._retry_at)

    def _ready(self) -> OutboxFile:
        """The open file, in its place."""
        if self._file is not None and not self._file.in_place:
            self._put_back(self._file)
        if self._file is None:
            self._take(self._open_file(self._path), None)
        assert self._file is not None
        return self._file

    def _take(self, file: OutboxFile, repaired: str | None) -> None:
        try:
            self._opened(file, repaired)
        except BaseException:
            file.close()
            raise
        self._file = file

    def _put_back(self, file: OutboxFile) -> None:
        """Somebody deleted or replaced the file: what it held is still open here."""
        aside = put_back(file, self._path)
        self._file = None
        logger.error("outbox_replaced path=%s written=again other_kept_as=%s", self._path, aside)
        self._take(self._open_file(self._path), "replaced_files")

    def _repair(self, error: Exception) -> bool:
        """Make another try worthwhile; False when there is nothing to do but wait."""
        if is_full(error):
            return self._make_room is not None and self._make_room(_ROOM) > 0
        return is_damaged(error) and self._set_aside(error)

    def _set_aside(self, error: Exception) -> bool:
        """Move a damaged file away and begin again with what can be read of it. False where the
        disk takes that no better: the file is as it was, and left alone for a while."""
        if self._file is not None:
            return False  # `_drop` kept it: it lost its name, is whole, and all there is
        if self._clock() < self._mend_at:
            return False
        try:
            aside, count = begin_again(self._path, self._open_file)
            logger.error(
                "outbox_damaged path=%s kept_as=%s salvaged=%d error=%s",
                self._path, aside, count, error,
            )  # fmt: skip
            self._take(self._open_file(self._path), "damaged_files")
        except (sqlite3.Error, OSError):
            self._mend_at = self._clock() + _MEND_EVERY_S
            return False
        return True

    def _degrade(self, error: Exception) -> None:
        if self.error is None:
            logger.error("outbox_degraded path=%s error=%s events_go=memory", self._path, error)
        self.error = str(error)

    def _drop(self) -> None:
        # A file that lost its name is all that is left of its events.
        if self._file is not None and self._file.in_place:
            self._file.close()
            self._file = None
