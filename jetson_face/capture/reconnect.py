"""Keeps a live source going: a lost camera is a state with backoff, not an exception."""

from __future__ import annotations

import dataclasses
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable

import numpy as np

from jetson_face.capture.source import (
    EndOfSource,
    FrameBroken,
    Source,
    SourceHealth,
    SourceInfo,
    SourceState,
)
from jetson_face.core.errors import SourceError
from jetson_face.core.types import Frame, Pixels
from jetson_face.util.backoff import Backoff, worth_a_line
from jetson_face.util.channels import Closed, Courier, StillBusyError

log = logging.getLogger(__name__)
_HANGING_MAX = 4
"""Calls into a dead driver that may hang at once; each holds a thread until it returns."""
_GRID = 32
"""Freeze detection looks at about 32 x 32 pixels: 8 µs at 1080p, and a sensor's noise shows."""


@dataclasses.dataclass(frozen=True, slots=True)
class ReconnectPolicy:
    """first_s, most_s: backoff. stall_s: without a frame that long the camera is lost. freeze_s:
    the same picture that long counts as frozen; None: never (a still scene over a lossy network
    can stay the same for seconds). open_s: an open that hangs longer is given up."""

    first_s: float = 0.5
    most_s: float = 5.0
    stall_s: float = 5.0
    freeze_s: float | None = 10.0
    open_s: float = 15.0


class FreezeDetector:
    """Says when a camera has shown the very same picture for too long."""

    def __init__(self, limit_s: float | None) -> None:
        self._limit_s = limit_s
        self._last: Pixels | None = None
        self._since = 0.0

    def frozen(self, image: Pixels, now: float) -> bool:
        """Whether this picture, seen at `now` (seconds), has been the same for the limit."""
        if self._limit_s is None:
            return False
        height, width = image.shape[:2]
        grid = image[:: max(1, height // _GRID), :: max(1, width // _GRID)]
        if self._last is None or not np.array_equal(grid, self._last):
            self._last, self._since = grid.copy(), now
            return False
        return now - self._since >= self._limit_s

    def reset(self) -> None:
        """Forget the picture."""
        self._last = None


class ReconnectingSource:
    """A live source that survives its camera.

    open_inner: connects; raises SourceError. Its calls and the inner source's reads run in a
    courier's thread, so that `read` keeps its time-out and `close` returns at once even while the
    camera's driver hangs. clock: monotonic seconds. draw: jitter in [0, 1). wait: sleeps for
    seconds unless `close` comes, returns whether it came. info: the size is 0 until the camera
    answered once.
    """

    def __init__(
        self,
        open_inner: Callable[[], Source],
        info: SourceInfo,
        *,
        policy: ReconnectPolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self._open_inner, self.info = open_inner, info
        self._policy = policy or ReconnectPolicy()
        self._backoff = Backoff(self._policy.first_s, self._policy.most_s)
        self._clock, self._draw = clock, draw
        self._closed = threading.Event()
        self._wait = wait if wait is not None else self._closed.wait
        self._lock = threading.Lock()
        self._inner: Source | None = None
        self._courier = self._new_courier()
        self._hanging: list[Courier[Source | Frame]] = []
        self._state: SourceState = "starting"
        self._counts: Counter[str] = Counter()
        self._last_error: str | None = None
        self._failures, self._delay_s = 0, 0.0
        self._try_at = self._since = self._back_at = clock()
        self._opening = False
        self._size: tuple[int, int] | None = None
        self._freeze = FreezeDetector(self._policy.freeze_s)
        self._seq = self._base = 0

    @property
    def health(self) -> SourceHealth:
        """See Source."""
        with self._lock:
            return SourceHealth(self._state, dict(self._counts), self._last_error)

    def connect(self) -> None:
        """Open now, for programs that must not start without their camera.

        Raises SourceError (or what the open raised) instead of trying again.
        """
        self._since = self._clock()
        try:
            opened = self._courier.fetch(self._open_inner, timeout_s=self._policy.open_s)
        except StillBusyError:
            self.close()
            raise SourceError(
                f"{self.info.uri}: does not open in {self._policy.open_s:g} s"
            ) from None
        except BaseException:
            self.close()
            raise
        self._opened(opened)

    def read(self, timeout_s: float) -> Frame:
        """See Source; TimeoutError also while the camera is away, never SourceError."""
        deadline = self._clock() + timeout_s
        while True:
            if self._closed.is_set():
                raise EndOfSource
            left = deadline - self._clock()
            if left <= 0:
                raise TimeoutError(f"{self.info.name}: no frame in {timeout_s:g} s")
            try:
                if self._inner is None:
                    self._open_once(left)
                elif (frame := self._read_once(left)) is not None:
                    return frame
            except Closed:
                raise EndOfSource from None

    def close(self) -> None:
        """See Source."""
        self._closed.set()
        with self._lock:
            inner, self._inner = self._inner, None
            self._state = "ended"
        self._courier.close(inner.close if inner is not None else None)

    def _open_once(self, left: float) -> None:
        now = self._clock()
        if not self._opening:
            if now < self._try_at:
                self._wait(min(self._try_at - now, left))
                return
            if self._too_many_hang():
                self._lose(f"{len(self._hanging)} calls to the camera's driver hang")
                return
            self._opening, self._since = True, now
        try:
            patience = self._patience(self._policy.open_s, left)
            opened = self._courier.fetch(self._open_inner, timeout_s=patience)
        except StillBusyError:
            if self._clock() - self._since >= self._policy.open_s:
                self._abandon()
                self._lose(f"does not open in {self._policy.open_s:g} s")
        except (SourceError, TimeoutError) as exc:
            self._lose(str(exc))
        else:
            self._opened(opened)

    def _opened(self, opened: Source | Frame) -> None:
        assert not isinstance(opened, Frame)
        with self._lock:
            if not self._closed.is_set():
                self._inner = opened
                self.info = opened.info
        if self._closed.is_set():
            opened.close()
            return
        self._opening, self._since = False, self._clock()
        self._freeze.reset()

    def _read_once(self, left: float) -> Frame | None:
        inner = self._inner
        if inner is None:
            return None
        try:
            patience = self._patience(self._policy.stall_s, left)
            got = self._courier.fetch(lambda: inner.read(self._policy.stall_s), timeout_s=patience)
        except StillBusyError:
            if self._clock() - self._since >= self._policy.stall_s:
                self._count("stalled")
                self._abandon(inner)
                self._lose(f"no frame in {self._policy.stall_s:g} s")
            return None
        except FrameBroken:
            self._count("broken")
        except TimeoutError:
            pass
        except SourceError as exc:
            self._lose(str(exc))
            return None
        else:
            assert isinstance(got, Frame)
            return self._accept(got)
        if self._clock() - self._since >= self._policy.stall_s:
            self._count("stalled")
            self._lose(f"no good frame in {self._policy.stall_s:g} s")
        return None

    def _patience(self, limit_s: float, left: float) -> float:
        """Seconds to wait for the call under way: until its limit, or the reader's."""
        return max(0.0, min(left, self._since + limit_s - self._clock()))

    def _accept(self, frame: Frame) -> Frame | None:
        """The frame under this source's numbering; None if it shows a frozen camera."""
        now = self._clock()
        if self._freeze.frozen(frame.pixels, now):
            self._count("frozen")
            self._lose(f"the same picture for {self._policy.freeze_s:g} s")
            return None
        self._since = now
        size = frame.size
        if size != self._size:
            if self._size is not None:
                self._count("size_changed")
                log.warning(
                    "size_changed source=%s from=%s to=%s", self.info.name, self._size, size
                )
            self._size = size
            self.info = dataclasses.replace(self.info, width=size[0], height=size[1])
        if self._state != "running":
            self._back_at = now
            self._up()
        # One that gives a picture and is gone again, and again, is still in trouble.
        if self._failures and now - self._back_at >= self._delay_s:
            self._failures = 0
            log.warning("source_back source=%s", self.info.name)
        seq = self._base + frame.seq
        self._seq = seq + 1
        return frame if seq == frame.seq else dataclasses.replace(frame, seq=seq)

    def _up(self) -> None:
        with self._lock:
            if self._state == "away":
                self._counts["reconnected"] += 1
            if self._state != "ended":
                self._state = "running"

    def _lose(self, why: str) -> None:
        """The camera is gone: close it, and say when to try again."""
        self._failures += 1
        delay = self._delay_s = self._backoff.delay_s(self._failures, self._draw())
        self._try_at = self._clock() + delay
        self._opening, self._base = False, self._seq
        with self._lock:
            inner, self._inner = self._inner, None
            if self._state == "running":
                self._counts["lost"] += 1
            if self._state != "ended":
                self._state = "away"
            self._last_error = why
        if inner is not None:
            self._replace_courier(inner)
        log.log(
            logging.WARNING if worth_a_line(self._failures) else logging.DEBUG,
            "source_lost source=%s try=%d wait=%.1fs error=%s",
            self.info.name, self._failures, delay, why,
        )  # fmt: skip

    def _abandon(self, inner: Source | None = None) -> None:
        """Leave the courier with its hanging call; it cleans up when the call returns."""
        with self._lock:
            self._inner = None
        self._hanging.append(self._courier)
        self._replace_courier(inner)

    def _replace_courier(self, inner: Source | None) -> None:
        self._courier.close(inner.close if inner is not None else None)
        self._courier = self._new_courier()
        if self._closed.is_set():
            # `close` may have seen only the old one.
            self._courier.close()

    def _too_many_hang(self) -> bool:
        self._hanging = [courier for courier in self._hanging if not courier.join(0)]
        return len(self._hanging) >= _HANGING_MAX

    def _count(self, fault: str) -> None:
        with self._lock:
            self._counts[fault] += 1

    def _new_courier(self) -> Courier[Source | Frame]:
        return Courier(f"capture-{self.info.name}", on_late=_discard)


def _discard(late: Source | Frame) -> None:
    if not isinstance(late, Frame):
        late.close()
