"""`/cameras`: how each does, and its annotated frames, made only while somebody watches."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from jetson_face.web.api.common import JPEG, Up, said_of
from jetson_face.web.callers import Doorkeeper, Operator, Viewer
from jetson_face.web.feed import BOUNDARY, Feeds
from jetson_face.web.models import Camera, ListPage, WalkingFace
from jetson_face.web.problems import ProblemError
from jetson_face.web.upstream import segment

router = APIRouter(prefix="/cameras", tags=["cameras"])
Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
After = Annotated[int | None, Query(ge=0, le=10**15 - 1)]
Width = Annotated[int, Query(ge=100, le=1920, description="pixels, at most")]
_STREAMS_MAX = 60


@router.get("", response_model=ListPage[Camera])
async def cameras(up: Up, caller: Viewer) -> object:
    """Every camera; all are on one page."""
    return {"items": await _known(up), "next": None}


@router.get(
    "/{camera}/frame",
    responses=JPEG | {204: {"description": "No newer frame came for five seconds"}},
    response_class=Response,
)
async def frame(
    request: Request, up: Up, caller: Viewer, camera: Name, after: After = None, width: Width = 960
) -> Response:
    """The newest annotated frame; waits for one that is not `after`. The header X-Frame has, as
    JSON, its number `seq`, its time and its faces."""
    feeds: Feeds = request.app.state.feeds
    if not feeds.has(camera):
        await _must_be(up, camera)
    found = await feeds.picture(camera, width, after)
    if found is None:
        await _must_be(up, camera)
        return Response(status_code=204)
    return Response(found.jpeg, media_type="image/jpeg", headers={"X-Frame": found.head})


@router.get("/{camera}/face", response_model=WalkingFace)
async def face(up: Up, caller: Operator, camera: Name, after: After = None) -> object:
    """The largest face of the newest frame that is not `after`, clean, with pose and quality: to
    enrol who walks past. `seq` is null where there is none just now."""
    query = {} if after is None else {"after": str(after)}
    answer = await up.status(f"/faces/{segment(camera)}", query)
    if answer.status == 204:
        return {"seq": None, "several": False, "face": None, "data": None}
    head, _, jpeg = answer.body.partition(b"\n")
    return json.loads(head) | {"data": base64.b64encode(jpeg).decode() if jpeg else None}


@router.get(
    "/{camera}/stream.mjpeg",
    response_class=Response,
    responses=said_of("Annotated frames", "multipart/x-mixed-replace"),
)
async def stream(
    request: Request, up: Up, caller: Viewer, camera: Name, width: Width = 960
) -> Response:
    """Annotated frames without end, for programs that show MJPEG."""
    await _must_be(up, camera)
    state = request.app.state
    if state.streams >= _STREAMS_MAX:
        raise ProblemError(503, "too many watch already", {"Retry-After": "10"})
    feeds: Feeds = state.feeds
    keeper: Doorkeeper = state.keeper

    async def parts() -> AsyncIterator[bytes]:
        state.streams += 1
        after: int | None = None
        try:
            while keeper.goes_on(request):
                found = await feeds.picture(camera, width, after)
                if found is not None:
                    after = found.seq
                    yield found.part
        finally:
            state.streams -= 1

    return StreamingResponse(parts(), media_type=f"multipart/x-mixed-replace; boundary={BOUNDARY}")


async def _known(up: Up) -> list[dict[str, Any]]:
    status = (await up.status("/status")).document()
    return [{"name": name, **facts} for name, facts in status.get("cameras", {}).items()]


async def _must_be(up: Up, camera: str) -> None:
    if camera not in {one["name"] for one in await _known(up)}:
        raise ProblemError(404, f"there is no camera {camera}")
