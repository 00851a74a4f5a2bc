"""Consent records and the do-not-recognise list."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from jetson_face.web.api.common import Cursor, Key, Limit, Up, change, listed
from jetson_face.web.callers import Admin, Operator, Viewer
from jetson_face.web.models import ListPage
from jetson_face.web.privacy_models import ConsentIn, ConsentRow, DoNotRecognise, Withheld

router = APIRouter(tags=["privacy"])
Id = Annotated[str, Path(pattern="^[0-9a-zA-Z-]{1,64}$")]


@router.get("/consents", response_model=ListPage[ConsentRow])
async def consents(up: Up, caller: Viewer, cursor: Cursor = None, limit: Limit = 100) -> object:
    """Everybody with the consent that there is; those whose consent is over first."""
    return (await up.control("GET", "/consents", query=listed(cursor, limit))).document()


@router.put("/people/{person}/consent", response_model=ConsentRow)
async def record(
    up: Up, caller: Operator, person: Id, wanted: ConsentIn, key: Key = None
) -> object:
    """Keep a consent in place of the one before."""
    return (await change(up, caller, "PUT", f"/people/{person}/consent", wanted, key)).document()


@router.delete("/people/{person}/consent", response_model=ConsentRow)
async def withdraw(up: Up, caller: Operator, person: Id, key: Key = None) -> object:
    """There is no consent any more; the person stays enrolled until erased."""
    return (await change(up, caller, "DELETE", f"/people/{person}/consent", None, key)).document()


@router.put("/people/{person}/do-not-recognise", response_model=Withheld)
async def withhold(
    up: Up, caller: Admin, person: Id, wanted: DoNotRecognise, key: Key = None
) -> object:
    """Put on the do-not-recognise list, or take off it. Such a face is `unknown` to everybody, and
    no crop, review item or template of it is kept."""
    path = f"/people/{person}/do-not-recognise"
    return (await change(up, caller, "PUT", path, wanted, key)).document()
