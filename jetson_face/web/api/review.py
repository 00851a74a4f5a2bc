"""`/review`: faces between sure and no."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from jetson_face.web.api.common import JPEG, Cursor, Key, Limit, Up, change, listed, picture
from jetson_face.web.callers import Operator, Viewer
from jetson_face.web.models import (
    DecidedItems,
    ListPage,
    Numbers,
    Preview,
    ReviewAnswers,
    ReviewRow,
    Undone,
)

router = APIRouter(prefix="/review", tags=["review"])


@router.get("", response_model=ListPage[ReviewRow])
async def waiting(up: Up, caller: Viewer, cursor: Cursor = None, limit: Limit = 100) -> object:
    """What waits for a person, oldest first."""
    return await listed(up, "/review", cursor, limit)


@router.get("/{number}/face", responses=JPEG, response_class=Response)
async def face(
    up: Up, caller: Viewer, number: Annotated[int, Path(ge=1, le=10**9 - 1)]
) -> Response:
    """The face in question."""
    return picture(await up.control("GET", f"/review/{number}/face"))


@router.post("/preview", response_model=Preview)
async def preview(up: Up, caller: Operator, wanted: ReviewAnswers) -> object:
    """What answers would change; nothing is kept."""
    return await change(up, caller, "POST", "/review/preview", wanted)


@router.post("/decide", response_model=DecidedItems)
async def decide(up: Up, caller: Operator, wanted: ReviewAnswers, key: Key = None) -> object:
    """Answer one or many."""
    return await change(up, caller, "POST", "/review/decide", wanted, key)


@router.post("/undo", response_model=Undone)
async def undo(up: Up, caller: Operator, wanted: Numbers, key: Key = None) -> object:
    """Take answers back, the last one first."""
    return await change(up, caller, "POST", "/review/undo", wanted, key)
