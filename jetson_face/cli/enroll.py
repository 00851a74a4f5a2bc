"""`jetson-face enroll PATH` and `jetson-face enroll --name NAME photos…`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from jetson_face.cli.common import add_config_arguments, config_of, say, say_json, show_progress
from jetson_face.core.errors import EnrollmentError, UsageError
from jetson_face.factory.parts import build_enroller, build_parts, for_photos, open_gallery
from jetson_face.gallery.batch import EnrollmentResult, Refusal
from jetson_face.gallery.enroll import photos_in, strays_in


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whom to enrol, from what."""
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="a folder with a folder of photos per person; with --name, photos or a folder of them",
    )
    parser.add_argument("--name", help="all photos are of this one person")
    parser.add_argument(
        "--force",
        action="store_true",
        help="also photos that look like somebody else, or that were erased with a person",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Raises EnrollmentError when no photo could be enrolled, and the gallery's errors."""
    config = config_of(args)
    if args.name is None and len(args.paths) > 1:
        raise UsageError("several paths need --name NAME; a folder of folders is one path")
    photos = [photo for path in args.paths for photo in photos_in(path)] if args.name else []
    strays = [stray for path in args.paths for stray in strays_in(path)] if args.name else []
    if args.name and not photos:
        _say_refused(strays)
        raise EnrollmentError(
            f"{args.paths[0]}: no photo in it: with --name give photos, or a folder of photos of "
            "that one person"
        )
    parts = for_photos(config, build_parts(config))
    with open_gallery(config, parts.embedder.space, create=True) as gallery:
        enroller = build_enroller(config, parts, gallery)
        with show_progress("enrolling") as progress:
            if args.name is None:
                results = enroller.enroll_folder(args.paths[0], force=args.force, progress=progress)
            else:
                results = [
                    enroller.enroll_photos(args.name, photos, force=args.force, progress=progress)
                ]
                results[0].refused.extend(strays)
    _print(results, args.json)
    if not any(result.added or result.already for result in results):
        raise EnrollmentError("nobody was enrolled: see the reasons above")
    return 0


def _print(results: Sequence[EnrollmentResult], as_json: bool) -> None:
    if as_json:
        plain = [
            {
                "name": result.name,
                "added": [str(path) for path in result.added],
                "already": [str(path) for path in result.already],
                "refused": [{"path": str(r.path), "reason": r.reason} for r in result.refused],
                "warnings": result.warnings,
            }
            for result in results
        ]
        say_json(plain)
        return
    for result in results:
        again = f", {len(result.already)} were there already" if result.already else ""
        say(f"{result.name}: {len(result.added)} added{again}")
        _say_refused(result.refused)
        for warning in result.warnings:
            say(f"  look at {warning}", err=True)


def _say_refused(refused: Sequence[Refusal]) -> None:
    for refusal in refused:
        say(f"  refused {refusal.path}: {refusal.reason}", err=True)
