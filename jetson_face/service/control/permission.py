"""Who may be recognised: consent records, and the do-not-recognise list."""

from __future__ import annotations

import time
from typing import Any

from jetson_face.gallery.names import name_key
from jetson_face.gallery.permission import (
    consents_of,
    not_recognised,
    record_consent,
    withhold,
)
from jetson_face.gallery.person_notes import Consent
from jetson_face.gallery.records import PersonInfo
from jetson_face.service.control.desk import Desk
from jetson_face.service.control.http import ControlError, ControlRequest, Reply, Route
from jetson_face.service.control.values import cut_page, page
from jetson_face.service.erasure import forget_sightings

_ID = r"([0-9a-zA-Z-]{1,64})"


class Permission:
    """`/consents`, `/people/ID/consent` and `/people/ID/do-not-recognise`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.routes: tuple[Route, ...] = (
            ("GET", "/consents", self.list),
            ("PUT", f"/people/{_ID}/consent", self.record),
            ("DELETE", f"/people/{_ID}/consent", self.withdraw),
            ("PUT", f"/people/{_ID}/do-not-recognise", self.withhold),
        )

    def list(self, request: ControlRequest) -> Reply:
        """Everybody with the consent that there is; those whose consent is over first."""
        if not self._desk.config.gallery_path.exists():
            return page([], None)
        with self._desk.gallery() as (_, store):
            records, hidden = consents_of(store), not_recognised(store)
            people = store.people()
        rows = [consent_row(info, records, hidden) for info in people]
        order = {"expired": 0, "none": 1, "valid": 2}
        rows.sort(key=lambda row: (order[row["state"]], name_key(row["name"]), row["person"]))
        return cut_page(request, rows, "person")

    def record(self, request: ControlRequest, who: str) -> Reply:
        """Keep a consent in place of the one before."""
        wanted = request.document()
        if unknown := set(wanted) - {"given_by", "given", "until", "text"}:
            raise ControlError(422, f"nobody knows {min(unknown)[:40]}")
        for key, needed in (("given_by", True), ("given", True), ("until", False), ("text", False)):
            value = wanted.get(key)
            if not isinstance(value, str) and (needed or value is not None):
                raise ControlError(422, f"{key} is missing, or no text")
        consent = Consent(
            wanted["given_by"].strip(),
            wanted["given"],
            wanted.get("until"),
            wanted.get("text") or "",
        )
        return self._recorded(who, consent)

    def withdraw(self, request: ControlRequest, who: str) -> Reply:
        """There is no consent any more; the person stays enrolled until erased."""
        return self._recorded(who, None)

    def withhold(self, request: ControlRequest, who: str) -> Reply:
        """Put on the do-not-recognise list, which also erases what was kept of their face, or take
        off it."""
        on = request.document().get("on")
        if not isinstance(on, bool):
            raise ControlError(422, "on is true or false")
        with self._desk.gallery() as (config, store):
            person = withhold(store, who, on)
            self._desk.told()
            gone = forget_sightings(config, store, person) if on else {}
            row = consent_row(store.show(person.id), consents_of(store), not_recognised(store))
        return Reply.of(row | {"erased": gone})

    def _recorded(self, who: str, consent: Consent | None) -> Reply:
        with self._desk.gallery() as (_, store):
            person = record_consent(store, who, consent)
            row = consent_row(store.show(person.id), consents_of(store), not_recognised(store))
        self._desk.told()
        return Reply.of(row)


def consent_row(
    info: PersonInfo, records: dict[str, Consent], hidden: frozenset[str]
) -> dict[str, Any]:
    """What there is of one person."""
    consent = records.get(info.person.id)
    state = "none" if consent is None else "expired" if consent.expired(time.time()) else "valid"
    return {
        "person": info.person.id,
        "name": info.name,
        "state": state,
        "given_by": None if consent is None else consent.given_by,
        "given": None if consent is None else consent.given,
        "until": None if consent is None else consent.until,
        "text": None if consent is None else consent.text,
        "do_not_recognise": info.person.id in hidden,
    }
