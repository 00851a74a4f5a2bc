"""What the service does by the clock: retention, and a failing disk tried again."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from jetson_face.events.recorder import EventRecorder
from jetson_face.events.snapshots import SnapshotStore
from jetson_face.service.bookkeeping import Bookkeeping
from jetson_face.service.review_writer import ReviewWriter
from jetson_face.service.unknowns import UnknownPeople

_LOOK_S = 1.0
_PRUNE_EVERY_S = 300.0


def run_timers(
    recorder: EventRecorder,
    kept: Sequence[SnapshotStore | ReviewWriter | UnknownPeople | None],
    bookkeeping: Bookkeeping,
    stop: threading.Event,
) -> None:
    """The thread's loop; also notices what others did to the outbox. kept: what grows old beside
    events."""
    outbox, history = recorder.outbox, recorder.history
    pruned = float("-inf")
    while not stop.wait(_LOOK_S):
        outbox.check()
        bookkeeping.tick()
        if history is not None:
            history.retry()
        now = time.monotonic()
        if now - pruned >= _PRUNE_EVERY_S or outbox.degraded:
            pruned = now
            for part in (outbox, history, *kept):
                if part is not None:
                    part.prune()
