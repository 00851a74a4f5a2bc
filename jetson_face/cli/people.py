"""`jetson-face people list|show|rename|remove`."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jetson_face.cli.common import add_config_arguments, agreed, config_of, counted, say, say_json
from jetson_face.config import Config
from jetson_face.factory.parts import open_gallery
from jetson_face.factory.threshold import calibrated, own_threshold, threshold_in_force
from jetson_face.gallery.permission import consents_of, not_recognised
from jetson_face.gallery.person_notes import Consent
from jetson_face.gallery.records import PersonInfo
from jetson_face.gallery.store import GalleryStore
from jetson_face.privacy.audit import Receipt
from jetson_face.service.erasure import erase, interrupted, unfinished


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with whom."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="everybody, with how many photos")
    show = actions.add_parser("show", help="one person, with the photos")
    rename = actions.add_parser("rename", help="give a person another name")
    remove = actions.add_parser("remove", help="erase a person with all photos and vectors")
    for sub in (show, rename, remove):
        sub.add_argument("who", help="name or id")
    rename.add_argument("name", help="the new name")
    remove.add_argument("--yes", action="store_true", help="do not ask")
    for sub in (listing, show):
        sub.add_argument("--json", action="store_true", help="print JSON")
    add_config_arguments(listing, show, rename, remove)


def run(args: argparse.Namespace) -> int:
    """Raises UsageError for nobody of that name, NameInvalidError, and the gallery's errors."""
    config = config_of(args)
    with open_gallery(config) as gallery:
        if args.action == "list":
            _list(gallery, args.json)
            if not args.json and (snapshot := gallery.snapshot()).people:
                least = own_threshold(config)
                say(str(threshold_in_force(config, calibrated(config, gallery), snapshot, least)))
            _warn_of_interrupted(config)
        elif args.action == "show":
            _show(gallery, gallery.show(args.who), args.json)
        elif args.action == "rename":
            person = gallery.rename(args.who, args.name)
            say(f"{args.who} is now {person.name}")
        else:
            if not (args.yes or agreed(_whom(config, gallery, args.who))):
                return 1
            return _remove(*erase(config, gallery, args.who))
    return 0


def _whom(config: Config, gallery: GalleryStore, who: str) -> str:
    """Who would be erased, in words. Raises UsageError for nobody of that name."""
    erasure = unfinished(config, gallery, who)
    if erasure is not None:
        return f"the rest of {erasure.name}"
    info = gallery.show(who)
    return f"{info.person.name} with {counted(len(info.templates), 'photo')}"


def _remove(receipt: Receipt, path: Path) -> int:
    went = [counted(receipt.templates, "photo")]
    for count, what in (
        (len(receipt.crops), "crops"),
        (receipt.review_items, "review items"),
        (receipt.queued_events + receipt.event_lines, "names in events"),
        (receipt.archive_tracks, "tracks in the archive"),
    ):
        went += [f"{count} {what}"] if count else []
    say(f"{receipt.name} is erased, with {', '.join(went)}; receipt: {path}")
    if receipt.complete:
        return 0
    again = f"then run `jetson-face people remove {receipt.person}` once more"
    if receipt.failed:
        files = ", ".join(receipt.failed)
        say(f"traces are left in {files}: end the program that holds them, {again}", err=True)
    else:
        say(
            f"the running service may still name {receipt.name}: {receipt.service}: restart it, "
            f"{again}",
            err=True,
        )
    return 1


def _warn_of_interrupted(config: Config) -> None:
    for erasure in interrupted(config):
        say(
            f"the erasure of {erasure.name} was not finished: run `jetson-face people remove "
            f"{erasure.person}`",
            err=True,
        )


def _list(gallery: GalleryStore, as_json: bool) -> None:
    people, never, consents = gallery.people(), not_recognised(gallery), consents_of(gallery)
    if as_json:
        say_json([_plain(info, never, consents) for info in people])
        return
    if not people:
        say("nobody is enrolled: jetson-face enroll PATH")
    for info in people:
        notes = [counted(len(info.templates), "photo")]
        notes += ["never recognised"] if info.person.id in never else []
        consent = consents.get(info.person.id)
        if consent is not None and consent.expired(time.time()):
            notes.append(f"the consent held until {consent.until}")
        say(f"{info.person.name}: {', '.join(notes)}")


def _show(gallery: GalleryStore, info: PersonInfo, as_json: bool) -> None:
    never, consents = not_recognised(gallery), consents_of(gallery)
    if as_json:
        say_json(_plain(info, never, consents))
        return
    say(f"{info.person.name}  (id {info.person.id}, since {_day(info.created)})")
    if info.person.id in never:
        say("  never recognised (do-not-recognise list)")
    consent = consents.get(info.person.id)
    if consent is not None:
        until = "" if consent.until is None else f", until {consent.until}"
        say(f"  consent given by {consent.given_by} on {consent.given}{until}")
    for template in info.templates:
        say(f"  {template.source}  quality {template.quality:.2f}, {_day(template.created)}")


def _plain(info: PersonInfo, never: frozenset[str], consents: dict[str, Consent]) -> dict[str, Any]:
    consent = consents.get(info.person.id)
    return {
        "id": info.person.id,
        "name": info.person.name,
        "since": _day(info.created),
        "photos": [
            {"source": t.source, "sha256": t.photo, "quality": round(t.quality, 3)}
            for t in info.templates
        ],
        "consent": None if consent is None else asdict(consent),
        "do_not_recognise": info.person.id in never,
    }


def _day(utc_s: float) -> str:
    return datetime.fromtimestamp(utc_s, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
