"""The recogniser as the page sees it: its status socket and its control socket."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from jetson_face.util.idle import IDLE_MIN
from jetson_face.web.problems import ProblemError

_STATUS_S, _CONTROL_S = 4.0, 120.0
_APART_S, _BUSY_APART_S = 0.25, 1.0
"""Between two questions for the status, which every open page wants every two seconds, and which
takes the recogniser as long as a picture: who comes sooner waits, and shares the answer. The second
where less than IDLE_MIN of the processor is idle."""
_GONE = "the recogniser does not answer: is it running? See `systemctl status jetson-face`"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole."""

    status: int
    body: bytes
    content_type: str

    def document(self) -> Any:
        """The JSON in it."""
        return json.loads(self.body)


class Upstream:
    """Both sockets. Every method raises ProblemError: 503 where nobody answers, else what came.

    idle: share of the processor that nobody uses.
    """

    def __init__(self, status: Path, control: Path, idle: Callable[[], float]) -> None:
        self._idle = idle
        self._status, self._control = (
            httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(
                    uds=str(path), limits=httpx.Limits(max_connections=most, keepalive_expiry=0)
                ),
                timeout=httpx.Timeout(seconds, connect=2.0, pool=seconds),
                base_url="http://localhost",
            )
            for path, seconds, most in ((status, _STATUS_S, 6), (control, _CONTROL_S, 8))
        )
        self._soon: asyncio.Task[Answer] | None = None
        self._asked_at = 0.0

    async def close(self) -> None:
        """Let the connections go."""
        await self._status.aclose()
        await self._control.aclose()

    async def status(self, path: str, query: Mapping[str, str] | None = None) -> Answer:
        """Ask the recogniser itself; `/status` once for all who ask at about the same time."""
        if path != "/status":
            return await _ask(self._status, "GET", path, params=query)
        if self._soon is None:
            self._soon = asyncio.create_task(self._ask_soon(path))
            self._soon.add_done_callback(_failed)
        return await asyncio.shield(self._soon)

    async def _ask_soon(self, path: str) -> Answer:
        apart_s = _APART_S if self._idle() >= IDLE_MIN else _BUSY_APART_S
        await asyncio.sleep(self._asked_at + apart_s - time.monotonic())
        # From here on the answer could be older than the question.
        self._soon, self._asked_at = None, time.monotonic()
        return await _ask(self._status, "GET", path)

    async def control(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: AsyncIterable[bytes] | bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask, or change, what belongs to it."""
        return await _ask(self._control, method, path, params=query, content=body, headers=headers)


async def _ask(client: httpx.AsyncClient, method: str, path: str, **sent: Any) -> Answer:
    again = {"Retry-After": "2"}
    try:
        response = await client.request(method, path, **sent)
    except httpx.TimeoutException:
        raise ProblemError(503, "the recogniser is too slow just now", again) from None
    except httpx.HTTPError:
        raise ProblemError(503, _GONE, again) from None
    answer = Answer(
        response.status_code, response.content, response.headers.get("content-type", "")
    )
    if answer.status >= 400:
        raise _problem_of(answer)
    return answer


def _failed(task: asyncio.Task[Answer]) -> bool:
    """Of one that is done; asyncio would log an error that nobody looked at."""
    return task.cancelled() or task.exception() is not None


def segment(text: str) -> str:
    """One part of a path."""
    return quote(text, safe="")


def _problem_of(answer: Answer) -> ProblemError:
    try:
        known = answer.document()
        more = {k: v for k, v in known.items() if k not in ("type", "title", "status", "detail")}
        return ProblemError(answer.status, str(known["detail"]), None, **more)
    except (ValueError, KeyError, TypeError, AttributeError):
        said = answer.body.decode("utf-8", "replace").strip()
        return ProblemError(answer.status if answer.status != 500 else 502, said[:300])
