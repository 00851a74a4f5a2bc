"""How a box is: what it says of itself, and what is read of all."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Annotated, TypeAlias

from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError

from jetson_face.config import Config
from jetson_face.config.fleet import FLEET
from jetson_face.core.version import __version__
from jetson_face.factory.fleet import fleet_of
from jetson_face.fleet.place import read_place
from jetson_face.fleet.plans import plans_taken
from jetson_face.fleet.subjects import scopes
from jetson_face.gallery.people import PeopleRows
from jetson_face.gallery.store import GalleryStore
from jetson_face.service.status_server import ask_status
from jetson_face.util.metrics import Metrics, to_prometheus

_wall = time.time
"""UTC seconds by this box's clock."""
_Count: TypeAlias = Annotated[int, Field(ge=0, le=2**53 - 1)]
_Scope: TypeAlias = Annotated[str, Field(pattern=r"^(all|(site|group)-[A-Za-z0-9_-]{1,40})$")]
_UNREADABLE = "what the box says of itself cannot be read here: has it another jetson-face?"


@dataclass(frozen=True, slots=True)
class BoxStatus:
    """time: UTC seconds by the box's clock. positions: by scope, how far it read the log of people.
    model: name and digest of its embedding space. held: people it could not take, and why. erasing:
    erasures not finished. backlog: events still to be sent, None while no service runs. ready: what
    the service says, likewise. plans: what became of TensorRT plans that were pushed, by scope."""

    site: str
    box: str
    version: str
    time: FiniteFloat
    scopes: Annotated[tuple[_Scope, ...], Field(max_length=100)]
    positions: dict[_Scope, _Count]
    people: _Count
    model: str
    held: dict[str, str]
    erasing: _Count
    backlog: _Count | None
    ready: bool | None
    plans: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`SITE/BOX`."""
        return f"{self.site}/{self.box}"

    def has_all(self, ends: Mapping[str, int]) -> bool:
        """The gallery has everything that the server had for the box when it said so. ends: by
        scope, the number of the last entry of the log."""
        there = all(self.positions.get(one, 0) >= ends.get(one, 0) for one in self.scopes)
        return there and not self.held and not self.erasing


@dataclass(frozen=True, slots=True)
class SeenBox:
    """A box as the server knows it. received: UTC seconds by the server's clock."""

    status: BoxStatus
    received: float

    def age(self, now: float) -> float:
        """Seconds since it last said how it is. now: UTC seconds by the server's clock, or one that
        goes like it."""
        return max(0.0, now - self.received)

    @property
    def clock_offset_s(self) -> float:
        """How far the box's clock is before the server's, with the time of the way in it."""
        return self.status.time - self.received


def status_here(config: Config, store: GalleryStore) -> BoxStatus:
    """How this box is now. Raises the gallery's errors."""
    fleet, place, service = fleet_of(config), read_place(store), ask_status(config.status_socket)
    return BoxStatus(
        site=fleet.site,
        box=fleet.box,
        version=__version__,
        time=_wall(),
        scopes=tuple(scopes(fleet)),
        positions=dict(place.positions),
        people=PeopleRows(store.book).count(),
        model=str(store.space),
        held={who: held.why for who, held in place.held.items()},
        erasing=len(place.erasing),
        backlog=service.get("outbox", {}).get("lag", {}).get(FLEET),
        ready=service.get("ready"),
        plans=plans_taken(config.state_dir),
    )


def status_text(status: BoxStatus) -> bytes:
    """As it is published."""
    return json.dumps(asdict(status)).encode()


def status_of(site: str, box: str, data: bytes, received: float) -> SeenBox:
    """As it is read. site, box: of the subject: a box speaks for itself only. One whose status this
    version cannot read stays on the list, holding `status`, so that an erasure waits for it."""
    try:
        known = replace(_adapter().validate_json(data), site=site, box=box)
    except ValidationError:
        held = {"status": _UNREADABLE}
        known = BoxStatus(site, box, "?", received, (), {}, 0, "?", held, 0, None, None)
    return SeenBox(known, received)


@cache
def _adapter() -> TypeAdapter[BoxStatus]:
    return TypeAdapter(BoxStatus)


def metrics_text(boxes: list[SeenBox], now: float) -> str:
    """For Prometheus: each figure with the labels `site` and `box`."""
    own = Metrics()
    for seen in boxes:
        one = seen.status
        who = {"site": one.site, "box": one.box}
        age, ahead = seen.age(now), seen.clock_offset_s
        figures = (
            ("fleet_age_seconds", "Since the box last said how it is", age),
            ("fleet_people", "Enrolled on the box", one.people),
            ("fleet_held", "People that the box could not take", len(one.held)),
            ("fleet_erasing", "Erasures that the box has not finished", one.erasing),
            ("fleet_clock_offset_seconds", "The box's clock before the server's", ahead),
            ("fleet_backlog", "Events that the box has still to send", one.backlog),
            ("fleet_ready", "1 when the box's service decides frames", one.ready),
        )
        for name, text, value in figures:
            if value is not None:
                own.gauge(name, text, **who).set(value)
        for scope, position in one.positions.items():
            own.gauge(
                "fleet_position", "Last entry of the people's log on the box", scope=scope, **who
            ).set(position)
    return to_prometheus(own.snapshot())
