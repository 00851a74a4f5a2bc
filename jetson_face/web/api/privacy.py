"""Consent records, the do-not-recognise list and the log of use."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse

from jetson_face.util.csvtext import csv_row
from jetson_face.web.api.common import Cursor, Id, Key, Limit, Time, Up, change, listed, said_of
from jetson_face.web.callers import Admin, Operator, Viewer
from jetson_face.web.models import ListPage
from jetson_face.web.privacy_models import (
    ConsentIn,
    ConsentRow,
    DoNotRecognise,
    UseRecord,
    Withheld,
)

router = APIRouter(tags=["privacy"])
UseCursor = Annotated[
    str | None,
    Query(
        pattern=r"^(period|verification|search|match)-[0-9]{1,16}$",
        description="`next` of the page before; none: the first page",
    ),
]


@router.get("/consents", response_model=ListPage[ConsentRow])
async def consents(up: Up, caller: Viewer, cursor: Cursor = None, limit: Limit = 100) -> object:
    """Everybody with the consent that there is; those whose consent is over first."""
    return await listed(up, "/consents", cursor, limit)


@router.put("/people/{person}/consent", response_model=ConsentRow)
async def record(
    up: Up, caller: Operator, person: Id, wanted: ConsentIn, key: Key = None
) -> object:
    """Keep a consent in place of the one before."""
    return await change(up, caller, "PUT", f"/people/{person}/consent", wanted, key)


@router.delete("/people/{person}/consent", response_model=ConsentRow)
async def withdraw(up: Up, caller: Operator, person: Id, key: Key = None) -> object:
    """There is no consent any more; the person stays enrolled until erased."""
    return await change(up, caller, "DELETE", f"/people/{person}/consent", None, key)


@router.put("/people/{person}/do-not-recognise", response_model=Withheld)
async def withhold(
    up: Up, caller: Admin, person: Id, wanted: DoNotRecognise, key: Key = None
) -> object:
    """Put on the do-not-recognise list, or take off it. Such a face is `unknown` to everybody, and
    no crop, review item or template of it is kept."""
    return await change(up, caller, "PUT", f"/people/{person}/do-not-recognise", wanted, key)


@router.get("/use", response_model=ListPage[UseRecord], response_model_exclude_unset=True)
async def use(
    up: Up,
    caller: Admin,
    cursor: UseCursor = None,
    limit: Limit = 100,
    since: Time = None,
    until: Time = None,
) -> object:
    """The log of use that article 12(3) of the EU AI Act asks for: each period of use with its
    reference databases, who verified results, and the input that led to a match."""
    return await listed(up, "/use", cursor, limit, since=since, until=until)


@router.get(
    "/use/export",
    response_class=Response,
    responses=said_of("A file", "text/csv", "application/json"),
)
async def export_use(
    up: Up,
    caller: Admin,
    format: Literal["csv", "json"] = "csv",
    since: Time = None,
    until: Time = None,
) -> Response:
    """The whole log of use as CSV, or as a JSON array."""

    page = partial(listed, up, "/use", limit=500, since=since, until=until)
    first = await page(None)

    async def parts() -> AsyncIterator[str]:
        found, before = first, "["
        if format == "csv":
            yield csv_row(UseRecord.model_fields)
        while True:
            for one in found["items"]:
                if format == "csv":
                    yield csv_row(_cell(one.get(column)) for column in UseRecord.model_fields)
                else:
                    yield f"{before}\n{json.dumps(one, ensure_ascii=False)}"
                    before = ","
            if found["next"] is None:
                break
            found = await page(found["next"])
        if format == "json":
            yield "[]\n" if before == "[" else "\n]\n"

    kinds = {"csv": "text/csv; charset=utf-8", "json": "application/json"}
    headers = {"Content-Disposition": f'attachment; filename="use.{format}"'}
    return StreamingResponse(parts(), media_type=kinds[format], headers=headers)


def _cell(value: object) -> object:
    return " ".join(map(str, value)) if isinstance(value, list) else value
