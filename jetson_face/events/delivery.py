"""Takes events from the outbox to a sink, again and again until the sink has them."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from jetson_face.events.older import id_of
from jetson_face.events.outbox import Event, Outbox
from jetson_face.events.outbox_rows import Refused
from jetson_face.util.backoff import Backoff
from jetson_face.util.channels import Courier
from jetson_face.util.redact import clean

logger = logging.getLogger(__name__)

_LOOK_S = 0.2
"""How long the end of the program may go unnoticed."""
_LAST_EVENT_S = 1.2
"""How long the last event may take to the outbox when the program ends."""
_LAST_S = 0.5
"""How long the end of the program waits for what is left to be sent."""
_DRAIN_S = 0.4
"""How long another batch of what is left is begun."""


class SinkDownError(Exception):
    """The sink does not take events now, whosever fault it is: try again later."""


class SinkRefusedError(Exception):
    """The receiver says that it cannot make sense of these very events; not that we may not send
    any, nor that nobody listens there, which somebody will fix."""


class EventSink(Protocol):
    """Takes events, oldest first; returning means that the sink has them for good.

    Raises SinkDownError or SinkRefusedError; anything else is a bug, and the sink is tried again.
    """

    def send(self, events: Sequence[Event]) -> None: ...
    def close(self) -> None: ...


@dataclass(slots=True)
class Deliverer:
    """One consumer of the outbox with its sink; `run` is its thread's loop.

    batch: events in one `send`. wall: UTC seconds. For the status: sent; failures, in a row;
    down_since, UTC seconds, and last_error while there are any.
    """

    name: str
    outbox: Outbox
    sink: EventSink
    batch: int = 50
    backoff: Backoff = field(default_factory=Backoff)
    draw: Callable[[], float] = random.random
    wall: Callable[[], float] = time.time
    sent: int = 0
    failures: int = 0
    last_error: str | None = None
    down_since: float | None = None

    def __post_init__(self) -> None:
        self.outbox.subscribe(self.name)

    def go_on_from(self, older: Deliverer) -> None:
        """Take over what was known of the same sink before a reload."""
        self.sent, self.down_since = older.sent, older.down_since
        self.last_error = older.last_error

    def step(self) -> float:
        """Send what is to be sent again, and one batch; returns the seconds to wait before the
        next step: 0 when all was sent or set aside, the back-off after a failure."""
        for item in self.outbox.read_again(self.name, self.batch):
            if delay := self._send_again(item):
                return delay
        events = self.outbox.read(self.name, self.batch)
        return self._send(events) if events else 0.0

    def _send(self, events: Sequence[Event]) -> float:
        try:
            self.sink.send(events)
        except SinkDownError as error:
            return self._down(str(error))
        except SinkRefusedError as error:
            if len(events) == 1:
                return self._refused(events[0], str(error))
            # One of them is to blame: the others are to arrive.
            return next((delay for event in events if (delay := self._send([event]))), 0.0)
        except Exception as error:
            return self._failed(error)
        self.sent += len(events)
        self._up()
        self.outbox.ack(self.name, events[-1].seq)
        return 0.0

    def _refused(self, event: Event, error: str) -> float:
        self._up()
        logger.error("sink_refused sink=%s id=%s error=%s", self.name, id_of(event), error)
        if self.outbox.refuse(self.name, event, error):
            return 0.0
        return self._down(f"refused, and the disk takes no note of it: {error}")

    def _send_again(self, item: Refused) -> float:
        refusal: str | None = None
        try:
            self.sink.send([item.event])
        except SinkDownError as error:
            return self._down(str(error))
        except SinkRefusedError as error:
            refusal = str(error)
            logger.error(
                "sink_refused_again sink=%s id=%s error=%s", self.name, id_of(item.event), error
            )
        except Exception as error:
            return self._failed(error)
        else:
            self.sent += 1
        self._up()
        if self.outbox.settle(item, refusal):
            return 0.0
        return self._down("sent again, and the disk takes no note of it")

    def _up(self) -> None:
        if self.down_since is not None:
            logger.warning("sink_back sink=%s after_failures=%d", self.name, self.failures)
        self.failures, self.last_error, self.down_since = 0, None, None

    def _failed(self, error: Exception) -> float:
        """A bug in the sink, told once: it is tried again, and everything else goes on."""
        text = clean(f"a fault in the sink: {type(error).__name__}: {error}", 300)
        if self.last_error != text:
            logger.error("sink_failed sink=%s error=%s", self.name, text, exc_info=error)
        return self._down(text)

    def _down(self, error: str) -> float:
        self.failures += 1
        self.last_error = error
        if self.down_since is None:
            self.down_since = self.wall()
            logger.warning("sink_down sink=%s error=%s", self.name, error)
        return self.backoff.delay_s(self.failures, self.draw())

    def run(self, stop: threading.Event, *, after: threading.Event | None = None) -> None:
        """Deliver until `stop`, then for half a second what is left; what stays is delivered after
        the next start. A sink that hangs in a call is left behind. after: what is left is in the
        outbox, which is waited for a moment."""
        courier: Courier[float | None] = Courier(f"send-{self.name}")
        try:
            while not stop.is_set():
                # Nothing is read, and nothing is woken, while there is nothing to read.
                if not self.outbox.wait(self.name, _LOOK_S):
                    continue
                try:
                    delay = courier.fetch(self.step, timeout_s=_LOOK_S)
                except TimeoutError:
                    continue  # the next look waits for the same step
                if delay:
                    stop.wait(delay)
            if after is not None:
                after.wait(_LAST_EVENT_S)
            end = time.monotonic() + _LAST_S
            with contextlib.suppress(TimeoutError):
                # A step that is still under way answers first, and only it has a delay.
                while courier.fetch(self._drain, timeout_s=end - time.monotonic()) is not None:
                    pass
        finally:
            courier.close(cleanup=self.sink.close)

    def _drain(self) -> None:
        end = time.monotonic() + _DRAIN_S
        while not self.failures and time.monotonic() < end and self.outbox.wait(self.name, 0):
            self.step()
