"""What the routes share: the sockets, pages of lists, writes that are done once."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from fastapi import Depends, Header, Path, Query
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from jetson_face.web.callers import Caller
from jetson_face.web.problems import MEDIA, ProblemDocument
from jetson_face.web.upstream import Answer, Upstream

Responses: TypeAlias = dict[int | str, dict[str, Any]]
ERRORS: Responses = {
    "default": {
        "description": "An error",
        "content": {MEDIA: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
    }
}
assert ProblemDocument.__name__ == "ProblemDocument"


async def _upstream(request: Request) -> Upstream:
    found: Upstream = request.app.state.upstream
    return found


Up = Annotated[Upstream, Depends(_upstream)]
Cursor = Annotated[
    str | None, Query(max_length=200, description="`next` of the page before; none: the first page")
]
Limit = Annotated[int, Query(ge=1, le=500)]
Id = Annotated[str, Path(pattern="^[0-9a-zA-Z-]{1,64}$")]
Time = Annotated[
    str | None,
    Query(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z$", description="UTC, ISO 8601"),
]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=100,
        pattern=r"^[!-~]+$",
        description="the same request with the same key within ten minutes is done once",
    ),
]


def given(**wanted: str | None) -> dict[str, str]:
    """A query, of what is not None."""
    return {name: value for name, value in wanted.items() if value is not None}


async def listed(
    upstream: Upstream, path: str, cursor: str | None, limit: int, **more: str | None
) -> dict[str, Any]:
    """A page of a list."""
    query = given(limit=str(limit), cursor=cursor, **more)
    found: dict[str, Any] = (await upstream.control("GET", path, query=query)).document()
    return found


async def change(
    upstream: Upstream,
    caller: Caller,
    method: str,
    path: str,
    body: BaseModel | None = None,
    key: str | None = None,
) -> object:
    """What comes back from a write."""
    data = b"" if body is None else body.model_dump_json().encode()
    headers = headers_of(caller, key)
    return (await upstream.control(method, path, body=data, headers=headers)).document()


def headers_of(caller: Caller, key: str | None) -> dict[str, str]:
    """Of a write: who it is for goes to the audit log, the key is bound to them."""
    headers = {"X-Actor": caller.actor, "Content-Type": "application/json"}
    if key is not None:
        headers["Idempotency-Key"] = f"{caller.actor} {key}"
    return headers


def picture(answer: Answer) -> Response:
    """A JPEG, kept by the browser for a moment."""
    return Response(
        answer.body, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=60"}
    )


def said_of(what: str, *kinds: str, **more: object) -> Responses:
    """For OpenAPI: an answer that is no JSON."""
    return {200: {"description": what, "content": dict.fromkeys(kinds, more)}}


BINARY = {"type": "string", "format": "binary"}
JPEG = said_of("A picture", "image/jpeg", schema=BINARY)
METRICS = said_of("Prometheus", "text/plain")
