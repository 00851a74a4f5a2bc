"""Channels between stages, and the threads that run the stages; the only file that makes threads.

Closing a channel is the only way to end: what is queued drains downstream, then `get` raises
Closed; upstream, the next `put` raises it. There are no sentinel values, which cannot get into a
full queue.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from jetson_face.core.errors import JetsonFaceError

log = logging.getLogger(__name__)
T = TypeVar("T")


class Closable(Protocol):
    """A channel or a fan-in."""

    def close(self) -> None: ...


class Closed(Exception):  # noqa: N818 - an end, not an error
    """Raised by `get` and `put` after `close`: the normal end of a stage."""


class StillBusyError(TimeoutError):
    """A courier's call is not over yet; not to be confused with a TimeoutError of the call."""


class StageStuckError(JetsonFaceError, TimeoutError):
    """A stage did not end in the time it was given after everything was closed."""


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
        self._closed = False
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

        Raises Closed once closed and drained, TimeoutError if nothing came in `timeout_s`.
        """
        with self._cond:
            if not self._cond.wait_for(lambda: self._items or self._closed, timeout_s):
                raise TimeoutError(f"channel {self.name!r} stayed empty for {timeout_s} s")
            return self._take()

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
        with self._cond:
            if not self._cond.wait_for(self._ready, timeout_s):
                raise TimeoutError(f"nothing came in {timeout_s} s")
            n = len(self._channels)
            for step in range(n):
                channel = self._channels[(self._next + step) % n]
                if channel._items:
                    self._next = (self._next + step + 1) % n
                    return channel._take()
            raise Closed("all channels")

    def _ready(self) -> bool:
        return any(c._items for c in self._channels) or all(c._closed for c in self._channels)

    def close(self) -> None:
        """Close every channel."""
        for channel in self._channels:
            channel.close()


class StageGroup:
    """Runs each stage's loop in its own thread; the first failure stops all and is re-raised.

    A stage ends by returning or by letting Closed through. Whatever way it ends, its channels are
    closed: downstream drains and ends, upstream's next `put` raises Closed.
    """

    def __init__(self, *, stuck_s: float = 10.0) -> None:
        self.stop = threading.Event()
        """Set when the group is cancelled; for stages to wait on instead of sleeping."""
        self._stuck_s = stuck_s
        self._channels: list[Closable] = []
        self._threads: list[threading.Thread] = []
        self._background: set[threading.Thread] = set()
        self._error: BaseException | None = None
        self._lock = threading.Lock()

    def add(
        self,
        name: str,
        loop: Callable[[threading.Event], None],
        *,
        reads: Sequence[Closable] = (),
        writes: Sequence[Closable] = (),
        background: bool = False,
    ) -> None:
        """Add a stage: `loop(stop)` runs in a thread called `name` once `run` is called.

        background: the group does not wait for this stage, it is stopped when the others ended.
        """
        ends = (*writes, *reads)
        self._channels.extend(ends)

        def body() -> None:
            try:
                loop(self.stop)
            except Closed:
                pass
            except BaseException as exc:
                self._fail(exc)
            finally:
                for channel in ends:
                    channel.close()

        thread = threading.Thread(target=body, name=name, daemon=True)
        self._threads.append(thread)
        if background:
            self._background.add(thread)

    def cancel(self) -> None:
        """End every stage soon; from any thread, harmless when repeated."""
        self.stop.set()
        for channel in self._channels:
            channel.close()

    def run(self, on_tick: Callable[[], None] | None = None, *, tick_s: float = 0.1) -> None:
        """Run all stages to their end, calling `on_tick` in this thread every `tick_s`.

        Raises the first exception that any stage raised; StageStuckError when a stage does not
        end within `stuck_s` after `cancel`.
        """
        for thread in self._threads:
            thread.start()
        try:
            self._join(on_tick, tick_s)
        except BaseException:
            # Also KeyboardInterrupt: the stages close their files before it goes on.
            self.cancel()
            deadline = time.monotonic() + self._stuck_s
            for thread in self._threads:
                thread.join(max(0.0, deadline - time.monotonic()))
            raise
        if self._error is not None:
            raise self._error

    def _fail(self, exc: BaseException) -> None:
        with self._lock:
            first = self._error is None
            if first:
                self._error = exc
        if not first:
            log.warning("also failed while stopping: %s: %s", type(exc).__name__, exc)
        self.cancel()

    def _alive(self) -> list[threading.Thread]:
        return [thread for thread in self._threads if thread.is_alive()]

    def _join(self, on_tick: Callable[[], None] | None, tick_s: float) -> None:
        deadline: float | None = None
        while alive := self._alive():
            # Short joins keep the main thread open to signals.
            (set(alive) - self._background or set(alive)).pop().join(tick_s)
            if on_tick is not None:
                on_tick()
            if not self.stop.is_set():
                if self._background.issuperset(self._alive()):
                    self.cancel()
                continue
            now = time.monotonic()
            deadline = now + self._stuck_s if deadline is None else deadline
            if now > deadline:
                names = ", ".join(thread.name for thread in self._alive())
                if self._error is not None:
                    log.error("these stages do not end and are left behind: %s", names)
                    return
                raise StageStuckError(f"these stages did not end in {self._stuck_s:g} s: {names}")


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
