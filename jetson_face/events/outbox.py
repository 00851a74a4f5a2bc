"""A durable queue between decisions and sinks: events go to the disk first, sinks read from it.

At least once: an event that `append` called durable survives a power cut, and a consumer sees it
until it acknowledged it. Bounded by size and by age; whatever is given up is counted.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jetson_face.events.outbox_file import Event, Evicted, OutboxFile, salvage

logger = logging.getLogger(__name__)

__all__ = ["Appended", "Event", "Outbox", "OutboxLimits", "OutboxState"]

_OFF_MAX_S = 7 * 86400.0
_CHECK_EVERY = 64
_KEEP_FRACTION = 0.9


@dataclass(frozen=True, slots=True)
class OutboxLimits:
    """What the outbox may grow to.

    max_bytes: of the file's used pages. max_age_s: service seconds (see `Outbox`). memory_max:
    events kept in memory while the disk takes none. retry_s: between two tries of a failing disk.
    """

    max_bytes: int = 256 << 20
    max_age_s: float = 30 * 86400.0
    memory_max: int = 10_000
    retry_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Appended:
    """first, last: numbers given, 0 while the disk was never readable. durable: on the disk."""

    first: int
    last: int
    durable: bool


@dataclass(frozen=True, slots=True)
class OutboxState:
    """For the status. lag: events each consumer has still to acknowledge. error: why the disk
    takes nothing, None while it does. counts: what was given up, by reason."""

    rows: int
    used_bytes: int
    memory: int
    lag: dict[str, int]
    error: str | None
    counts: dict[str, int]


class Outbox:
    """See the module. Any thread.

    Ages are *service time*, not wall time: seconds that this program ran, plus the time it was off
    where the wall clock says so, at most 7 days a stop. A clock that jumps by years therefore
    expires nothing.

    make_room: called with a number of bytes when the disk is full, returns how many it freed (the
    oldest snapshots go first).
    """

    def __init__(
        self,
        path: Path,
        limits: OutboxLimits | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        make_room: Callable[[int], int] | None = None,
        open_file: Callable[[Path], OutboxFile] = OutboxFile,
    ) -> None:
        self._path = path
        self._limits = limits or OutboxLimits()
        self._clock, self._wall = clock, wall
        self._make_room = make_room
        self._open_file = open_file
        self._cond = threading.Condition(threading.RLock())
        self._memory: deque[Event] = deque()
        self._cursors: dict[str, int] = {}
        self._unsaved: set[str] = set()
        self._counts: Counter[str] = Counter()
        self._file: OutboxFile | None = None
        self._last = 0
        self._numbered = self._closed = False
        self._age0, self._clock0 = 0.0, clock()
        self._error: str | None = None
        self._retry_at = clock()
        self._since_check = 0
        self._store(())

    def append(self, records: Sequence[tuple[str, bytes]]) -> Appended:
        """Store (kind, body) records in one transaction; never raises for a bad disk.

        While the disk takes nothing they wait in memory, the oldest making room, counted.
        """
        with self._cond:
            if not self._numbered:
                self._store(())
            events = [self._stamp(kind, body) for kind, body in records]
            durable = self._store(events)
            if not durable:
                self._remember(events)
            self._cond.notify_all()
            if not events or not self._numbered:
                return Appended(0, 0, durable)
            return Appended(self._last - len(events) + 1, self._last, durable)

    def subscribe(self, consumer: str) -> None:
        """Make a consumer known; a new one starts at the oldest event kept."""
        with self._cond:
            if consumer not in self._cursors:
                self._cursors[consumer] = 0
                self._unsaved.add(consumer)
                self._store(())

    def forget(self, consumer: str) -> None:
        """Remove a consumer, so that nothing waits for it."""
        with self._cond:
            self._cursors.pop(consumer, None)
            self._unsaved.discard(consumer)
            self._try(lambda file: file.forget(consumer))

    def read(self, consumer: str, limit: int = 100) -> list[Event]:
        """The oldest events that `consumer` has not acknowledged; the same again until it does.

        Raises KeyError for a consumer that never subscribed.
        """
        with self._cond:
            after = self._cursors[consumer]
            found = self._read_disk(after, limit)
            if found is None:
                # What waits in memory is newer than what the disk holds and must not overtake it.
                return []
            if len(found) < limit:
                found += [e for e in self._memory if e.seq > after][: limit - len(found)]
            return found

    def ack(self, consumer: str, seq: int) -> None:
        """`consumer` is done with every event up to and with `seq`."""
        with self._cond:
            if seq > self._cursors[consumer]:
                self._cursors[consumer] = min(seq, self._last)
                self._unsaved.add(consumer)
                self._store(())

    def wait(self, consumer: str, timeout_s: float) -> bool:
        """Wait until there is something to read; False when nothing came in time."""
        with self._cond:
            return self._cond.wait_for(
                lambda: self._numbered and self._last > self._cursors.get(consumer, 0), timeout_s
            )

    def wake(self) -> None:
        """End every `wait` soon, for stopping."""
        with self._cond:
            self._cond.notify_all()

    def prune(self) -> None:
        """Give up what is too old or too much, and try a failing disk again; for a timer."""
        with self._cond:
            self._store(())
            self._evict_old()
            self._evict_much()
            self._try(lambda file: file.save_clock(self.age(), self._wall()))

    def age(self) -> float:
        """Service time now, seconds."""
        return self._age0 + self._clock() - self._clock0

    @property
    def degraded(self) -> bool:
        """The disk takes nothing now."""
        return self._error is not None

    def state(self) -> OutboxState:
        """A consistent snapshot."""
        with self._cond:
            rows = self._try(lambda file: file.rows(), patient=False) or 0
            used = self._try(lambda file: file.used_bytes(), patient=False) or 0
            lag = {name: max(0, self._last - acked) for name, acked in self._cursors.items()}
            return OutboxState(rows, used, len(self._memory), lag, self._error, dict(self._counts))

    def close(self) -> None:
        """Write what is in memory if the disk takes it, and close; harmless when repeated."""
        with self._cond:
            self._retry_at = self._clock()
            if self._memory or self._unsaved:
                self._store(())
            self._try(lambda file: file.save_clock(self.age(), self._wall()))
            if self._memory:
                logger.error("outbox_lost events=%d error=%s", len(self._memory), self._error)
            self._drop_file()
            self._closed = True
            self._cond.notify_all()

    def _stamp(self, kind: str, body: bytes) -> Event:
        # Before the file could be read once, the next number is unknown: 0 until then.
        if self._numbered:
            self._last += 1
        return Event(self._last if self._numbered else 0, self.age(), self._wall(), kind, body)

    def _store(self, events: Sequence[Event]) -> bool:
        """Write memory, events and cursors; False when the disk does not take them."""
        if self._closed or (events and events[0].seq == 0):
            return False
        if self._error is not None and self._clock() < self._retry_at:
            return False
        for attempt in range(3):
            try:
                self._write(events)
            except (sqlite3.Error, OSError) as error:
                self._drop_file()
                if attempt < 2 and self._mend(error):
                    continue
                self._degrade(error)
                return False
            break
        if self._error is not None:
            logger.warning("outbox_recovered path=%s", self._path)
            self._error = None
        self._since_check += len(events)
        if self._since_check >= _CHECK_EVERY:
            self._evict_much()
        return True

    def _write(self, events: Sequence[Event]) -> None:
        file = self._opened()
        if not (events or self._memory or self._unsaved):
            return
        cursors = {name: self._cursors[name] for name in self._unsaved if name in self._cursors}
        file.write([*self._memory, *events], cursors, self._counts)
        self._memory.clear()
        self._unsaved.clear()

    def _opened(self) -> OutboxFile:
        if self._file is None:
            self._file = self._open_file(self._path)
            if not self._numbered:
                self._adopt(self._file)
        return self._file

    def _adopt(self, file: OutboxFile) -> None:
        """First look at the file: cursors, counts, numbers, service time."""
        self._cursors = {**file.cursors(), **self._cursors}
        self._counts.update(file.counts())
        self._last = file.last_seq()
        age, wall = file.last_clock()
        off = min(max(self._wall() - wall, 0.0), _OFF_MAX_S) if wall else 0.0
        self._age0 += age + off
        self._numbered = True
        for index, event in enumerate(self._memory):
            self._last += 1
            self._memory[index] = replace(event, seq=self._last, age=event.age + age + off)

    def _mend(self, error: Exception) -> bool:
        """Make another try worthwhile; False when there is nothing to do but wait."""
        if _is_full(error):
            return self._make_room is not None and self._make_room(1 << 20) > 0
        if _is_damaged(error):
            return self._set_aside(error)
        return False

    def _set_aside(self, error: Exception) -> bool:
        """Move a damaged file away and start anew with what can be read of it."""
        events, cursors = salvage(self._path)
        broken = self._path.with_name(f"{self._path.name}.broken")
        try:
            self._path.replace(broken)
            for suffix in ("-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            file = self._open_file(self._path)
        except (sqlite3.Error, OSError):
            return False
        logger.error(
            "outbox_damaged path=%s kept_as=%s salvaged=%d error=%s",
            self._path,
            broken,
            len(events),
            error,
        )
        try:
            file.write(events, {**cursors, **self._cursors}, {})
            self._file = file
            if self._numbered:
                self._last = max(self._last, file.last_seq())
            else:
                self._adopt(file)
            self._counts["damaged_files"] += 1
            file.write((), {}, self._counts)
        except sqlite3.Error:
            self._drop_file()
            return False
        return True

    def _degrade(self, error: Exception) -> None:
        self._retry_at = self._clock() + self._limits.retry_s
        if self._error is None:
            logger.error("outbox_degraded path=%s error=%s events_go=memory", self._path, error)
        self._error = str(error)

    def _remember(self, events: Sequence[Event]) -> None:
        self._memory.extend(events)
        while len(self._memory) > self._limits.memory_max:
            self._memory.popleft()
            self._counts["memory"] += 1

    def _drop_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _try(self, call: Callable[[OutboxFile], int | None], *, patient: bool = True) -> int | None:
        """Something that may be left undone when the disk is bad: None then.

        patient: not before the next try of a failing disk.
        """
        waiting = patient and self._error is not None and self._clock() < self._retry_at
        if self._closed or waiting:
            return None
        try:
            return call(self._opened())
        except (sqlite3.Error, OSError) as error:
            self._drop_file()
            if not (_is_damaged(error) and self._set_aside(error)):
                self._degrade(error)
            return None

    def _read_disk(self, after: int, limit: int) -> list[Event] | None:
        found: list[Event] = []

        def fetch(file: OutboxFile) -> int:
            good, bad = file.read(after, limit)
            found.extend(good)
            if bad:
                logger.error("outbox_damaged_rows seqs=%s", bad)
                self._counts["damaged_rows"] += len(bad)
                file.delete(bad)
                file.write((), {}, self._counts)
            return len(good)

        # A full disk can still be read: sinks go on while it takes nothing.
        return None if self._try(fetch, patient=False) is None else found

    def _evict_old(self) -> None:
        limit = self.age() - self._limits.max_age_s
        self._evict("age", lambda file: file.evict_older(limit))

    def _evict_much(self) -> None:
        self._since_check = 0
        used = self._try(lambda file: file.used_bytes()) or 0
        rows = self._try(lambda file: file.rows()) or 0
        if used > self._limits.max_bytes and rows:
            share = 1 - _KEEP_FRACTION * self._limits.max_bytes / used
            self._evict("size", lambda file: file.evict_oldest(max(1, int(rows * share))))

    def _evict(self, reason: str, call: Callable[[OutboxFile], Evicted]) -> None:
        def body(file: OutboxFile) -> None:
            gone = call(file)
            if gone.rows:
                self._counts[reason] += gone.rows
                self._counts["unread"] += gone.unread
                file.write((), {}, self._counts)

        self._try(body)


def _is_full(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", None) == 13 or "full" in str(error)


def _is_damaged(error: Exception) -> bool:
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(
        error, sqlite3.OperationalError | sqlite3.IntegrityError | sqlite3.ProgrammingError
    )
