"""`jetson-face people list|show|rename|remove`."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jetson_face.cli.common import add_config_arguments, config_of
from jetson_face.config import Config
from jetson_face.factory.parts import open_gallery
from jetson_face.gallery.records import PersonInfo
from jetson_face.privacy.audit import Receipt
from jetson_face.service.erasure import audit_log, erase, interrupted


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
    for sub in (listing, show):
        sub.add_argument("--json", action="store_true", help="print JSON")
    for sub in (listing, show, rename, remove):
        add_config_arguments(sub)


def run(args: argparse.Namespace) -> int:
    """Raises UsageError for nobody of that name, NameInvalidError, and the gallery's errors."""
    config = config_of(args)
    with open_gallery(config) as gallery:
        if args.action == "list":
            _list(gallery.people(), args.json)
            _warn_of_interrupted(config)
        elif args.action == "show":
            _show(gallery.show(args.who), args.json)
        elif args.action == "rename":
            person = gallery.rename(args.who, args.name)
            audit_log(config).record("renamed", person=person.id, name=person.name)
            print(f"{args.who} is now {person.name}")
        else:
            return _remove(*erase(config, gallery, args.who))
    return 0


def _remove(receipt: Receipt, path: Path) -> int:
    went = [_photos(receipt.templates)]
    for count, what in (
        (len(receipt.crops), "crops"),
        (receipt.review_items, "review items"),
        (receipt.queued_events + receipt.event_lines, "names in events"),
    ):
        went += [f"{count} {what}"] if count else []
    print(f"{receipt.name} is erased, with {', '.join(went)}; receipt: {path}")
    if receipt.complete:
        return 0
    files = ", ".join(receipt.failed)
    print(
        f"traces are left in {files}: end the program that holds them, then run `jetson-face "
        f"people remove {receipt.person}` once more",
        file=sys.stderr,
    )
    return 1


def _warn_of_interrupted(config: Config) -> None:
    for erasure in interrupted(config):
        print(
            f"the erasure of {erasure.name} was not finished: run `jetson-face people remove "
            f"{erasure.person}`",
            file=sys.stderr,
        )


def _list(people: tuple[PersonInfo, ...], as_json: bool) -> None:
    if as_json:
        print(json.dumps([_plain(info) for info in people], ensure_ascii=False, indent=2))
        return
    if not people:
        print("nobody is enrolled: jetson-face enroll PATH")
    for info in people:
        print(f"{info.person.name}: {_photos(len(info.templates))}")


def _show(info: PersonInfo, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_plain(info), ensure_ascii=False, indent=2))
        return
    print(f"{info.person.name}  (id {info.person.id}, since {_day(info.created)})")
    for template in info.templates:
        print(f"  {template.source}  quality {template.quality:.2f}, {_day(template.created)}")


def _plain(info: PersonInfo) -> dict[str, Any]:
    return {
        "id": info.person.id,
        "name": info.person.name,
        "since": _day(info.created),
        "photos": [
            {"source": t.source, "sha256": t.photo, "quality": round(t.quality, 3)}
            for t in info.templates
        ],
    }


def _photos(count: int) -> str:
    return f"{count} photo" if count == 1 else f"{count} photos"


def _day(utc_s: float) -> str:
    return datetime.fromtimestamp(utc_s, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
