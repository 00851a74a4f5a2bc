"""`jetson-face gallery hygiene`: templates that do harm, and what goes without them."""

from __future__ import annotations

import argparse
from collections.abc import Container, Sequence, Set
from dataclasses import dataclass
from typing import Any

from jetson_face.cli.common import add_config_arguments, say, say_json
from jetson_face.config import Config
from jetson_face.factory.negatives import queued
from jetson_face.factory.parts import build_matcher, open_gallery
from jetson_face.factory.threshold import calibrated, own_threshold
from jetson_face.gallery.hygiene import (
    FaultyTemplate,
    Matched,
    faulty_templates,
    read_matched,
    still_matched,
    without_rows,
)
from jetson_face.gallery.matcher import GallerySnapshot
from jetson_face.gallery.records import TemplateInfo
from jetson_face.gallery.store import GalleryStore
from jetson_face.service.previewing import would_change


def add_parser(actions: Any) -> None:
    """What to do with what was found."""
    parser: argparse.ArgumentParser = actions.add_parser(
        "hygiene", help="find templates that do harm, and show what goes without them"
    )
    end = parser.add_mutually_exclusive_group()
    end.add_argument(
        "--set-aside", action="store_true", help="keep the harmful ones out of matching"
    )
    end.add_argument("--take-back", action="store_true", help="match all templates again")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_config_arguments(parser)


@dataclass(frozen=True, slots=True)
class _Found:
    """A fault with its template and whose it is."""

    name: str
    template: TemplateInfo
    fault: FaultyTemplate

    def __str__(self) -> str:
        about = f" {self.fault.other}" if self.fault.other else ""
        return (
            f"{self.name}: {self.template.source}: {self.fault.fault}{about} "
            f"({self.fault.similarity:.2f})"
        )


def run(args: argparse.Namespace, config: Config) -> int:
    """Raises the errors of gallery and review queue."""
    with open_gallery(config) as gallery:
        if args.take_back:
            with gallery.transaction():
                count = len(gallery.aside())
                gallery.set_aside([])
            say(f"{count} templates taken back: all are matched again")
            return 0
        deciding, least = calibrated(config, gallery), own_threshold(config)
        before = read_matched(gallery)
        faults = faulty_templates(before.snapshot, least)
        after = without_rows(before.snapshot, [one.row for one in faults if one.harmful])
        changed = _changed(deciding, least, before.snapshot, after)
        with gallery.transaction():
            now = still_matched(gallery, before)
            found = _found(gallery, before, faults, now)
            harmful = {one.template.id for one in found if one.fault.harmful}
            if args.set_aside:
                gallery.set_aside(gallery.aside() | harmful)
            aside = gallery.aside()
    meanwhile = _meanwhile(frozenset(before.ids), now, len(faults) - len(found))
    if args.json:
        told = {"would_change": changed, "set_aside": sorted(aside), "meanwhile": meanwhile}
        say_json(_plain(found) | told)
        return 0
    say(*(map(str, found) if found else ["no template does harm"]))
    say(*(f"  would change: {line}" for line in changed))
    if meanwhile is not None:
        say(meanwhile)
    if args.set_aside:
        say(f"{len(harmful)} set aside, {len(aside)} in all; back with --take-back")
    elif harmful:
        say(f"{len(harmful)} do harm: --set-aside keeps them out of matching")
    return 0


def _found(
    gallery: GalleryStore, before: Matched, faults: Sequence[FaultyTemplate], now: Container[str]
) -> list[_Found]:
    """The faults of templates (ids) that are matched now, inside a transaction."""
    out = []
    for fault in faults:
        key = before.ids[fault.row]
        if key in now:
            person = before.snapshot.people[before.snapshot.person_index[fault.row]]
            info = gallery.show(person.id)
            (template,) = (one for one in info.templates if one.id == key)
            out.append(_Found(info.name, template, fault))
    return out


def _meanwhile(before: Set[str], now: Set[str], faulty: int) -> str | None:
    """What others changed. faulty: so many of the templates (ids) that went."""
    gone, came = len(before - now), len(now - before)
    if not gone and not came:
        return None
    return (
        f"the gallery changed meanwhile: {gone} templates went ({faulty} of them faulty), {came} "
        "came: run it again"
    )


def _changed(
    config: Config, least: float, before: GallerySnapshot, after: GallerySnapshot
) -> list[str]:
    one, other = (build_matcher(config, side, least) for side in (before, after))
    return would_change(config, least, one, other, queued(config, before.space))


def _plain(found: Sequence[_Found]) -> dict[str, Any]:
    return {
        "found": [
            {
                "person": one.name,
                "template": one.template.id,
                "photo": one.template.source,
                "fault": one.fault.fault,
                "other": one.fault.other or None,
                "similarity": round(one.fault.similarity, 4),
            }
            for one in found
        ]
    }
