"""Frames of a camera, asked for once however many watch."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from jetson_face.web.problems import ProblemError
from jetson_face.web.upstream import Upstream, segment

_RATE = 12.0
"""Frames a second at most."""
_WATCHED_S = 3.0
_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class AnnotatedPicture:
    """head: what was said about it; `seq` rises. jpeg: the annotated frame."""

    head: dict[str, Any]
    jpeg: bytes


class Feeds:
    """One task a camera and size, which ends when nobody has asked for a few seconds."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._feeds: dict[tuple[str, int], _Feed] = {}

    async def picture(self, camera: str, width: int, after: int | None) -> AnnotatedPicture | None:
        """The newest picture that is not `after`; None where none came for some seconds."""
        key = (camera, width)
        feed = self._feeds.get(key)
        if feed is None or feed.task.done():
            feed = _Feed(self._upstream, camera, width)
            self._feeds[key] = feed
        return await feed.newer(after)

    async def close(self) -> None:
        """End all."""
        for feed in self._feeds.values():
            feed.task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await feed.task


class _Feed:
    def __init__(self, upstream: Upstream, camera: str, width: int) -> None:
        self._upstream, self._camera, self._width = upstream, camera, width
        self._came = asyncio.Condition()
        self._newest: AnnotatedPicture | None = None
        self._problem: ProblemError | None = None
        self._used = time.monotonic()
        self.task = asyncio.create_task(self._run())

    async def newer(self, after: int | None) -> AnnotatedPicture | None:
        self._used = time.monotonic()

        def there() -> bool:
            newest = self._newest
            return self._problem is not None or (newest is not None and newest.head["seq"] != after)

        async with self._came:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._came.wait_for(there), _WAIT_S)
        if self._problem is not None:
            raise self._problem
        return self._newest if there() else None

    async def _run(self) -> None:
        while time.monotonic() - self._used < _WATCHED_S:
            began = time.monotonic()
            try:
                await self._ask()
                self._problem = None
            except ProblemError as error:
                self._problem, self._newest = error, None
            async with self._came:
                self._came.notify_all()
            await asyncio.sleep(max(0.005, 1 / _RATE - (time.monotonic() - began)))

    async def _ask(self) -> None:
        newest = self._newest
        query = {"width": str(self._width)}
        if newest is not None:
            query["after"] = str(newest.head["seq"])
        answer = await self._upstream.status(f"/frames/{segment(self._camera)}", query)
        if answer.status == 200:
            head, _, jpeg = answer.body.partition(b"\n")
            self._newest = AnnotatedPicture(json.loads(head), jpeg)
