"""`/fleet`: this box's part in a fleet, and the whole one for who has the operator's key."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import PlainTextResponse, Response

from jetson_face.web.api.common import METRICS, Cursor, Id, Key, Limit, Up, change, listed
from jetson_face.web.callers import Admin, Operator, Viewer
from jetson_face.web.fleet_models import (
    Fleet,
    FleetBox,
    FleetBoxName,
    FleetErasure,
    FleetPerson,
    FleetSend,
    FleetSent,
    Scope,
)
from jetson_face.web.models import ListPage

router = APIRouter(prefix="/fleet", tags=["fleet"])
Word = Annotated[str, Path(pattern="^[A-Za-z0-9_-]{1,40}$")]


@router.get("", response_model=Fleet)
async def here(up: Up, caller: Viewer) -> object:
    """This box: its connection, events to be sent, and how far it has what the hub has."""
    return (await up.control("GET", "/fleet")).document()


@router.get("/boxes", response_model=ListPage[FleetBox])
async def boxes(up: Up, caller: Viewer, cursor: Cursor = None, limit: Limit = 100) -> object:
    """Every box that ever said how it is. Takes the operator's credentials on this machine, as
    everything below `/fleet` does: a box's own see that box alone."""
    return await listed(up, "/fleet/boxes", cursor, limit)


@router.delete("/boxes/{site}/{box}", response_model=FleetBoxName)
async def forget(up: Up, caller: Admin, site: Word, box: Word, key: Key = None) -> object:
    """Take a box that is gone for good off the list: no erasure waits for it any more."""
    return await change(up, caller, "DELETE", f"/fleet/boxes/{site}/{box}", None, key)


@router.get("/metrics", response_class=Response, responses=METRICS)
async def metrics(up: Up, caller: Viewer) -> Response:
    """All boxes, with the labels `site` and `box`, as Prometheus reads them."""
    answer = await up.control("GET", "/fleet/metrics")
    return PlainTextResponse(answer.body, media_type=answer.content_type)


@router.get("/people", response_model=ListPage[FleetPerson])
async def people(
    up: Up,
    caller: Viewer,
    cursor: Cursor = None,
    limit: Limit = 100,
    to: Annotated[Scope | None, Query()] = None,
    search: Annotated[str | None, Query(max_length=100, description="part of the name")] = None,
) -> object:
    """Everybody who was sent to the boxes, or to those of one site or group, by name."""
    return await listed(up, "/fleet/people", cursor, limit, to=to, search=search)


@router.post("/people", response_model=FleetSent)
async def send(up: Up, caller: Operator, wanted: FleetSend, key: Key = None) -> object:
    """Give people who are enrolled here to the boxes of a scope, as they are now."""
    return await change(up, caller, "POST", "/fleet/people", wanted, key)


@router.delete("/people/{person}", response_model=FleetErasure, status_code=202)
async def erase(up: Up, caller: Admin, person: Id, key: Key = None) -> object:
    """Erase a person on every box for good; the answer has the receipts that came so far."""
    return await change(up, caller, "DELETE", f"/fleet/people/{person}", None, key)


@router.get("/erasures", response_model=ListPage[FleetErasure])
async def erasures(up: Up, caller: Admin, cursor: Cursor = None, limit: Limit = 100) -> object:
    """Every erasure with the boxes' receipts, the last one first."""
    return await listed(up, "/fleet/erasures", cursor, limit)


@router.post("/erasures/{person}", response_model=FleetErasure)
async def ask_again(up: Up, caller: Admin, person: Id, key: Key = None) -> object:
    """The receipts now; events that a box sent before it learned of it lose the person, too."""
    return await change(up, caller, "POST", f"/fleet/erasures/{person}", None, key)
