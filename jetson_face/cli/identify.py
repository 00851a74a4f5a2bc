"""`jetson-face identify IMAGE`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from jetson_face.cli.common import add_config_arguments, config_of
from jetson_face.core.types import Sighting
from jetson_face.factory.parts import (
    build_decider,
    build_matcher,
    build_parts,
    for_photos,
    open_gallery,
)
from jetson_face.factory.threshold import calibrated
from jetson_face.recognition.still import identify
from jetson_face.util.images import read_picture, write_picture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which pictures, and what to leave behind."""
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument("--draw", type=Path, metavar="FILE", help="write the picture with names")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Raises InputMissingError, InputBrokenError, and the gallery's errors."""
    config = config_of(args)
    if args.draw is not None and len(args.images) > 1:
        from jetson_face.core.errors import UsageError

        raise UsageError("--draw takes one picture at a time")
    pictures = [(path, read_picture(path)) for path in args.images]
    parts = for_photos(config, build_parts(config))
    with open_gallery(config, parts.embedder.space, create=True) as gallery:
        config = calibrated(config, gallery)
        least = parts.embedder.similarity_min
        matcher = build_matcher(config, gallery.snapshot(), least)
    decider = build_decider(config, parts.embedder, single=True)
    found = []
    for path, image in pictures:
        sightings = identify(image, parts, matcher, decider)
        found.append((path, sightings))
        if args.draw is not None:
            from jetson_face.output.overlay import draw

            write_picture(args.draw, draw(image, sightings))
    if args.json:
        plain = [{"image": str(p), "faces": [_plain(s) for s in faces]} for p, faces in found]
        print(json.dumps(plain, ensure_ascii=False, indent=2))
    else:
        for path, faces in found:
            _print(path, faces)
    return 0


def _plain(sighting: Sighting) -> dict[str, object]:
    return {
        "state": sighting.state,
        "name": None if sighting.person is None else sighting.person.name,
        "similarity": None if sighting.similarity is None else round(sighting.similarity, 4),
        "box": [round(edge, 1) for edge in sighting.box],
    }


def _print(path: Path, faces: tuple[Sighting, ...]) -> None:
    print(f"{path}: {len(faces)} face{'' if len(faces) == 1 else 's'}")
    for face in faces:
        who = face.person.name if face.person else face.state
        near = "" if face.similarity is None else f"  similarity {face.similarity:.3f}"
        print(f"  {who}{near}  box {' '.join(f'{edge:.0f}' for edge in face.box)}")
