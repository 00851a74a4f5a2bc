"""New events, asked for once a second however many listen, and never missed."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from jetson_face.web.problems import ProblemError
from jetson_face.web.upstream import Upstream

_EVERY_S = 1.0
_LISTENED_S = 30.0
PAGE = 200


class Tail:
    """Tells listeners when the newest event changed; what came since their cursor they read."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._changed = asyncio.Condition()
        self._newest: str | None = None
        self._turn = 0
        self._task: asyncio.Task[None] | None = None
        self._used = 0.0
        self._pages: dict[str, tuple[float, dict[str, Any]]] = {}

    async def after(self, cursor: str) -> dict[str, Any]:
        """The events after a cursor, oldest first; many who ask for the same get one answer."""
        now = time.monotonic()
        known = self._pages.get(cursor)
        if known is not None and now - known[0] < _EVERY_S / 2:
            return known[1]
        query = {"after": cursor, "limit": str(PAGE)}
        turn = None
        while turn != self._turn:  # what came meanwhile wakes nobody who only asks
            turn = self._turn
            found: dict[str, Any] = (await self._upstream.status("/events", query)).document()
        self._pages = {k: v for k, v in self._pages.items() if now - v[0] < _EVERY_S / 2}
        self._pages[cursor] = now, found
        return found

    async def newest(self) -> str | None:
        """The id of the newest event; None while there is none."""
        answer = await self._upstream.status("/events", {"limit": "1"})
        items = answer.document()["items"]
        return str(items[0]["id"]) if items else None

    async def wait(self, seconds: float) -> bool:
        """Whether something new came within the time."""
        self._used = time.monotonic()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait(), seconds)
            except asyncio.TimeoutError:
                return False
        return True

    async def close(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while time.monotonic() - self._used < _LISTENED_S:
            with suppress(ProblemError):  # it is away: who listens hears nothing new
                newest = await self.newest()
                if newest != self._newest:
                    self._newest, self._turn = newest, self._turn + 1
                    self._pages = {}
                    async with self._changed:
                        self._changed.notify_all()
            await asyncio.sleep(_EVERY_S)
