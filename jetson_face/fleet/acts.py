"""What a person does to a fleet, with a line in this machine's audit log that says who did it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from jetson_face.config import Config
from jetson_face.core.errors import UsageError
from jetson_face.fleet.operator import FleetOperator
from jetson_face.fleet.subjects import scope_text
from jetson_face.gallery.replicated import PersonRecord
from jetson_face.service.erasure import audit_log


async def send_people(
    config: Config,
    server: FleetOperator,
    records: Iterable[PersonRecord],
    scope: str,
    tell: Callable[[PersonRecord], None],
) -> None:
    """Give people to the boxes of a scope, one after the other; `tell` is called after each. Raises
    what `FleetOperator.send` raises, and UsageError for who was erased from here, also where the
    server knows nothing of it; who was sent before that stays sent, and is in the log."""
    log, lines, erased = audit_log(config), {}, _erased_from_here(config)
    try:
        for record in records:
            person = record.person
            if person.id in erased:
                raise UsageError(
                    f"{person.name} was erased from the fleet: enrol them again (a hub that was "
                    "restored from an older backup is told of it by `jetson-face fleet set-up`)"
                )
            seq = await server.send(record, scope)
            details = {"to": scope_text(scope), "version": seq}
            key, line = log.line("fleet_sent", person=person.id, name=person.name, details=details)
            lines[key] = line
            tell(record)
    finally:
        log.add_once(lines, since_long=False)


async def erase_person(config: Config, server: FleetOperator, person: str, name: str) -> None:
    """Tell every box to erase a person (id). name: as far as it is known, for the audit log."""
    told = False
    try:
        await server.erase(person)
        told = True
    finally:
        audit_log(config).record("fleet_erased", person=person, name=name, details={"told": told})


async def erase_again(config: Config, server: FleetOperator) -> list[str]:
    """Tell every box again to erase whom it was told to erase from here, where the server knows
    nothing of it: it was made again, or restored from an older backup. Who that is (ids)."""
    again = []
    for person, name in _erased_from_here(config).items():
        there = await server.people(person)
        if not there or not all(one.erased for one in there):
            await erase_person(config, server, person, name)
            again.append(person)
    return again


def _erased_from_here(config: Config) -> dict[str, str]:
    """Names by id, as the audit log has them."""
    return {
        entry.person: entry.name
        for entry in audit_log(config).read()
        if entry.action == "fleet_erased" and entry.details.get("told")
    }


async def forget_box(config: Config, server: FleetOperator, site: str, box: str) -> bool:
    """Take a box that is gone for good off the list; whether it was there."""
    there = await server.forget(site, box)
    if there:
        details = {"box": f"{site}/{box}"}
        audit_log(config).record("fleet_forgotten", person="", name="", details=details)
    return there
