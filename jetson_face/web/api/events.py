"""`/events`: what happened, page by page, as a stream that misses nothing, and as a file."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Path, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from jetson_face.util.csvtext import csv_row
from jetson_face.web.api.common import JPEG, Limit, Time, Up, given, picture, said_of
from jetson_face.web.callers import Doorkeeper, Viewer
from jetson_face.web.models import ListPage, State
from jetson_face.web.problems import ProblemError
from jetson_face.web.tail import Tail
from jetson_face.web.upstream import Upstream

router = APIRouter(prefix="/events", tags=["events"])
_ID = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_HEARTBEAT_S = 15.0
_LISTENERS_MAX = 100
_EXPORT_PAGE = 500
Cursor = Annotated[str | None, Query(pattern=_ID, description="`next` of the page before")]
After = Annotated[str | None, Query(pattern=_ID, description="id of the last event that was seen")]
Kind = Literal[
    "appeared", "decided", "changed", "retracted", "left", "canary", "similarity", "consent"
]
PersonId = Annotated[str | None, Query(max_length=64, pattern="^[0-9a-zA-Z-]+$")]
Source = Annotated[str | None, Query(max_length=64, pattern="^[A-Za-z0-9._-]+$")]
_COLUMNS = ("time", "kind", "source", "state", "name", "person", "similarity", "track", "id")
_STREAM = said_of(
    "Server-sent events: `id` is the cursor, `data` one event as JSON",
    "text/event-stream",
    schema={"type": "string"},
)


async def _wanted(
    person: PersonId = None,
    source: Source = None,
    kind: Kind | None = None,
    state: State | None = None,
    since: Time = None,
    until: Time = None,
) -> dict[str, str]:
    return given(person=person, source=source, kind=kind, state=state, since=since, until=until)


Wanted = Annotated[dict[str, str], Depends(_wanted)]


@router.get("", response_model=ListPage[dict[str, Any]])
async def events(
    up: Up, caller: Viewer, wanted: Wanted, cursor: Cursor = None, limit: Limit = 50
) -> object:
    """Newest first, as long as retention keeps them."""
    return await _page(up, wanted, cursor, limit)


@router.get("/stream", response_class=Response, responses=_STREAM)
async def stream(
    request: Request,
    caller: Viewer,
    after: After = None,
    last_event_id: Annotated[str | None, Header(pattern=_ID)] = None,
) -> Response:
    """New events as they come. With `Last-Event-ID`, which browsers send by themselves, or `after`:
    first everything since that event, whatever happened between."""
    state = request.app.state
    if state.listeners >= _LISTENERS_MAX:
        raise ProblemError(503, "too many listen already", {"Retry-After": "10"})
    tail: Tail = state.tail
    keeper: Doorkeeper = state.keeper
    cursor = last_event_id or after or await tail.newest() or "0"

    async def lines() -> AsyncIterator[bytes]:
        nonlocal cursor
        state.listeners += 1
        try:
            yield b"retry: 2000\n\n"
            while keeper.goes_on(request):
                try:
                    found = (await tail.after(cursor))["items"]
                except ProblemError:
                    found = []
                    await asyncio.sleep(1.0)
                for event in found:
                    cursor = str(event["id"])
                    yield f"id: {cursor}\ndata: {json.dumps(event)}\n\n".encode()
                if not found and not await tail.wait(_HEARTBEAT_S):
                    yield b": still here\n\n"
        finally:
            state.listeners -= 1

    return StreamingResponse(lines(), media_type="text/event-stream")


@router.get(
    "/export",
    response_class=Response,
    responses=said_of("A file", "text/csv", "application/x-ndjson"),
)
async def export(
    up: Up, caller: Viewer, wanted: Wanted, format: Literal["csv", "jsonl"] = "csv"
) -> Response:
    """Every event that fits, newest first, as CSV or as one JSON object a line."""
    first = await _page(up, wanted, None, _EXPORT_PAGE)

    async def parts() -> AsyncIterator[str]:
        page = first
        if format == "csv":
            yield ",".join(_COLUMNS) + "\r\n"
        while True:
            yield _rows(page["items"], format)
            if page["next"] is None:
                return
            page = await _page(up, wanted, page["next"], _EXPORT_PAGE)

    kinds = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}
    headers = {"Content-Disposition": f'attachment; filename="events.{format}"'}
    return StreamingResponse(parts(), media_type=kinds[format], headers=headers)


@router.get("/{event}/crop", responses=JPEG, response_class=Response)
async def crop(up: Up, caller: Viewer, event: Annotated[str, Path(pattern=_ID)]) -> Response:
    """The face of an event, where the service keeps crops."""
    return picture(await up.status(f"/events/{event}/crop"))


async def _page(
    up: Upstream, wanted: Mapping[str, str], cursor: str | None, limit: int
) -> dict[str, Any]:
    query = given(**wanted, limit=str(limit), before=cursor)
    found: dict[str, Any] = (await up.status("/events", query)).document()
    return found


def _rows(events: list[dict[str, Any]], format: str) -> str:
    if format == "jsonl":
        return "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events)
    return "".join(csv_row(event.get(column) for column in _COLUMNS) for event in events)
