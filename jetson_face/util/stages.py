"""Runs the loops of a program, each in a thread of its own, to their common end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from jetson_face.core.errors import JetsonFaceError
from jetson_face.util.bell import Bell
from jetson_face.util.channels import Closable, Closed

log = logging.getLogger(__name__)


class StageStuckError(JetsonFaceError, TimeoutError):
    """A stage did not end in the time it was given after everything was closed."""


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
        self._alive: set[threading.Thread] = set()
        self._background: set[threading.Thread] = set()
        self._wakes: list[Callable[[], None]] = []
        self._bell = Bell()
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
                self._alive.discard(threading.current_thread())
                self._bell.ring()

        thread = threading.Thread(target=body, name=name, daemon=True)
        self._alive.add(thread)
        if background:
            self._background.add(thread)

    def on_cancel(self, wake: Callable[[], None]) -> None:
        """Call this after `stop` was set: it ends a wait of a stage for something else."""
        self._wakes.append(wake)

    def cancel(self) -> None:
        """End every stage soon; from any thread, harmless when repeated."""
        self.stop.set()
        for channel in self._channels:
            channel.close()
        for wake in self._wakes:
            wake()

    @property
    def runs_here(self) -> bool:
        """Whether the caller is in the thread of a stage, which cannot wait for its own end."""
        return threading.current_thread() in self._alive

    def ring(self) -> None:
        """Let `on_tick` be called now; from any thread and from signal handlers."""
        self._bell.ring()

    def run(self, on_tick: Callable[[], None] | None = None, *, tick_s: float = 0.5) -> None:
        """Run all stages to their end, calling `on_tick` in this thread every `tick_s`, after every
        signal (in the main thread) and when a stage ended.

        Raises the first exception that any stage raised; StageStuckError when a stage does not
        end within `stuck_s` after `cancel`.
        """
        threads = list(self._alive)
        for thread in threads:
            thread.start()
        try:
            with self._bell.rung_by_signals():
                self._join(on_tick, tick_s)
            for thread in set(threads) - self._alive:  # none of ours is left in the process
                thread.join()
        except BaseException:
            # Also KeyboardInterrupt: the stages close their files before it goes on.
            self.cancel()
            deadline = time.monotonic() + self._stuck_s
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))
            raise
        finally:
            self._bell.close()
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

    def _join(self, on_tick: Callable[[], None] | None, tick_s: float) -> None:
        deadline: float | None = None
        while self._alive:
            self._bell.wait(tick_s)
            if on_tick is not None:
                on_tick()
            if not self.stop.is_set():
                if self._background.issuperset(self._alive):
                    self.cancel()
                continue
            now = time.monotonic()
            deadline = now + self._stuck_s if deadline is None else deadline
            if now > deadline:
                names = ", ".join(thread.name for thread in list(self._alive))
                if self._error is not None:
                    log.error("these stages do not end and are left behind: %s", names)
                    return
                raise StageStuckError(f"these stages did not end in {self._stuck_s:g} s: {names}")
