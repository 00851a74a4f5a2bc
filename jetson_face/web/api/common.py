"""What the routes share: the sockets, pages of lists, writes that are done once."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Header, Query
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from jetson_face.web.callers import Caller
from jetson_face.web.problems import MEDIA, ProblemDocument
from jetson_face.web.upstream import Answer, Upstream

ERRORS: dict[int | str, dict[str, Any]] = {
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


def listed(cursor: str | None, limit: int, **more: str | None) -> dict[str, str]:
    """The query of a list."""
    wanted = {"limit": str(limit), "cursor": cursor, **more}
    return {name: value for name, value in wanted.items() if value is not None}


async def change(
    upstream: Upstream,
    caller: Caller,
    method: str,
    path: str,
    body: BaseModel | None = None,
    key: str | None = None,
) -> Answer:
    """A write: who it is for goes to the audit log, the key is bound to them."""
    headers = {"X-Actor": caller.actor, "Content-Type": "application/json"}
    if key is not None:
        headers["Idempotency-Key"] = f"{caller.actor} {key}"
    data = b"" if body is None else body.model_dump_json().encode()
    return await upstream.control(method, path, body=data, headers=headers)


def picture(answer: Answer) -> Response:
    """A JPEG, kept by the browser for a moment."""
    return Response(
        answer.body, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=60"}
    )


JPEG: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A picture",
        "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
    }
}
