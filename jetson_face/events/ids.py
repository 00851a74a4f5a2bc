"""Ids that are never used again: UUID version 7 (RFC 9562), which sort by the time they were made.

No counter on a disk: an id is as new after the outbox was lost as before.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
import uuid
from collections.abc import Callable

_RANDOM_BITS = 74


class NewIds:
    """Makes ids that rise, whatever the wall clock does while this program runs. Any thread.

    wall: UTC seconds. random: so many random bytes.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._wall, self._random = wall, random
        self._lock = threading.Lock()
        self._last = (0, 0)

    def __call__(self) -> str:
        """The next id."""
        now_ms = max(0, int(self._wall() * 1000))
        fresh = int.from_bytes(self._random(10), "big") % (1 << _RANDOM_BITS)
        with self._lock:
            last_ms, last_bits = self._last
            if now_ms > last_ms:
                self._last = (now_ms, fresh)
            else:
                # In the same millisecond, or after the clock was set back: a little above the last.
                bits = last_bits + 1 + fresh % (1 << 32)
                self._last = (last_ms + (bits >> _RANDOM_BITS), bits % (1 << _RANDOM_BITS))
            return uuid_of(*self._last)


def uuid_of(ms: int, bits: int) -> str:
    """The UUID of version 7 with a time (milliseconds since 1970) and the lowest 74 of `bits`."""
    high, low = bits >> 62, bits & ((1 << 62) - 1)
    value = (ms & ((1 << 48) - 1)) << 80 | 0x7 << 76 | (high & 0xFFF) << 64 | 0x2 << 62 | low
    return str(uuid.UUID(int=value))


def id_of_row(seq: int, age: float, wall: float, kind: str) -> str:
    """The id of an event that an earlier version stored without one: the same each time it is
    asked, since a row's number and times do not change."""
    digest = hashlib.blake2b(f"{seq} {age!r} {wall!r} {kind}".encode(), digest_size=10).digest()
    ms = int(wall * 1000) if 0 <= wall < 1e11 else 0
    return uuid_of(ms, int.from_bytes(digest, "big"))


new_id = NewIds()
"""This process's."""
