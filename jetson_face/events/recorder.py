"""Where the service's events go: to the history and to the outbox, to both or to none.

No transaction spans two files. The history is written first, then the outbox; both remember up to
where they held the same, and what a kill left in only one of them goes into the other at the next
start, with the same id.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Sequence

from jetson_face.core.errors import JetsonFaceError
from jetson_face.events.history import History, Marks, NewEvent
from jetson_face.events.older import document, id_of
from jetson_face.events.outbox import Appended, Outbox
from jetson_face.events.schema import to_json

logger = logging.getLogger(__name__)
_PAGE = 500


class EventRecorder:
    """See the module. Any thread. history: None keeps none."""

    def __init__(self, outbox: Outbox, history: History | None = None) -> None:
        self.outbox, self.history = outbox, history
        self._lock = threading.Lock()
        if history is not None:
            try:
                self._make_equal(history)
            except JetsonFaceError as error:
                logger.error("history_not_compared error=%s", error)

    def append(self, events: Sequence[NewEvent]) -> Appended:
        """Store events; never raises for a bad disk. Returns what the outbox says.

        Raises ValueError for what JSON does not have.
        """
        records = [
            (json.loads(e.event)["kind"], e.event)
            if isinstance(e.event, bytes)
            else (str(e.event["kind"]), to_json(e.event))
            for e in events
        ]
        with self._lock:
            history = self.history
            kept = history is not None and history.add(
                [e._replace(event=body) for e, (_, body) in zip(events, records, strict=True)]
            )
            told = self.outbox.append(records)
            if history is not None and kept and told.durable:
                self._mark(history, told.last)
            return told

    def close(self) -> None:
        """Close both; harmless when repeated."""
        with self._lock:
            if self.history is not None:
                self.history.close()
            self.outbox.close()

    def _mark(self, history: History, outbox: int) -> None:
        try:
            history.mark(Marks(history.last(), outbox))
        except JetsonFaceError as error:
            logger.warning("history_not_marked error=%s", error)

    def _make_equal(self, history: History) -> None:
        """Give each what only the other one has since they were known to be the same."""
        marks, there = history.marks(), set[str]()
        # An outbox that was lost begins at 1.
        seq = marks.outbox if self.outbox.since(marks.outbox - 1, 1) else 0
        while found := self.outbox.since(seq, _PAGE):
            seq = found[-1].seq
            there |= {id_of(event) for event in found}
            history.add([NewEvent(document(event), age=event.age) for event in found])
        cursor = marks.cursor
        while page := history.page(after=cursor, limit=_PAGE):
            cursor = page[-1].cursor
            alone = [stored.event for stored in page if stored.event["id"] not in there]
            if alone:
                logger.warning("outbox_completed events=%d", len(alone))
                told = self.outbox.append([(str(e["kind"]), to_json(e)) for e in alone])
                if not told.durable:
                    return
                seq = told.last
        history.mark(Marks(cursor, seq))
        history.flush()
