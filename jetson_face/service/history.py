"""The event history of a service: made from the configuration, and what is asked about it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jetson_face.config import Config
from jetson_face.core.errors import GalleryError, InputMissingError, OutputError, UsageError
from jetson_face.events.history import History, HistoryLimits, StoredEvent
from jetson_face.privacy.encryption import open_cipher
from jetson_face.service.http import Page, problem
from jetson_face.service.pages import json_page

HISTORY = "history.db"
"""Its name in the state folder."""
_DAY_S = 86400.0
_FILTERS = frozenset({"person", "source", "kind", "state", "since", "until"})
_LIMIT_MAX = 500


def open_history(config: Config, age: Callable[[], float]) -> History | None:
    """What keeps events and crops; None where none are wanted: what is there is deleted then.

    age: service seconds. Raises GalleryError where the key for crops is not there.
    """
    path, wanted = config.state_dir / HISTORY, config.report
    if wanted.history_days == 0:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        return None
    limits = HistoryLimits(wanted.history_days * _DAY_S, wanted.history_mib << 20)
    cipher = None
    if config.gallery.encrypt:
        cipher = open_cipher(config.state_dir, create=not path.exists())
    return History(path, cipher, age=age, limits=limits)


def read_history(config: Config) -> History:
    """The history for who only reads, also while a service writes. Crops are given where the key
    is there. Raises InputMissingError where no service has left one."""
    path = config.state_dir / HISTORY
    if not path.exists():
        raise InputMissingError(
            f"{path}: no service has kept events here; see -c and --set, and `report.history_days`"
        )
    cipher = None
    with contextlib.suppress(GalleryError):
        cipher = open_cipher(config.state_dir)
    return History(path, cipher)


class HistoryPages:
    """`GET /events` and `GET /events/ID/crop` on the service's socket.

    history: None while there is none.
    """

    def __init__(self) -> None:
        self.history: History | None = None

    def page(self, rest: str, query: Mapping[str, str]) -> Page:
        """rest: of the path, after `/events/`."""
        history = self.history
        if history is None:
            return problem(503, "no history is kept (report.history_days is 0), or not yet")
        try:
            if not rest:
                return json_page(events_page(history, query))
            event, _, what = rest.partition("/")
            if what == "crop":
                jpeg = history.crop(event)
                missing = problem(404, f"{event}: no crop of this event is kept")
                return missing if jpeg is None else Page(200, jpeg, "image/jpeg")
            stored = None if what else history.get(event)
        except UsageError as error:
            return problem(400, str(error))
        except (GalleryError, OutputError) as error:
            return problem(503, str(error))
        return problem(404, "no such event") if stored is None else json_page(shown(stored))

    def document(self) -> dict[str, Any]:
        """For the page `/status`."""
        return {} if self.history is None else asdict(self.history.state())


def events_page(history: History, query: Mapping[str, str]) -> dict[str, Any]:
    """One page of events: `{"items": […], "next": …}`.

    query: `before` or `after`, a cursor or the id of an event; `limit` to 500; the filters of
    `History.page`. next: what to give as `before` (or `after`) for the next page, None where
    this is the last one. Raises UsageError, and what the history raises.
    """
    unknown = query.keys() - _FILTERS - {"before", "after", "limit"}
    if unknown:
        raise UsageError(f"{min(unknown):.40}: there are before, after, limit, and the filters "
                         f"{', '.join(sorted(_FILTERS))}")  # fmt: skip
    limit = _limit(query.get("limit", "100"))
    edges = {edge: _cursor(history, query[edge]) for edge in ("before", "after") if edge in query}
    filters = {name: query[name] for name in _FILTERS & query.keys()}
    found = history.page(limit=limit + 1, **edges, **filters)  # type: ignore[arg-type]
    more = len(found) > limit
    items = [shown(stored) for stored in found[:limit]]
    return {"items": items, "next": items[-1]["id"] if more else None}


def shown(stored: StoredEvent) -> dict[str, Any]:
    """The event, with its cursor and whether its face is kept."""
    return {**stored.event, "cursor": stored.cursor, "has_crop": stored.has_crop}


def _limit(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= _LIMIT_MAX:
        return int(text)
    raise UsageError(f"limit {text:.20}: a page has 1 to {_LIMIT_MAX} events")


def _cursor(history: History, text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 17:
        return int(text)
    if len(text) == 36:
        return history.cursor_at(text)
    raise UsageError(f"{text:.40}: neither a cursor nor the id of an event")
