"""`/fleet` on the control socket: this box's part in its fleet, and, for who has the operator's
credentials, the boxes, people and erasures of the whole one."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from jetson_face.config.fleet import FLEET
from jetson_face.core.errors import InputMissingError, UsageError
from jetson_face.factory.fleet import fleet_of
from jetson_face.fleet import operator
from jetson_face.fleet.acts import erase_person, forget_box, send_people
from jetson_face.fleet.link_state import read_link
from jetson_face.fleet.operator import ErasureReport, FleetOperator, SentPerson
from jetson_face.fleet.place import FleetPlace, read_place
from jetson_face.fleet.plans import plans_taken
from jetson_face.fleet.status import SeenBox, metrics_text
from jetson_face.fleet.subjects import scope_of, scope_text, scopes
from jetson_face.gallery.names import name_key
from jetson_face.gallery.people import PeopleRows
from jetson_face.gallery.replicated import record_of
from jetson_face.service.control.desk import Desk
from jetson_face.service.control.http import ControlError, ControlRequest, Reply, Route
from jetson_face.service.control.values import cut_page, text_in, when

T = TypeVar("T")
SENT_MAX = 500
_ID = r"([0-9a-zA-Z-]{1,64})"
_WORD = r"([A-Za-z0-9_-]{1,40})"


class FleetDesk:
    """The routes under `/fleet`. What needs the hub opens one connection a request."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.routes: tuple[Route, ...] = (
            ("GET", "/fleet", self.here),
            ("GET", "/fleet/boxes", self.boxes),
            ("DELETE", f"/fleet/boxes/{_WORD}/{_WORD}", self.forget),
            ("GET", "/fleet/metrics", self.metrics),
            ("GET", "/fleet/people", self.people),
            ("POST", "/fleet/people", self.send),
            ("DELETE", f"/fleet/people/{_ID}", self.erase),
            ("GET", "/fleet/erasures", self.erasures),
            ("POST", f"/fleet/erasures/{_ID}", self.ask_again),
        )

    def here(self, request: ControlRequest) -> Reply:
        """This box, by what lies on it: nobody else is asked."""
        config, status = self._desk.config, self._desk.status()
        fleet, link = fleet_of(config), read_link(config.state_dir)
        place, count = FleetPlace(), 0
        if config.gallery_path.exists():
            with self._desk.gallery() as (_, store):
                place, count = read_place(store), PeopleRows(store.book).count()
        sink = status.get("sinks", {}).get(FLEET, {})
        behind = {scope_text(one): link.waiting.get(one) for one in scopes(fleet)}
        here = {
            "site": fleet.site,
            "box": fleet.box,
            "server": fleet.server,
            "scopes": list(behind),
            "link": {
                "connected": link.connected,
                "since": when(link.since) if link.since else None,
                "error": link.error or None,
            },
            "events": {
                "waiting": status.get("outbox", {}).get("lag", {}).get(FLEET),
                "error": sink.get("error"),
                "down_since": sink.get("down_since"),
            },
            "people": count,
            "positions": _by_scope(place.positions),
            "behind": behind,
            "held": [{"person": who, "why": one.why} for who, one in place.held.items()],
            "erasing": len(place.erasing),
            "up_to_date": _up_to_date(place, link.connected, behind),
            "plans": _by_scope(plans_taken(config.state_dir)),
        }
        return Reply.of({"configured": True, "here": here})

    def boxes(self, request: ControlRequest) -> Reply:
        """Every box that ever said how it is, by site and name."""

        async def work(server: FleetOperator) -> tuple[list[SeenBox], dict[str, int]]:
            seen = await server.boxes()
            wanted = dict.fromkeys(one for box in seen for one in box.status.scopes)
            return seen, await server.ends(wanted)

        seen, ends = self._ask(work)
        now = time.time()
        return cut_page(request, [_box(one, ends, now) for one in seen], "name")

    def metrics(self, request: ControlRequest) -> Reply:
        """All boxes for Prometheus."""
        seen = self._ask(lambda server: server.boxes())
        text = metrics_text(seen, time.time())
        return Reply(200, text.encode(), "text/plain; version=0.0.4; charset=utf-8")

    def forget(self, request: ControlRequest, site: str, box: str) -> Reply:
        """Take a box that is gone for good off the list."""
        config = self._desk.config
        if not self._ask(lambda server: forget_box(config, server, site, box)):
            raise ControlError(404, f"no box is called {site}/{box}")
        return Reply.of({"name": f"{site}/{box}"})

    def people(self, request: ControlRequest) -> Reply:
        """Everybody who was sent and not erased, by name."""
        wanted = name_key(request.query.get("search", ""))
        to = request.query.get("to")
        scope = None if to is None else _scope(to)
        found: list[SentPerson] = self._ask(lambda server: server.people())
        rows = [
            _person(one)
            for one in found
            if not one.erased
            and (scope is None or one.scope == scope)
            and wanted in name_key(_name(one) or "")
        ]
        rows.sort(key=lambda row: (name_key(row["name"] or ""), row["id"]))
        return cut_page(request, rows, "id")

    def send(self, request: ControlRequest) -> Reply:
        """Give people who are enrolled here to the boxes of a scope, as they are now."""
        wanted = request.document()
        people, scope = wanted.get("people"), _scope(text_in(wanted, "to"))
        if (
            not isinstance(people, list)
            or not 1 <= len(people) <= SENT_MAX
            or not all(isinstance(who, str) for who in people)
        ):
            raise ControlError(422, f"people is a list of 1 to {SENT_MAX} ids")
        with self._desk.gallery() as (config, store):
            records = [record_of(store, who) for who in people]
        sent: list[str] = []
        self._ask(
            lambda server: send_people(
                config, server, records, scope, lambda one: sent.append(one.person.id)
            )
        )
        return Reply.of({"people": sent, "to": scope_text(scope)})

    def erase(self, request: ControlRequest, who: str) -> Reply:
        """Take a person off the server and tell every box to erase them; what they say so far."""
        config, name = self._desk.config, self._name_here(who)

        async def work(server: FleetOperator) -> ErasureReport:
            sent = await server.people(who)
            if name is None and not sent:
                raise UsageError("nobody of this id was sent to the fleet, or is enrolled here")
            names = [name, *(_name(one) for one in sent)]
            await erase_person(config, server, who, next(filter(None, names), ""))
            return await server.erasure(who)

        return Reply.of(_report(self._ask(work)), 202)

    def erasures(self, request: ControlRequest) -> Reply:
        """Every erasure with its receipts, the last one first."""
        found: list[ErasureReport] = self._ask(lambda server: server.erasures())
        return cut_page(request, [_report(one) for one in found], "person")

    def ask_again(self, request: ControlRequest, who: str) -> Reply:
        """The receipts now; events that a box sent before it learned of it are overwritten."""

        async def work(server: FleetOperator) -> ErasureReport:
            if not any(one.erased for one in await server.people(who)):
                raise UsageError("nobody of this id was erased from the fleet")
            return await server.erasure(who)

        return Reply.of(_report(self._ask(work)))

    def _ask(self, work: Callable[[FleetOperator], Coroutine[Any, Any, Any]]) -> Any:
        return operator.run(self._desk.config, work)

    def _name_here(self, who: str) -> str | None:
        try:
            with self._desk.gallery() as (_, store):
                info = store.show(who)
        except (UsageError, InputMissingError):
            return None
        return info.person.name if info.person.id == who else None


def _scope(text: str) -> str:
    try:
        return scope_of(text)
    except UsageError as error:
        raise ControlError(422, str(error)) from None


def _by_scope(values: Mapping[str, T]) -> dict[str, T]:
    return {scope_text(scope): value for scope, value in values.items()}


def _up_to_date(
    place: FleetPlace, connected: bool, behind: Mapping[str, int | None]
) -> bool | None:
    """None where nobody can tell just now."""
    if place.held or place.erasing or any(behind.values()):
        return False
    return True if connected and None not in behind.values() else None


def _box(seen: SeenBox, ends: Mapping[str, int], now: float) -> dict[str, Any]:
    one = seen.status
    return {
        "name": one.name,
        "site": one.site,
        "box": one.box,
        "last_seen": when(seen.received),
        "age_s": round(seen.age(now), 1),
        "version": one.version,
        "scopes": [scope_text(scope) for scope in one.scopes],
        "positions": _by_scope(one.positions),
        "up_to_date": one.has_all(ends),
        "people": one.people,
        "model": one.model,
        "held": [{"person": who, "why": why} for who, why in one.held.items()],
        "erasing": one.erasing,
        "backlog": one.backlog,
        "ready": one.ready,
        "clock_offset_s": round(seen.clock_offset_s, 2),
        "plans": _by_scope(one.plans),
    }


def _name(one: SentPerson) -> str | None:
    return None if one.record is None else one.record.person.name


def _person(one: SentPerson) -> dict[str, Any]:
    return {
        "id": one.person,
        "name": _name(one),
        "to": scope_text(one.scope),
        "photos": None if one.record is None else len(one.record.templates),
        "version": one.seq,
        "sent": when(one.time),
        "bytes": one.size,
    }


def _report(report: ErasureReport) -> dict[str, Any]:
    receipts = [{"box": box, **receipt} for box, receipt in sorted(report.receipts.items())]
    return {
        "person": report.person,
        "name": next((one["name"] for one in receipts if one["name"]), None),
        "time": when(report.time) if report.time else None,
        "complete": report.complete,
        "receipts": receipts,
        "missing": list(report.missing),
    }
