"""`/unknown-people`: who is not enrolled and was seen before, where the operator turned that on."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from jetson_face.web.api.common import JPEG, Cursor, Key, Limit, Up, change, listed, picture
from jetson_face.web.callers import Admin, Operator, Viewer
from jetson_face.web.models import ListPage, Preview
from jetson_face.web.unknown_models import (
    UnknownDetails,
    UnknownErased,
    UnknownName,
    UnknownNamed,
    UnknownRow,
)

router = APIRouter(prefix="/unknown-people", tags=["unknown people"])
Id = Annotated[str, Path(pattern="^[0-9a-f]{16}$")]
_HERE = "/unknown-people"


@router.get("", response_model=ListPage[UnknownRow])
async def unknown_people(
    up: Up, caller: Viewer, cursor: Cursor = None, limit: Limit = 100
) -> object:
    """Everybody who is remembered, who was seen last first."""
    return await listed(up, _HERE, cursor, limit)


@router.delete("", response_model=UnknownErased)
async def erase_all(up: Up, caller: Admin, key: Key = None) -> object:
    """Erase everybody who is remembered, also who is seen meanwhile."""
    return await change(up, caller, "DELETE", _HERE, None, key)


@router.get("/{unknown}", response_model=UnknownDetails)
async def unknown_person(up: Up, caller: Viewer, unknown: Id) -> object:
    """One of them, with the last visits."""
    return (await up.control("GET", f"{_HERE}/{unknown}")).document()


@router.delete("/{unknown}", response_model=UnknownErased)
async def erase(up: Up, caller: Admin, unknown: Id, key: Key = None) -> object:
    """Erase one: record, pictures, the id in events."""
    return await change(up, caller, "DELETE", f"{_HERE}/{unknown}", None, key)


@router.get("/{unknown}/portrait", responses=JPEG, response_class=Response)
async def portrait(up: Up, caller: Viewer, unknown: Id) -> Response:
    """The best face."""
    return picture(await up.control("GET", f"{_HERE}/{unknown}/portrait"))


@router.get("/{unknown}/faces/{number}", responses=JPEG, response_class=Response)
async def face(
    up: Up, caller: Viewer, unknown: Id, number: Annotated[int, Path(ge=0, le=9)]
) -> Response:
    """One of the faces that are kept."""
    return picture(await up.control("GET", f"{_HERE}/{unknown}/faces/{number}"))


@router.post("/{unknown}/preview", response_model=Preview)
async def preview(up: Up, caller: Operator, unknown: Id, wanted: UnknownName) -> object:
    """What the name would change about faces that wait for review; nothing is kept."""
    return await change(up, caller, "POST", f"{_HERE}/{unknown}/preview", wanted)


@router.post("/{unknown}/name", response_model=UnknownNamed)
async def name(
    up: Up, caller: Operator, unknown: Id, wanted: UnknownName, key: Key = None
) -> object:
    """Enrol the faces under a name, new or not."""
    return await change(up, caller, "POST", f"{_HERE}/{unknown}/name", wanted, key)
