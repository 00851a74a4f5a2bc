"""`jetson-face gallery hygiene`: templates that do harm, and what goes without them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jetson_face.cli.common import add_config_arguments, say, say_json
from jetson_face.config import Config
from jetson_face.factory.negatives import queued
from jetson_face.factory.parts import build_matcher, open_gallery
from jetson_face.factory.threshold import calibrated, own_threshold
from jetson_face.gallery.hygiene import FaultyTemplate, faulty_templates, without_rows
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
            count = len(gallery.aside())
            gallery.set_aside([])
            say(f"{count} templates taken back: all are matched again")
            return 0
        deciding, least = calibrated(config, gallery), own_threshold(config)
        snapshot = gallery.snapshot()
        found = _found(gallery, snapshot, faulty_templates(snapshot, least))
        harmful = [one for one in found if one.fault.harmful]
        after = without_rows(snapshot, [one.fault.row for one in harmful])
        changed = _changed(deciding, least, snapshot, after)
        if args.set_aside:
            gallery.set_aside(gallery.aside() | {one.template.id for one in harmful})
        aside = gallery.aside()
    if args.json:
        say_json({**_plain(found), "would_change": changed, "set_aside": sorted(aside)})
        return 0
    say(*(map(str, found) if found else ["no template does harm"]))
    say(*(f"  would change: {line}" for line in changed))
    if args.set_aside:
        say(f"{len(harmful)} set aside, {len(aside)} in all; back with --take-back")
    elif harmful:
        say(f"{len(harmful)} do harm: --set-aside keeps them out of matching")
    return 0


def _found(
    gallery: GalleryStore, snapshot: GallerySnapshot, faults: Sequence[FaultyTemplate]
) -> list[_Found]:
    aside = gallery.aside()
    first = np.searchsorted(snapshot.person_index, np.arange(len(snapshot.people)))
    out = []
    for fault in faults:
        index = int(snapshot.person_index[fault.row])
        info = gallery.show(snapshot.people[index].id)
        own = [template for template in info.templates if template.id not in aside]
        out.append(_Found(info.name, own[fault.row - int(first[index])], fault))
    return out


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
