"""Channels between stages, and a courier for calls that hang; only this and `stages` make threads.

Closing a channel is the only way to end: what is queued drains downstream, then `get` raises
Closed; upstream, the next `put` raises it. There are no sentinel values, which cannot get into a
full queue.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakSet

log = logging.getLogger(__name__)
T = TypeVar("T")


class Closable(Protocol):
    """A channel or a fan-in."""

    def close(self) -> None: ...


class Closed(Exception):  # noqa: N818 - an end, not an error
    """Raised by `get` and `put` after `close`: the normal end of a stage."""


class StillBusyError(TimeoutError):
    """A courier's call is not over yet; not to be confused with a TimeoutError of the call."""


@dataclass(frozen=True, slots=True)
class ChannelCounts:
    """What went through a channel. Always: put = got + dropped + waiting."""

    put: int
    got: int
    dropped: int
    waiting: int


class Channel(Generic[T]):
    """FIFO of at most `size` items between threads, with the life cycle that all channels share.

    drop_oldest False: a full channel makes `put` wait (files, evaluation: nothing is lost).
    drop_oldest True: `put` never waits, a full channel loses its oldest item, and that is counted.
    """

    def __init__(
        self,
        name: str,
        size: int,
        *,
        drop_oldest: bool,
        cond: threading.Condition | None = None,
    ) -> None:
        if size < 1:
            raise ValueError(f"channel {name!r} needs room for at least one item, got {size}")
        self.name = name
        self._cond = cond if cond is not None else threading.Condition()
        self._items: deque[T] = deque()
        self._size = size
        self._drop_oldest = drop_oldest
        self._closed = self._interrupted = False
        self._put = self._got = self._dropped = 0

    def put(self, item: T, *, timeout_s: float | None = None) -> None:
        """Hand over an item. Raises Closed, or TimeoutError if no room came in `timeout_s`."""
        with self._cond:
            if not self._drop_oldest and not self._cond.wait_for(self._has_room, timeout_s):
                raise TimeoutError(f"channel {self.name!r} stayed full for {timeout_s} s")
            if self._closed:
                raise Closed(self.name)
            if len(self._items) >= self._size:
                self._items.popleft()
                self._dropped += 1
            self._items.append(item)
            self._put += 1
            self._cond.notify_all()

    def get(self, *, timeout_s: float | None = None) -> T:
        """Wait for the next item.

        Raises Closed once closed and drained, TimeoutError if nothing came in `timeout_s` or
        `interrupt` was called.
        """
        with self._cond:
            self._cond.wait_for(self._has_news, timeout_s)
            self._interrupted = False
            if not self._items and not self._closed:
                raise TimeoutError(f"channel {self.name!r} stayed empty for {timeout_s} s")
            return self._take()

    def interrupt(self) -> None:
        """End the `get` that waits, or the next one, with TimeoutError: its thread is wanted."""
        with self._cond:
            self._interrupted = True
            self._cond.notify_all()

    def close(self) -> None:
        """End the channel from either side; harmless when repeated."""
        with self._cond:
            self._closed = True
            self._cond.notify_all()

    @property
    def counts(self) -> ChannelCounts:
        """A consistent snapshot."""
        with self._cond:
            return ChannelCounts(self._put, self._got, self._dropped, len(self._items))

    @property
    def dropped(self) -> int:
        """Items replaced or pushed out before anybody got them."""
        return self._dropped

    def _has_news(self) -> bool:
        return bool(self._items) or self._closed or self._interrupted

    def _has_room(self) -> bool:
        return self._closed or len(self._items) < self._size

    def _take(self) -> T:
        if not self._items:
            raise Closed(self.name)
        item = self._items.popleft()
        self._got += 1
        self._cond.notify_all()
        return item


class LatestSlot(Channel[T]):
    """One-element channel: `put` never waits, it replaces an unread item."""

    def __init__(self, name: str = "slot", *, cond: threading.Condition | None = None) -> None:
        super().__init__(name, 1, drop_oldest=True, cond=cond)


class BoundedQueue(Channel[T]):
    """FIFO that blocks its writer when full, or drops the oldest item."""

    def __init__(
        self,
        size: int,
        name: str = "queue",
        *,
        drop_oldest: bool = False,
        cond: threading.Condition | None = None,
    ) -> None:
        super().__init__(name, size, drop_oldest=drop_oldest, cond=cond)


class FanIn(Generic[T]):
    """Several channels read by one thread in turn, so that a busy writer cannot starve the others.

    The channels share one condition: one wait covers them all.
    """

    def __init__(self) -> None:
        self._cond = threading.Condition()
        self._channels: list[Channel[T]] = []
        self._next = 0

    @property
    def channels(self) -> Sequence[Channel[T]]:
        """In the order they were added."""
        return tuple(self._channels)

    def add_slot(self, name: str) -> LatestSlot[T]:
        """A new writer whose newest item counts."""
        slot: LatestSlot[T] = LatestSlot(name, cond=self._cond)
        self._channels.append(slot)
        return slot

    def add_queue(self, size: int, name: str, *, drop_oldest: bool = False) -> BoundedQueue[T]:
        """A new writer with a queue of its own."""
        queue: BoundedQueue[T] = BoundedQueue(size, name, drop_oldest=drop_oldest, cond=self._cond)
        self._channels.append(queue)
        return queue

    def get(self, *, timeout_s: float | None = None) -> T:
        """The next item of the channel whose turn it is, skipping the empty ones.

        Raises Closed once every channel is closed and drained, TimeoutError after `timeout_s`.
        """
        return self.get_round(1, timeout_s=timeout_s)[0]

    def get_round(self, most: int, *, timeout_s: float | None = None) -> list[T]:
        """As `get`, and the next items of up to `most` - 1 other channels that have some."""
        with self._cond:
            if not self._cond.wait_for(self._ready, timeout_s):
                raise TimeoutError(f"nothing came in {timeout_s} s")
            n, begin, taken = len(self._channels), self._next, list[T]()
            for place in range(begin, begin + n):
                channel = self._channels[place % n]
                if channel._items and len(taken) < most:
                    self._next = (place + 1) % n
                    taken.append(channel._take())
            if not taken:
                raise Closed("all channels")
            return taken

    def _ready(self) -> bool:
        return any(c._items for c in self._channels) or all(c._closed for c in self._channels)

    def close(self) -> None:
        """Close every channel."""
        for channel in self._channels:
            channel.close()


_closed_couriers: WeakSet[Courier[Any]] = WeakSet()
_LAST_CALL_S = 0.5


@atexit.register
def _let_couriers_end() -> None:
    """A thread that the interpreter's end meets inside native code aborts the process."""
    end = time.monotonic() + _LAST_CALL_S
    for courier in list(_closed_couriers):
        courier.join(max(0.0, end - time.monotonic()))


class Courier(Generic[T]):
    """Makes one blocking call after another in a thread of its own, so that its user can give up.

    For calls that no time-out reaches (a camera driver, a dead network): `close` returns at once,
    and the thread ends whenever its call does, after `on_late` got rid of what came too late.
    """

    def __init__(self, name: str, *, on_late: Callable[[T], None] | None = None) -> None:
        self._cond = threading.Condition()
        self._call: Callable[[], T] | None = None
        self._result: tuple[T] | None = None
        self._error: BaseException | None = None
        self._busy = self._closed = False
        self._on_late = on_late
        self._cleanup: Callable[[], None] | None = None
        self._thread = threading.Thread(target=self._body, name=name, daemon=True)
        self._thread.start()

    def fetch(self, call: Callable[[], T], *, timeout_s: float) -> T:
        """The call's result; starts the call unless the one before is still under way.

        Raises what the call raised, StillBusyError if it is not over in `timeout_s` (a later
        `fetch` then waits for the same call), Closed after `close`.
        """
        with self._cond:
            if self._closed:
                raise Closed(self._thread.name)
            if not self._busy:
                self._busy, self._call = True, call
                self._cond.notify_all()
            if not self._cond.wait_for(self._over, timeout_s):
                raise StillBusyError(f"{self._thread.name}: no answer in {timeout_s:g} s")
            if self._closed:
                raise Closed(self._thread.name)
            result, error = self._result, self._error
            self._busy, self._result, self._error = False, None, None
            if error is not None:
                raise error
            assert result is not None
            return result[0]

    def close(self, cleanup: Callable[[], None] | None = None) -> None:
        """Give up; `cleanup` runs in the courier's thread, after the call it may be in."""
        with self._cond:
            if self._closed:
                return
            self._closed, self._cleanup = True, cleanup
            self._cond.notify_all()
        _closed_couriers.add(self)

    def join(self, timeout_s: float) -> bool:
        """After `close`: whether the thread ended in time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _over(self) -> bool:
        return self._closed or self._result is not None or self._error is not None

    def _body(self) -> None:
        while self._step():
            pass
        with self._cond:
            late, self._result = self._result, None
        try:
            # Also what was ready when `close` came and nobody fetched.
            if late is not None and self._on_late is not None:
                self._on_late(late[0])
            if self._cleanup is not None:
                self._cleanup()
        except Exception:
            log.exception("%s: cleaning up failed", self._thread.name)

    def _step(self) -> bool:
        with self._cond:
            self._cond.wait_for(lambda: self._call is not None or self._closed)
            call, self._call = self._call, None
            if self._closed or call is None:
                return False
        result: tuple[T] | None = None
        error: BaseException | None = None
        try:
            result = (call(),)
        except BaseException as exc:
            error = exc
        with self._cond:
            self._result, self._error = result, error
            self._cond.notify_all()
            return True
