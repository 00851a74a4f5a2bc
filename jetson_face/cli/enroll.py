"""`jetson-face enroll PATH` and `jetson-face enroll --name NAME photos…`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from jetson_face.cli.common import add_config_arguments, config_of, show_progress
from jetson_face.core.errors import EnrollmentError, UsageError
from jetson_face.factory.parts import build_enroller, build_parts, for_photos, open_gallery
from jetson_face.gallery.enroll import EnrollmentResult
from jetson_face.service.erasure import audit_log


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
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Raises EnrollmentError when no photo could be enrolled, and the gallery's errors."""
    config = config_of(args)
    if args.name is None and len(args.paths) > 1:
        raise UsageError("several paths need --name NAME; a folder of folders is one path")
    parts = for_photos(config, build_parts(config))
    with open_gallery(config, parts.embedder.space, create=True) as gallery:
        enroller = build_enroller(config, parts, gallery)
        with show_progress("enrolling") as progress:
            if args.name is None:
                results = enroller.enroll_folder(args.paths[0], progress=progress)
            else:
                results = [
                    enroller.enroll_photos(args.name, _photos(args.paths), progress=progress)
                ]
    for result in results:
        if result.added and result.person is not None:
            audit_log(config).record(
                "enrolled",
                person=result.person.id,
                name=result.person.name,
                details={"photos": len(result.added)},
            )
    _print(results, args.json)
    if not any(result.added or result.already for result in results):
        raise EnrollmentError("nobody was enrolled: see the reasons above")
    return 0


def _photos(paths: Sequence[Path]) -> list[Path]:
    from jetson_face.gallery.enroll import photos_in

    return [photo for path in paths for photo in (photos_in(path) if path.is_dir() else [path])]


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
        print(json.dumps(plain, ensure_ascii=False, indent=2))
        return
    for result in results:
        again = f", {len(result.already)} were there already" if result.already else ""
        print(f"{result.name}: {len(result.added)} added{again}")
        for refusal in result.refused:
            print(f"  refused {refusal.path}: {refusal.reason}", file=sys.stderr)
        for warning in result.warnings:
            print(f"  look at {warning}", file=sys.stderr)
