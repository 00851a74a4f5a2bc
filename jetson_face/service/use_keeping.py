"""The log of use of a running service: which periods, with which reference database."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from jetson_face.config import Config
from jetson_face.core.errors import OutputError
from jetson_face.core.version import __version__
from jetson_face.privacy.use_log import UseLog
from jetson_face.service import pages
from jetson_face.service.swap import Deck, HotSwap

logger = logging.getLogger(__name__)


class UseKeeper:
    """See the module. A bad disk costs the log, not recognition; the status says so. age: service
    seconds now."""

    def __init__(self, config: Config, swap: HotSwap, age: Callable[[], float]) -> None:
        self._swap, self._log = swap, UseLog(config.state_dir, config.privacy.use_days, age)
        self._facts: dict[str, Any] | None = None
        self._error: str | None = None

    def tick(self) -> None:
        """For a timer: begins a period at first and with other cameras, notes another database."""
        deck = self._swap.deck
        facts = {"program": __version__, "cameras": [one.name for one in deck.config.sources]}
        try:
            if facts != self._facts:
                self._log.end()
                self._log.begin(facts)
                self._facts = facts
            else:
                self._log.alive()
            self._log.database(database(deck))
        except OutputError as error:
            if self._error is None:
                logger.error("use_not_logged error=%s", error)
            self._error = str(error)
        else:
            self._error = None

    def close(self) -> None:
        """The period ends."""
        try:
            self._log.end()
        except OutputError as error:
            logger.error("use_not_logged error=%s", error)

    def document(self) -> dict[str, Any]:
        """For the page `/status`."""
        return {"error": self._error}


def database(deck: Deck) -> dict[str, Any]:
    """The reference database that faces are compared with now, and how."""
    people = deck.people
    now = people.snapshot
    return {
        "gallery": people.gallery_id,
        "generation": now.revision,
        "people": len(now.people),
        "templates": now.template_count,
        "not_recognised": len(now.withheld),
        "embedder": str(now.space),
        "method": deck.config.matching.method,
        "similarity_min": pages.threshold(deck)["similarity_min"],
    }
