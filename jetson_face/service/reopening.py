"""A file beside the service's work: opened when it is used, and again after it failed or went."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from jetson_face.core.errors import JetsonFaceError

logger = logging.getLogger(__name__)


class _Kept(Protocol):
    """What can be opened so."""

    @property
    def in_place(self) -> bool: ...

    def close(self) -> None: ...


K = TypeVar("K", bound=_Kept)
T = TypeVar("T")


class Reopening(Generic[K]):
    """See the module. Any thread. what: for the log, one word. error: why it cannot be used now,
    None while it can."""

    def __init__(self, what: str, open_kept: Callable[[], K]) -> None:
        self._what, self._open = what, open_kept
        self._lock = threading.Lock()
        self.now: K | None = None
        self.error: str | None = None

    def use(self, call: Callable[[K], T]) -> T | None:
        """What the call returns; None where the file cannot be used, which is logged once."""
        with self._lock:
            try:
                if self.now is not None and not self.now.in_place:
                    logger.warning("%s_gone begun=again", self._what)
                    self.now.close()
                    self.now = None
                if self.now is None:
                    self.now = self._open()
                found = call(self.now)
            except JetsonFaceError as error:
                if self.error is None:
                    logger.error("%s_not_kept error=%s", self._what, error)
                self.error = str(error)
                return None
            if self.error is not None:
                logger.warning("%s_back", self._what)
                self.error = None
            return found

    def close(self) -> None:
        """Let the file go."""
        with self._lock:
            if self.now is not None:
                self.now.close()
