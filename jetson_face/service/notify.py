"""What systemd is told: ready, alive, stopping; and the pure rule that decides "alive".

Protocol: sd_notify(3), datagrams of `KEY=value` lines to the socket named by `$NOTIFY_SOCKET`.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from jetson_face.capture.source import SourceState

logger = logging.getLogger(__name__)


class Notifier:
    """Sends state to the service manager; does nothing where there is none.

    address: path of a datagram socket, `@name` for an abstract one, None for no manager.
    """

    def __init__(self, address: str | None) -> None:
        self._address = "\0" + address[1:] if address and address[0] == "@" else address

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Notifier:
        """The manager that started this process, if one did."""
        return cls(environ.get("NOTIFY_SOCKET") or None)

    def send(self, **fields: str | int) -> bool:
        """Send the fields as one message; False where nobody took it. Never blocks, never raises.

        A manager that does not listen is its own trouble: the recogniser goes on.
        """
        if self._address is None:
            return False
        message = "".join(f"{key}={_one_line(value)}\n" for key, value in fields.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
                sock.sendto(message.encode(), self._address)
        except OSError as error:
            logger.debug("notify_failed error=%s", error)
            return False
        return True

    def ready(self, status: str) -> bool:
        """The service works now."""
        return self.send(READY=1, STATUS=status)

    def alive(self, status: str) -> bool:
        """Feed the watchdog."""
        return self.send(WATCHDOG=1, STATUS=status)

    def reloading(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> bool:
        """A reload begins; `ready` ends it."""
        return self.send(RELOADING=1, MONOTONIC_USEC=clock_ns() // 1000)

    def stopping(self) -> bool:
        """The end begins."""
        return self.send(STOPPING=1, STATUS="stopping")


def watchdog_interval_s(environ: Mapping[str, str] = os.environ) -> float | None:
    """Seconds within which the manager wants to hear from us; None: it does not watch us."""
    try:
        interval = int(environ.get("WATCHDOG_USEC", "0")) / 1e6
        pid = int(environ.get("WATCHDOG_PID", str(os.getpid())))
    except ValueError:
        return None
    return interval if interval > 0 and pid == os.getpid() else None


Progress: TypeAlias = Mapping[str, tuple[SourceState, int, int]]
"""By camera: its state, frames it delivered and frames decided so far. `away` is a known state,
with retries; it is not a failure."""


@dataclass(frozen=True, slots=True)
class HealthVerdict:
    """ready: a frame was decided, or the camera is known to be away. alive: feed the watchdog."""

    ready: bool
    alive: bool
    status: str


@dataclass(slots=True)
class Health:
    """Decides from progress alone whether the recogniser is alive; has no clock of its own.

    stall_s: seconds without a decided frame, while a camera claims to run, after which the
    recogniser counts as stuck. start_s: the same until the first frame (models load, plans build).
    started: seconds, of the clock that `observe` is given.
    """

    stall_s: float
    start_s: float
    started: float
    _processed: int = 0
    _moved: float = field(init=False)
    _captured: dict[str, tuple[int, float]] = field(init=False, default_factory=dict)
    _ready: bool = False

    def __post_init__(self) -> None:
        self._moved = self.started

    def observe(self, now: float, progress: Progress) -> HealthVerdict:
        """The verdict at `now`, seconds of a monotonic clock."""
        running = [name for name, (state, _, _) in progress.items() if state == "running"]
        processed = sum(decided for _, _, decided in progress.values())
        if processed != self._processed:
            self._processed, self._moved = processed, now
            self._ready = True
        away = sorted(name for name, (state, _, _) in progress.items() if state == "away")
        if not running:
            # Nothing can be decided: the wait starts again when a camera is back.
            return self._no_camera(now, progress, away)
        limit = self.stall_s if self._ready else self.start_s
        silent = now - self._moved
        if silent > limit:
            status = f"stuck: no frame decided for {silent:.0f} s while {running[0]} runs"
            return HealthVerdict(self._ready, False, status)
        if dead := self._dead_camera(now, progress, running):
            return HealthVerdict(self._ready, False, f"stuck: {dead} runs but delivers no frame")
        note = f"; away: {', '.join(away)}" if away else ""
        return HealthVerdict(self._ready, True, f"{processed} frames decided{note}")

    def _no_camera(self, now: float, progress: Progress, away: list[str]) -> HealthVerdict:
        if away:
            self._ready, self._moved = True, now
            self._captured.clear()
            return HealthVerdict(True, True, f"camera away: {', '.join(away)}; trying again")
        if all(state == "ended" for state, _, _ in progress.values()):
            return HealthVerdict(self._ready, True, "sources ended")
        waited = now - self._moved
        return HealthVerdict(self._ready, waited <= self.start_s, f"starting for {waited:.0f} s")

    def _dead_camera(self, now: float, progress: Progress, running: list[str]) -> str | None:
        """A camera that says it runs and has delivered nothing for the start limit."""
        for name in list(self._captured):
            if name not in running:
                del self._captured[name]
        for name in running:
            count = progress[name][1]
            seen, since = self._captured.get(name, (-1, now))
            if count != seen:
                self._captured[name] = (count, now)
            elif now - since > max(self.start_s, self.stall_s):
                return name
        return None


def _one_line(value: str | int) -> str:
    return str(value).replace("\n", " ")
