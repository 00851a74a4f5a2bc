"""Who is enrolled: listed, shown, enrolled from pictures, renamed, merged, removed."""

from __future__ import annotations

import base64
import binascii
from contextlib import closing, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jetson_face.config import Config
from jetson_face.core.errors import JetsonFaceError, NameInvalidError
from jetson_face.factory.parts import build_enroller
from jetson_face.gallery.batch import EnrollmentResult
from jetson_face.gallery.enroll import PictureBytes
from jetson_face.gallery.label_check import mislabelled_templates
from jetson_face.gallery.merging import merge
from jetson_face.gallery.names import name_key, valid_name
from jetson_face.gallery.permission import consents_of, not_recognised, withhold
from jetson_face.gallery.records import PersonInfo
from jetson_face.gallery.store import GalleryStore
from jetson_face.privacy.audit import utc
from jetson_face.service.control.desk import Desk, same_person_min
from jetson_face.service.control.http import ControlError, ControlRequest, Reply, Route
from jetson_face.service.control.permission import consent_row
from jetson_face.service.control.values import cut_page, page, picture, text_in, when
from jetson_face.service.erasure import erase, forget_sightings
from jetson_face.service.history import read_history

PICTURES_MAX = 24
_ID = r"([0-9a-zA-Z-]{1,64})"


class People:
    """The routes under `/people`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.routes: tuple[Route, ...] = (
            ("GET", "/people", self.list),
            ("POST", "/people", self.enroll),
            ("GET", f"/people/{_ID}", self.show),
            ("PATCH", f"/people/{_ID}", self.rename),
            ("DELETE", f"/people/{_ID}", self.remove),
            ("POST", f"/people/{_ID}/merge", self.merge),
            ("GET", f"/people/{_ID}/portrait", self.portrait),
            ("GET", f"/people/{_ID}/templates/{_ID}/portrait", self.portrait),
            ("DELETE", f"/people/{_ID}/templates/{_ID}", self.remove_template),
        )

    def list(self, request: ControlRequest) -> Reply:
        """Everybody, by name; with `name` in the query the one who is called so."""
        if not self._desk.config.gallery_path.exists():
            return page([], None)
        with self._desk.gallery() as (_, store):
            people = sorted(
                _named(store, request.query.get("name")),
                key=lambda one: (name_key(one.name), one.person.id),
            )
            hidden = not_recognised(store)
        wanted = name_key(request.query.get("search", ""))
        rows = [_plain(info, hidden) for info in people if wanted in name_key(info.name)]
        seen = _last_seen(self._desk.config)
        return cut_page(request, [row | {"last_seen": seen.get(row["id"])} for row in rows], "id")

    def show(self, request: ControlRequest, who: str) -> Reply:
        """One person, with the templates and what is doubtful about them."""
        with self._desk.gallery() as (config, store):
            info = store.show(who)
            notes = _mislabelled(config, store, info)
            hidden, consents = not_recognised(store), consents_of(store)
        more = {
            "templates": _templates(info, notes),
            "consent": consent_row(info, consents, hidden),
            "last_seen": _last_seen(config).get(info.person.id),
        }
        return Reply.of(_plain(info, hidden) | more)

    def enroll(self, request: ControlRequest) -> Reply:
        """Enrol pictures of one person; each that is refused says why."""
        wanted = request.document()
        flags = ("force", "do_not_recognise")
        if unknown := set(wanted) - {"name", "pictures", *flags}:
            raise ControlError(422, f"nobody knows {min(unknown)[:40]}")
        for flag in flags:
            if not isinstance(wanted.get(flag, False), bool):
                raise ControlError(422, f"{flag} is true or false")
        name = valid_name(text_in(wanted, "name"))
        photos = _photos(wanted)
        force, hide = (wanted.get(flag, False) is True for flag in flags)
        with self._desk.gallery(create=True):
            pass
        # The networks first: who waits for them must not hold the gallery.
        with self._desk.photo_parts() as (_, parts), self._desk.gallery() as (config, store):
            enroller = build_enroller(config, parts, store)
            with store.transaction() if hide else nullcontext():
                # Together: nobody is named for the moment between.
                result = enroller.enroll_photos(name, photos, force=force)
                if hide and result.person is not None:
                    withhold(store, result.person.id)
            self._desk.told()
            if hide and result.person is not None:
                forget_sightings(config, store, result.person)
        return Reply.of(_outcome(result), 201 if result.added else 200)

    def rename(self, request: ControlRequest, who: str) -> Reply:
        """Another name; id and templates stay."""
        name = text_in(request.document(), "name")
        with self._desk.gallery() as (_, store):
            person = store.rename(who, name)
            row = _plain(store.show(person.id), not_recognised(store))
        self._desk.told()
        return Reply.of(row)

    def merge(self, request: ControlRequest, who: str) -> Reply:
        """This person is `into`: the templates move there."""
        into = text_in(request.document(), "into")
        with self._desk.gallery() as (_, store):
            row = _plain(store.show(merge(store, who, into).id), not_recognised(store))
        self._desk.told()
        return Reply.of(row)

    def remove(self, request: ControlRequest, who: str) -> Reply:
        """Erase a person for good; the receipt says what went, and whether all of it did."""
        with self._desk.gallery() as (config, store):
            receipt, _ = erase(config, store, who)
        return Reply.of(asdict(receipt) | {"complete": receipt.complete})

    def remove_template(self, request: ControlRequest, who: str, template: str) -> Reply:
        """Take one photo out; a person without any is removed with a receipt instead."""
        with self._desk.gallery() as (_, store):
            info = store.show(who)
            photo = next((t.photo for t in info.templates if t.id == template), None)
            if photo is None:
                raise ControlError(404, f"{info.name} has no such template")
            if len({t.photo for t in info.templates}) == 1:
                raise ControlError(409, f"it is the last photo of {info.name}: remove the person")
            store.remove_photo(info.person, photo, "photo_withdrawn")
            left = _plain(store.show(who), not_recognised(store))
        self._desk.told()
        return Reply.of(left)

    def portrait(self, request: ControlRequest, who: str, template: str | None = None) -> Reply:
        """The kept face of a template, or of the person's best one."""
        with self._desk.gallery() as (_, store):
            info = store.show(who)
            best = max(info.templates, key=lambda one: one.quality, default=None)
            wanted = template or (best.id if best else "")
            row = next((i for i, t in enumerate(info.templates) if t.id == wanted), None)
            if row is None:
                raise ControlError(404, f"{info.name} has no such template")
            image, _ = store.portraits(info.person.id)[row]
        return picture(image)


def _named(store: GalleryStore, name: str | None) -> tuple[PersonInfo, ...]:
    """Everybody, or who has just this name, letter case aside; nobody for what is no name."""
    if name is None:
        return store.people()
    with suppress(NameInvalidError):
        person = store.find(name)
        if person is not None:
            return (store.show(person.id),)
    return ()


def _plain(info: PersonInfo, hidden: frozenset[str]) -> dict[str, Any]:
    return {
        "id": info.person.id,
        "name": info.name,
        "since": when(info.created),
        "template_count": len(info.templates),
        "do_not_recognise": info.person.id in hidden,
    }


def _templates(info: PersonInfo, notes: dict[int, str]) -> list[dict[str, Any]]:
    return [
        {
            "id": template.id,
            "source": template.source,
            "sha256": template.photo,
            "quality": round(template.quality, 3),
            "created": when(template.created),
            "warning": notes.get(row),
        }
        for row, template in enumerate(info.templates)
    ]


def _mislabelled(config: Config, store: GalleryStore, info: PersonInfo) -> dict[int, str]:
    snapshot = store.snapshot()
    index = snapshot.index_of(info.person.id)
    if index is None:
        return {}
    found = mislabelled_templates(snapshot, index, same_person_min(config))
    return {suspect.row: str(suspect) for suspect in found}


def _outcome(result: EnrollmentResult) -> dict[str, Any]:
    return {
        "id": None if result.person is None else result.person.id,
        "name": result.name if result.person is None else result.person.name,
        "time": utc(),
        "added": [str(path) for path in result.added],
        "already": [str(path) for path in result.already],
        "refused": [{"label": str(r.path), "reason": r.reason} for r in result.refused],
        "warnings": result.warnings,
    }


def _photos(document: dict[str, Any]) -> list[PictureBytes]:
    given = document.get("pictures")
    if not isinstance(given, list) or not 1 <= len(given) <= PICTURES_MAX:
        raise ControlError(422, f"pictures is a list of 1 to {PICTURES_MAX}")
    photos = []
    for number, one in enumerate(given, 1):
        try:
            data = base64.b64decode(one["data"], validate=True)
            label = str(one.get("label") or f"picture {number}")
        except (TypeError, KeyError, AttributeError, ValueError, binascii.Error):
            raise ControlError(422, f"picture {number}: `data` is the file in base64") from None
        photos.append(PictureBytes(Path(Path(label).name[:80] or f"picture {number}"), data))
    return photos


def _last_seen(config: Config) -> dict[str, dict[str, Any]]:
    """When and where somebody was seen last, by person (id); empty where no history can be read,
    which the status says."""
    try:
        with closing(read_history(config)) as history:
            found = history.last_seen()
    except JetsonFaceError:
        return {}
    return {person: _sighting(event) for person, event in found.items()}


def _sighting(event: dict[str, Any]) -> dict[str, Any]:
    gone = event["kind"] == "left"
    return {
        "time": event["last_seen"]["time"] if gone else event["time"],
        "source": event["source"],
        "event": event["id"],
        "here": not gone,
    }
