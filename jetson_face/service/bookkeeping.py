"""What a running service writes down beside its events, by the clock."""

from __future__ import annotations

import time
from typing import Any

from jetson_face.config import Config
from jetson_face.events.recorder import EventRecorder
from jetson_face.service.consents import ConsentWatch
from jetson_face.service.health_day import HealthDay
from jetson_face.service.swap import HotSwap
from jetson_face.service.use_keeping import UseKeeper

EVERY_S = 60.0


class Bookkeeping:
    """See the module; `tick` in one thread, the rest in any."""

    def __init__(
        self, config: Config, swap: HotSwap, recorder: EventRecorder, day: HealthDay
    ) -> None:
        self._consents = ConsentWatch(swap, recorder)
        self._use = UseKeeper(config, swap, recorder.outbox.age)
        self._day, self._due = day, time.monotonic()

    def tick(self) -> None:
        """For a timer; cheap until a minute is over."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + EVERY_S
        self._consents.check()
        self._use.tick()
        self._day.tick()

    def document(self) -> dict[str, Any]:
        """For the page `/status`."""
        return {"consents": self._consents.document(), "use": self._use.document()}

    def close(self) -> None:
        """The service ends."""
        self._use.close()
