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

from jetson_face.events.outbox import Event, Outbox
from jetson_face.util.backoff import Backoff
from jetson_face.util.channels import Courier

logger = logging.getLogger(__name__)


class SinkDownError(Exception):
    """The sink does not take events now: try again later."""


class SinkRefusedError(Exception):
    """The sink will never take these events: trying again is of no use."""


class EventSink(Protocol):
    """Takes events, oldest first; returning means that the sink has them for good.

    Raises SinkDownError or SinkRefusedError; anything else is a bug and ends the program.
    """

    def send(self, events: Sequence[Event]) -> None: ...
    def close(self) -> None: ...


@dataclass(slots=True)
class Deliverer:
    """One consumer of the outbox with its sink; `run` is its thread's loop.

    batch: events in one `send`. sent, refused, failures: for the status.
    """

    name: str
    outbox: Outbox
    sink: EventSink
    batch: int = 50
    backoff: Backoff = field(default_factory=Backoff)
    draw: Callable[[], float] = random.random
    sent: int = 0
    refused: int = 0
    failures: int = 0
    last_error: str | None = None

    def __post_init__(self) -> None:
        self.outbox.subscribe(self.name)

    def step(self) -> float:
        """Send one batch; returns the seconds to wait before the next step.

        0 when something was sent or given up, the back-off after a failure.
        """
        events = self.outbox.read(self.name, self.batch)
        if not events:
            return 0.0
        try:
            self.sink.send(events)
        except SinkDownError as error:
            self.failures += 1
            if self.failures == 1:
                logger.warning("sink_down sink=%s error=%s", self.name, error)
            self.last_error = str(error)
            return self.backoff.delay_s(self.failures, self.draw())
        except SinkRefusedError as error:
            if len(events) > 1:
                return self._one_by_one(events)
            logger.error("sink_refused sink=%s seq=%d error=%s", self.name, events[0].seq, error)
            self.refused += 1
            self.last_error = str(error)
        else:
            self._took(len(events))
        self.outbox.ack(self.name, events[-1].seq)
        return 0.0

    def _one_by_one(self, events: Sequence[Event]) -> float:
        """Find the event of a refused batch that the sink does not like; keep the others."""
        for event in events:
            try:
                self.sink.send([event])
            except SinkDownError as error:
                self.failures += 1
                self.last_error = str(error)
                return self.backoff.delay_s(self.failures, self.draw())
            except SinkRefusedError as error:
                logger.error("sink_refused sink=%s seq=%d error=%s", self.name, event.seq, error)
                self.refused += 1
                self.last_error = str(error)
            else:
                self._took(1)
            self.outbox.ack(self.name, event.seq)
        return 0.0

    def _took(self, count: int) -> None:
        if self.failures:
            logger.warning("sink_back sink=%s after_failures=%d", self.name, self.failures)
        self.failures, self.last_error = 0, None
        self.sent += count

    def run(self, stop: threading.Event) -> None:
        """Deliver until `stop`, then for half a second what is left; what stays is delivered after
        the next start. A sink that hangs in a call is left behind."""
        courier: Courier[float] = Courier(f"send-{self.name}")
        try:
            while not stop.is_set():
                try:
                    delay = courier.fetch(self.step, timeout_s=0.2)
                except TimeoutError:
                    continue
                if delay:
                    stop.wait(delay)
                else:
                    self.outbox.wait(self.name, 0.2)
            with contextlib.suppress(TimeoutError):
                courier.fetch(self._drain, timeout_s=0.5)
        finally:
            courier.close(cleanup=self.sink.close)

    def _drain(self, budget_s: float = 0.4) -> float:
        end = time.monotonic() + budget_s
        while not self.failures and time.monotonic() < end and self.outbox.read(self.name, 1):
            self.step()
        return 0.0
