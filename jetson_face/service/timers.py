"""What the service does by the clock: retention, and a failing disk tried again."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from jetson_face.events.recorder import EventRecorder
from jetson_face.events.snapshots import SnapshotStore
from jetson_face.service.bookkeeping import Bookkeeping
from jetson_face.service.review_writer import ReviewWriter
from jetson_face.service.unknowns import UnknownPeople

_LOOK_S = 1.0
_PRUNE_EVERY_S = 300.0


@dataclass(frozen=True, slots=True)
class Timers:
    """See the module. kept: what grows old beside events."""

    recorder: EventRecorder
    kept: Sequence[SnapshotStore | ReviewWriter | UnknownPeople | None]
    bookkeeping: Bookkeeping | None = None

    def run(self, stop: threading.Event) -> None:
        """The thread's loop; also notices what others did to the outbox."""
        outbox, history = self.recorder.outbox, self.recorder.history
        pruned = float("-inf")
        while not stop.wait(_LOOK_S):
            outbox.check()
            if self.bookkeeping is not None:
                self.bookkeeping.tick()
            if history is not None:
                history.retry()
            now = time.monotonic()
            if now - pruned >= _PRUNE_EVERY_S or outbox.degraded:
                pruned = now
                self._prune()

    def _prune(self) -> None:
        self.recorder.outbox.prune()
        for kept in (self.recorder.history, *self.kept):
            if kept is not None:
                kept.prune()
