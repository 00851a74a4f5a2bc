"""A durable queue between decisions and sinks: events go to the disk first, sinks read from it.

At least once: an event that `append` called durable survives a power cut, and a consumer sees it
until it acknowledged it, or refused it for good. Bounded by size and by age; whatever is given up
is counted. A file that is damaged is set aside, one that was deleted is written again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from jetson_face.events.cursors import Cursors
from jetson_face.events.outbox_disk import OutboxDisk
from jetson_face.events.outbox_file import Evicted, OutboxFile
from jetson_face.events.outbox_rows import Changes, Event, Refused

logger = logging.getLogger(__name__)
T = TypeVar("T")

__all__ = ["Appended", "Event", "Outbox", "OutboxLimits", "OutboxState"]

_OFF_MAX_S = 7 * 86400.0
_CHECK_EVERY = 64
_KEEP_FRACTION = 0.9
_REFUSED = "refused by "


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
    takes nothing, None while it does. counts: what was given up or repaired, by reason. set_aside:
    events that a consumer refused and that wait for somebody; refused: how many it ever refused.
    """

    rows: int
    used_bytes: int
    memory: int
    lag: dict[str, int]
    error: str | None
    counts: dict[str, int]
    set_aside: dict[str, int]
    refused: dict[str, int]


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
        self._limits = limits or OutboxLimits()
        self._clock, self._wall = clock, wall
        self._cond = threading.Condition()
        self._memory: deque[Event] = deque()
        self._cursors = Cursors()
        self._counts: Counter[str] = Counter()
        self._last = 0
        self._numbered = False
        self._age0, self._clock0, self._read_at = 0.0, clock(), clock()
        self._since_check = 0
        self._again: set[str] = set()
        self._seen_changes: int | None = None
        self._disk = OutboxDisk(
            path,
            open_file,
            self._opened,
            clock=clock,
            retry_s=self._limits.retry_s,
            make_room=make_room,
        )
        self._store(Changes())
        self.check()

    def append(self, records: Sequence[tuple[str, bytes]]) -> Appended:
        """Store (kind, body) records in one transaction; never raises for a bad disk.

        While the disk takes nothing they wait in memory, the oldest making room, counted.
        """
        with self._cond:
            if not self._numbered:
                self._store(Changes())
            events = [self._stamp(kind, body) for kind, body in records]
            durable = self._store(Changes(events))
            if not durable:
                self._remember(events)
            self._cond.notify_all()
            if not events or not self._numbered:
                return Appended(0, 0, durable)
            return Appended(self._last - len(events) + 1, self._last, durable)

    def subscribe(self, consumer: str) -> None:
        """Somebody delivers to a consumer; a new one starts at the oldest event kept."""
        with self._cond:
            if self._cursors.come(consumer):
                self._store(Changes())

    def only(self, consumers: Collection[str]) -> None:
        """Nobody delivers to other consumers any more; they keep their place as long as events are
        kept, so that one who comes back gets nothing twice."""
        with self._cond:
            self._cursors.leave(consumers, self.age())
            self._store(Changes())

    def read(self, consumer: str, limit: int = 100) -> list[Event]:
        """The oldest events that `consumer` has not acknowledged; the same again until it does.

        Raises KeyError for a consumer that never subscribed.
        """
        with self._cond:
            after = self._cursors.acked(consumer)
            found = self._read_disk(lambda file: self._good_rows(file, after, limit))
            if found is None:
                # What waits in memory is newer than what the disk holds and must not overtake it.
                return []
            found += [e for e in self._memory if e.seq > after][: limit - len(found)]
            if not found:
                # What was between here and the end has been given up: nothing to come back for.
                self._cursors.move(consumer, self._last)
            return found

    def since(self, seq: int, limit: int = 1000) -> list[Event]:
        """The oldest events on the disk after a number, whoever has them."""
        with self._cond:
            return self._read_disk(lambda file: self._good_rows(file, seq, limit)) or []

    def ack(self, consumer: str, seq: int) -> None:
        """`consumer` is done with every event up to and with `seq`."""
        with self._cond:
            if self._cursors.move(consumer, min(seq, self._last)):
                self._store(Changes())

    def refuse(self, consumer: str, event: Event, error: str) -> bool:
        """Set an event aside that `consumer` will not take, as if acknowledged. False where the
        disk does not take it: it is still to be delivered then. error: for people."""
        with self._cond:
            before, count = self._cursors.acked(consumer), _REFUSED + consumer
            moved = self._cursors.move(consumer, event.seq)
            self._counts[count] += 1
            if self._store(Changes(refused=[Refused(consumer, event, error)])):
                return True
            self._counts[count] -= 1
            if moved:
                self._cursors.put_back(consumer, before)
            return False

    def read_again(self, consumer: str, limit: int = 100) -> list[Refused]:
        """What `consumer` refused and somebody asked to send it again."""
        with self._cond:
            if consumer not in self._again:
                return []
            found = self._read_disk(lambda file: file.refused(consumer, again=True, limit=limit))
            if found is not None and not found:
                self._again.discard(consumer)
            return found or []

    def settle(self, item: Refused, error: str | None) -> bool:
        """An event of `read_again` was taken, or refused again with an error; False where the disk
        does not take that."""
        if error is None:
            changes = Changes(settled=[(item.consumer, item.event.seq)])
        else:
            still = replace(item, error=error, tries=item.tries + 1, again=False)
            changes = Changes(refused=[still])
        with self._cond:
            return self._store(changes)

    def wait(self, consumer: str, timeout_s: float) -> bool:
        """Wait until there is something to read; False when nothing came in time."""

        def ready() -> bool:
            if not self._numbered or self._clock() < self._read_at:
                return False
            return self._last > self._cursors.acked(consumer) or consumer in self._again

        with self._cond:
            return self._cond.wait_for(ready, timeout_s)

    def wake(self) -> None:
        """End every `wait` soon, for stopping."""
        with self._cond:
            self._cond.notify_all()

    def check(self) -> None:
        """Notice what others did to the file: that it has gone, or that refused events are to be
        sent again. For a timer; cheap."""

        def look(file: OutboxFile) -> None:
            changes = file.foreign_changes
            if changes != self._seen_changes:
                self._again = {item.consumer for item in file.refused(again=True)}
                self._seen_changes = changes
                self._cond.notify_all()

        with self._cond:
            self._disk.use(look)

    def prune(self) -> None:
        """Give up what is too old or too much, and try a failing disk again; for a timer."""
        with self._cond:
            self._store(Changes())
            oldest = self.age() - self._limits.max_age_s

            def shrink(file: OutboxFile) -> None:
                self._count_evicted("age", file, file.evict_older(oldest, self._low()))
                # All that they had acknowledged has gone by now: their place says nothing more.
                for consumer in self._cursors.gone(oldest):
                    file.forget(consumer)
                self._evict_much(file)
                file.save_clock(self.age(), self._wall())

            self._disk.use(shrink)

    def age(self) -> float:
        """Service time now, seconds."""
        return self._age0 + self._clock() - self._clock0

    @property
    def degraded(self) -> bool:
        """The disk takes nothing now."""
        return self._disk.error is not None

    def state(self) -> OutboxState:
        """A consistent snapshot."""
        with self._cond:
            rows = self._peek(lambda file: file.rows()) or 0
            used = self._peek(lambda file: file.used_bytes()) or 0
            first = self._peek(lambda file: file.first_seq())
            if not first:
                first = self._memory[0].seq if self._memory else self._last + 1
            own, refused = dict(self._counts), {}
            for name in [name for name in own if name.startswith(_REFUSED)]:
                refused[name.removeprefix(_REFUSED)] = own.pop(name)
            return OutboxState(
                rows=rows,
                used_bytes=used,
                memory=len(self._memory),
                lag=self._cursors.lag(first, self._last),
                error=self._disk.error,
                counts=own,
                set_aside=self._peek(lambda file: file.refused_counts()) or {},
                refused=refused,
            )

    def close(self) -> None:
        """Write what is in memory if the disk takes it, and close; harmless when repeated."""
        with self._cond:
            self._disk.try_now()
            self._store(Changes())
            self._disk.use(lambda file: file.save_clock(self.age(), self._wall()))
            if self._memory:
                logger.error("outbox_lost events=%d error=%s", len(self._memory), self._disk.error)
            self._disk.close()
            self._cond.notify_all()

    def _stamp(self, kind: str, body: bytes) -> Event:
        # Before the file could be read once, the next number is unknown: 0 until then.
        if self._numbered:
            self._last += 1
        return Event(self._last, self.age(), self._wall(), kind, body)

    def _low(self) -> int:
        return self._cursors.low(self._last)

    def _store(self, changes: Changes) -> bool:
        """Write memory, changes and cursors; False when the disk does not take them."""
        if changes.events and changes.events[0].seq == 0:
            return False
        stored = self._disk.write(lambda file: self._write(file, changes))
        if stored and self._since_check >= _CHECK_EVERY:
            self._disk.use(self._evict_much)
        return stored

    def _write(self, file: OutboxFile, changes: Changes) -> None:
        wanted = replace(
            changes,
            events=[*self._memory, *changes.events],
            cursors=self._cursors.unsaved(),
            counts=self._counts,
        )
        if wanted.events or wanted.cursors or wanted.refused or wanted.settled:
            file.write(wanted)
            self._memory.clear()
            self._cursors.saved()
            self._since_check += len(changes.events)

    def _opened(self, file: OutboxFile, repaired: str | None) -> None:
        """A file to work with, the first one or another."""
        self._cursors.learn(file.cursors())
        if self._numbered:
            self._last = max(self._last, file.last_seq())
        else:
            self._adopt(file)
        if repaired is not None:
            self._counts[repaired] += 1
            file.write(Changes(cursors=self._cursors.everyone(), counts=self._counts))
        self._seen_changes = None

    def _adopt(self, file: OutboxFile) -> None:
        """First look at the file: counts, numbers, service time."""
        counts, last, (age, wall) = file.counts(), file.last_seq(), file.last_clock()
        self._counts.update(counts)
        off = min(max(self._wall() - wall, 0.0), _OFF_MAX_S) if wall else 0.0
        self._age0 = age + off
        self._last, self._numbered = last, True
        for index, event in enumerate(self._memory):
            self._last += 1
            self._memory[index] = replace(event, seq=self._last, age=event.age + age + off)

    def _remember(self, events: Sequence[Event]) -> None:
        self._memory.extend(events)
        while len(self._memory) > self._limits.memory_max:
            self._memory.popleft()
            self._counts["memory"] += 1

    def _peek(self, call: Callable[[OutboxFile], T]) -> T | None:
        """A full disk can still be read: sinks go on while it takes nothing."""
        return self._disk.use(call, patient=False)

    def _read_disk(self, call: Callable[[OutboxFile], list[T]]) -> list[T] | None:
        """None where the disk cannot be read now; it is left alone for a while then."""
        if self._clock() < self._read_at:
            return None
        found = self._peek(call)
        if found is None and not self.degraded:  # the file was damaged, and another one is there
            found = self._peek(call)
        if found is None:
            self._read_at = self._clock() + self._limits.retry_s
        return found

    def _good_rows(self, file: OutboxFile, after: int, limit: int) -> list[Event]:
        while True:
            good, bad = file.read(after, limit)
            if not bad:
                return good
            logger.error("outbox_damaged_rows seqs=%s", bad)
            file.delete(bad)
            self._counts["damaged_rows"] += len(bad)
            file.write(Changes(counts=self._counts))

    def _evict_much(self, file: OutboxFile) -> None:
        self._since_check = 0
        used = file.used_bytes()
        if used > self._limits.max_bytes:
            share = 1 - _KEEP_FRACTION * self._limits.max_bytes / used
            self._count_evicted("size", file, file.evict_share(share, self._low()))

    def _count_evicted(self, reason: str, file: OutboxFile, gone: Evicted) -> None:
        counts = {reason: gone.rows, "unread": gone.unread, "refused": gone.refused}
        if any(counts.values()):
            self._counts += Counter(counts)
            file.write(Changes(counts=self._counts))
