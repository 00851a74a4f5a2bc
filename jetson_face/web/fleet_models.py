"""What the API sends and takes about a fleet of boxes."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import BaseModel, Field

from jetson_face.web.models import ErasureReceipt
from jetson_face.web.strict import Strict

Scope: TypeAlias = Annotated[
    str,
    Field(
        pattern=r"^(all|(site|group):[A-Za-z0-9_-]{1,40})$",
        description="for whom: `all`, `site:NAME` or `group:NAME`",
    ),
]


class FleetLink(BaseModel):
    """This box's connection to the hub. since: when it was made, or found to be lost; null: there
    never was one."""

    connected: bool
    since: str | None
    error: str | None


class FleetEvents(BaseModel):
    """Events of this box for the fleet. waiting: still to be sent; null: the service does not say.
    error, down_since: why and since when they cannot be."""

    waiting: int | None
    error: str | None
    down_since: str | None


class HeldPerson(BaseModel):
    """Somebody whom a box could not take. person: their id."""

    person: str
    why: str


class FleetHere(BaseModel):
    """This box. scopes: whose people it has. people: who is enrolled here. positions: by scope, how
    far the log of people was read. behind: by scope, how many of its entries are still to come;
    null: not known yet. erasing: erasures that are not finished here. up_to_date: everything that
    the hub has for this box is in its gallery; null: the hub cannot be asked. Who is enrolled here
    alone does not count. plans: by scope, what became of TensorRT plans that were pushed."""

    site: str
    box: str
    server: str
    scopes: list[str]
    link: FleetLink
    events: FleetEvents
    people: int
    positions: dict[str, int]
    behind: dict[str, int | None]
    held: list[HeldPerson]
    erasing: int
    up_to_date: bool | None
    plans: dict[str, str]


class Fleet(BaseModel):
    """here: null where no fleet is configured."""

    configured: bool
    here: FleetHere | None


class FleetBox(BaseModel):
    """A box as it said last that it is. last_seen, age_s: when that was, by the hub's clock.
    up_to_date: it had everything that the hub has for it now. backlog: events to be sent; null: no
    service runs. clock_offset_s: how far its clock is before the hub's."""

    name: str
    site: str
    box: str
    last_seen: str
    age_s: float
    version: str
    scopes: list[str]
    positions: dict[str, int]
    up_to_date: bool
    people: int
    model: str
    held: list[HeldPerson]
    erasing: int
    backlog: int | None
    ready: bool | None
    clock_offset_s: float
    plans: dict[str, str]


class FleetBoxName(BaseModel):
    """A box that is off the list."""

    name: str


class FleetPerson(BaseModel):
    """Somebody who was sent. name, photos: null where the fleet's key of this machine does not open
    it. version: number in the log."""

    id: str
    name: str | None
    to: str
    photos: int | None
    version: int
    sent: str
    bytes: int


class FleetSend(Strict):
    """Whom to send (ids of people who are enrolled here), and to which boxes."""

    people: list[Annotated[str, Field(pattern="^[0-9a-zA-Z-]{1,64}$")]] = Field(
        min_length=1, max_length=500
    )
    to: Scope


class FleetSent(BaseModel):
    """Who was sent."""

    people: list[str]
    to: str


class FleetReceipt(ErasureReceipt):
    """What one box (`SITE/BOX`) says of an erasure."""

    box: str


class FleetErasure(BaseModel):
    """An erasure on all boxes. name: as the boxes knew them, if one did. time: when the hub was
    told. complete: no box is missing. missing: boxes from which no complete receipt came."""

    person: str
    name: str | None
    time: str | None
    complete: bool
    receipts: list[FleetReceipt]
    missing: list[str]
