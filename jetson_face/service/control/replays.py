"""Writes that are sent twice are done once: answers kept by the key that came with the request."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

KEPT_S = 600.0
_MOST = 500
R = TypeVar("R")


class KeyUsedError(Exception):
    """The key came with another request before."""


@dataclass(slots=True)
class _Kept(Generic[R]):
    digest: bytes
    since: float
    lock: threading.Lock = field(default_factory=threading.Lock)
    answer: R | None = None


class Replays(Generic[R]):
    """The answers of the last ten minutes, at most 500; any thread. final: whether an answer is the
    last word; another is asked for again."""

    def __init__(
        self,
        final: Callable[[R], bool] = lambda answer: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._final, self._clock = final, clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept[R]] = OrderedDict()

    def once(self, key: str, request: bytes, do: Callable[[], R]) -> R:
        """The answer that the same request with this key got, or what `do` returns now; one that
        is under way is waited for. Raises KeyUsedError for another request."""
        digest = hashlib.sha256(request).digest()
        kept = self._entry(key, digest)
        if kept.digest != digest:
            raise KeyUsedError
        with kept.lock:
            if kept.answer is not None:
                return kept.answer
            answer = do()
            if self._final(answer):
                kept.answer = answer
            return answer

    def _entry(self, key: str, digest: bytes) -> _Kept[R]:
        now = self._clock()
        with self._lock:
            while self._kept:
                oldest = next(iter(self._kept.values()))
                if now - oldest.since < KEPT_S and len(self._kept) <= _MOST:
                    break
                self._kept.popitem(last=False)
            return self._kept.setdefault(key, _Kept(digest, now))
