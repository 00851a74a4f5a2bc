"""Consents of a running service that are over: said once each, in the log, as an event, in the
status."""

from __future__ import annotations

import logging
import time
from typing import Any

from jetson_face.core.errors import JetsonFaceError
from jetson_face.events.history import NewEvent
from jetson_face.events.recorder import EventRecorder
from jetson_face.gallery.permission import consents_of
from jetson_face.service.events import own_event
from jetson_face.service.swap import Deck, HotSwap

logger = logging.getLogger(__name__)


class ConsentWatch:
    """See the module. A service that starts says again what is over."""

    def __init__(self, swap: HotSwap, recorder: EventRecorder) -> None:
        self._swap, self._recorder = swap, recorder
        self._told: dict[str, str | None] = {}
        self._counts = {"recorded": 0, "expired": 0}

    def check(self) -> None:
        """Look which consents are over; for a timer. A gallery that cannot be read says so
        elsewhere."""
        now = time.time()
        over: list[dict[str, Any]] = []

        def look(deck: Deck) -> None:
            records = consents_of(deck.gallery)
            names = {person.id: person.name for person in deck.people.snapshot.people}
            self._counts["recorded"] = len(records)
            for who, consent in records.items():
                if consent.expired(now) and who in names:
                    over.append({"name": names[who], "person": who, "until": consent.until})

        try:
            self._swap.use(look)
        except JetsonFaceError:
            return
        self._counts["expired"] = len(over)
        fresh = [one for one in over if self._told.get(one["person"], "") != one["until"]]
        self._told = {one["person"]: one["until"] for one in over}
        for one in fresh:
            logger.warning("consent_expired person=%s until=%s", one["person"], one["until"])
        if fresh:
            self._recorder.append([_event(one, now) for one in fresh])

    def document(self) -> dict[str, int]:
        """For the page `/status`."""
        return dict(self._counts)


def _event(one: dict[str, Any], now: float) -> NewEvent:
    text = f"a consent held until {one['until']}: renew it, or erase the person"
    return own_event("consent", now, state="expired", **one, text=text)
