"""`/people`, and `/identify`: every face of a picture."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from jetson_face.web.api.common import (
    BINARY,
    JPEG,
    Cursor,
    Id,
    Key,
    Limit,
    Up,
    change,
    headers_of,
    listed,
    picture,
)
from jetson_face.web.callers import Admin, Operator, Viewer
from jetson_face.web.models import (
    Enrolment,
    ErasureReceipt,
    Identified,
    ListPage,
    Merge,
    Outcome,
    PersonDetails,
    PersonRow,
    Rename,
)
from jetson_face.web.problems import ProblemError

router = APIRouter(tags=["people"])
_ENROLMENT: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Enrolment"}}},
    }
}
_PICTURE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": BINARY}
            for kind in ("application/octet-stream", "image/jpeg", "image/png")
        },
    }
}
assert Enrolment.__name__ == "Enrolment"


@router.get("/people", response_model=ListPage[PersonRow])
async def people(
    up: Up,
    caller: Viewer,
    cursor: Cursor = None,
    limit: Limit = 100,
    search: Annotated[str | None, Query(max_length=100, description="part of the name")] = None,
    name: Annotated[
        str | None,
        Query(min_length=1, max_length=100, description="the whole name, in upper or lower case"),
    ] = None,
) -> object:
    """Everybody who is enrolled, by name."""
    return await listed(up, "/people", cursor, limit, search=search, name=name)


@router.post(
    "/people",
    response_model=Outcome,
    status_code=201,
    openapi_extra=_ENROLMENT,
    responses={200: {"model": Outcome, "description": "No picture was added"}},
)
async def enroll(request: Request, up: Up, caller: Operator, key: Key = None) -> Response:
    """Enrol pictures of one person; each that is refused says why."""
    return await _passed_on(request, up, "/people", headers_of(caller, key))


@router.post("/identify", response_model=Identified, openapi_extra=_PICTURE)
async def identify(request: Request, up: Up, caller: Operator) -> Response:
    """Every face of a picture file: name, candidates, quality, or why it does not count."""
    headers = {"X-Actor": caller.actor, "Content-Type": "application/octet-stream"}
    return await _passed_on(request, up, "/identify", headers)


async def _passed_on(request: Request, up: Up, path: str, headers: dict[str, str]) -> Response:
    """The body goes through piece by piece: this process stays small."""
    if "content-length" not in request.headers:
        raise ProblemError(411, "send the body with its length")
    headers["Content-Length"] = request.headers["content-length"]
    async with request.app.state.uploads:
        answer = await up.control("POST", path, body=request.stream(), headers=headers)
    return JSONResponse(answer.document(), answer.status)


@router.get("/people/{person}", response_model=PersonDetails)
async def person(up: Up, caller: Viewer, person: Id) -> object:
    """One person with the templates, and what is doubtful about them."""
    return (await up.control("GET", f"/people/{person}")).document()


@router.patch("/people/{person}", response_model=PersonRow)
async def rename(up: Up, caller: Operator, person: Id, wanted: Rename, key: Key = None) -> object:
    """Give another name; the id stays."""
    return await change(up, caller, "PATCH", f"/people/{person}", wanted, key)


@router.post("/people/{person}/merge", response_model=PersonRow)
async def merge(up: Up, caller: Admin, person: Id, wanted: Merge, key: Key = None) -> object:
    """This person is `into`: the templates move there."""
    return await change(up, caller, "POST", f"/people/{person}/merge", wanted, key)


@router.delete("/people/{person}", response_model=ErasureReceipt)
async def remove(up: Up, caller: Admin, person: Id, key: Key = None) -> object:
    """Erase a person for good; the answer is the receipt."""
    return await change(up, caller, "DELETE", f"/people/{person}", None, key)


@router.get("/people/{person}/portrait", responses=JPEG, response_class=Response)
async def portrait(up: Up, caller: Viewer, person: Id) -> Response:
    """The face of the best template."""
    return picture(await up.control("GET", f"/people/{person}/portrait"))


@router.get(
    "/people/{person}/templates/{template}/portrait", responses=JPEG, response_class=Response
)
async def template_portrait(up: Up, caller: Viewer, person: Id, template: Id) -> Response:
    """The face of one template."""
    return picture(await up.control("GET", f"/people/{person}/templates/{template}/portrait"))


@router.delete("/people/{person}/templates/{template}", response_model=PersonRow)
async def remove_template(
    up: Up, caller: Operator, person: Id, template: Id, key: Key = None
) -> object:
    """Take one photo out."""
    return await change(up, caller, "DELETE", f"/people/{person}/templates/{template}", None, key)
