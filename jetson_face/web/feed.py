"""Frames of a camera, asked for once however many watch, and handed out at a bounded rate."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from jetson_face.core.widths import width_for
from jetson_face.util.idle import IDLE_MIN
from jetson_face.web.problems import ProblemError
from jetson_face.web.upstream import Upstream, segment

BOUNDARY = "frame"
"""Between two pictures of an MJPEG stream."""
PICTURES_MAX = 100.0
"""Pictures a second that the page hands out, to all who watch together: many share them."""
BUSY_PICTURES_MAX = 30.0
"""The same where less than IDLE_MIN of the processor is idle."""
BUSY_WIDTH = 640
"""Pixels: and all who watch share pictures that are no wider, whatever their windows are."""
_RATE = 10.0
"""Frames a second of one camera, at most."""
_AGAIN_S = 0.05
"""After there was no new picture."""
_DUE_MAX_S = 1.5
"""Less than `service.watching.WATCHED_S`, after which the recogniser forgets who watches."""
_WATCHED_S = 3.0
_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class AnnotatedPicture:
    """seq: of the frame; it rises. head: JSON, what was said about it. jpeg: the annotated frame.
    part: the same as a part of an MJPEG stream, made once for all who read one."""

    seq: int
    head: str
    jpeg: bytes
    part: bytes


class Feeds:
    """One task a camera and size, which ends when nobody has asked for a few seconds. idle: share
    of the processor that nobody uses."""

    def __init__(self, upstream: Upstream, idle: Callable[[], float]) -> None:
        self._upstream, self._idle = upstream, idle
        self._free = 0.0
        self._feeds: dict[tuple[str, int], _Feed] = {}

    def has(self, camera: str) -> bool:
        """Its pictures are coming: the recogniser need not be asked whether it is a camera."""
        return any(
            name == camera and feed.comes and not feed.task.done()
            for (name, _), feed in self._feeds.items()
        )

    async def picture(self, camera: str, width: int, after: int | None) -> AnnotatedPicture | None:
        """The newest picture that is not `after`, once it is this one's turn; None where none came
        for some seconds."""
        await self._turn()
        key = (camera, width_for(min(width, BUSY_WIDTH) if self._is_busy() else width))
        feed = self._feeds.get(key)
        if feed is None or feed.task.done():
            self._feeds = {k: one for k, one in self._feeds.items() if not one.task.done()}
            feed = self._feeds[key] = _Feed(self._upstream, *key)
        return await feed.newer(after)

    async def close(self) -> None:
        """End all."""
        for feed in self._feeds.values():
            feed.task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await feed.task

    def _is_busy(self) -> bool:
        return self._idle() < IDLE_MIN

    async def _turn(self) -> None:
        """Turns come in the order in which they are asked for, so many a second in all."""
        now = time.monotonic()
        # Who comes together gets together what was not used in the last moment.
        turn = max(self._free, now - 0.1)
        self._free = turn + 1 / (BUSY_PICTURES_MAX if self._is_busy() else PICTURES_MAX)
        if turn > now:
            await asyncio.sleep(turn - now)


class _Feed:
    def __init__(self, upstream: Upstream, camera: str, width: int) -> None:
        self._upstream, self._camera, self._width = upstream, camera, width
        self._newest: AnnotatedPicture | None = None
        self._problem: ProblemError | None = None
        self._due_s = 0.0
        self._used = time.monotonic()
        self._next: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._run())

    @property
    def comes(self) -> bool:
        """There is a picture, and no problem."""
        return self._newest is not None and self._problem is None

    async def newer(self, after: int | None) -> AnnotatedPicture | None:
        until = time.monotonic() + _WAIT_S
        while self._problem is None and (self._newest is None or self._newest.seq == after):
            self._used = time.monotonic()
            left_s = until - self._used
            if left_s <= 0 or self.task.done():
                return None
            await asyncio.wait({self._next}, timeout=min(left_s, _WATCHED_S / 3))
        self._used = time.monotonic()
        if self._problem is not None:
            raise self._problem
        return self._newest

    async def _run(self) -> None:
        while time.monotonic() - self._used < _WATCHED_S:
            began = time.monotonic()
            try:
                came = await self._ask()
                self._problem = None
            except ProblemError as error:
                self._problem, self._newest, came = error, None, True
            if came:
                self._next.set_result(None)
                self._next = asyncio.get_running_loop().create_future()
            pause_s = max(1 / _RATE, self._due_s) if came else _AGAIN_S
            await asyncio.sleep(max(0.005, pause_s - (time.monotonic() - began)))

    async def _ask(self) -> bool:
        """Whether there was a newer one."""
        query = {"width": str(self._width)}
        if self._newest is not None:
            query["after"] = str(self._newest.seq)
        answer = await self._upstream.status(f"/frames/{segment(self._camera)}", query)
        if answer.status != 200:
            return False
        said, _, jpeg = answer.body.partition(b"\n")
        head = json.loads(said)
        # To ask before there is time for one costs the recogniser something for nothing.
        self._due_s = min(float(head.pop("next_s", 0.0)), _DUE_MAX_S)
        start = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
        part = b"".join((start.encode(), jpeg, b"\r\n"))
        self._newest = AnnotatedPicture(int(head["seq"]), json.dumps(head), jpeg, part)
        return True
