"""`jetson-face identify IMAGE|FOLDER`."""

from __future__ import annotations

import argparse
from pathlib import Path

from jetson_face.capture.folder import pictures_of, unread_in
from jetson_face.cli.common import add_config_arguments, config_of, counted, say, say_json
from jetson_face.cli.results import check_results
from jetson_face.core.errors import InputBrokenError, InputMissingError, UsageError
from jetson_face.core.types import Sighting
from jetson_face.factory.parts import (
    build_decider,
    build_matcher,
    build_parts,
    for_photos,
    open_gallery,
)
from jetson_face.factory.threshold import calibrated
from jetson_face.gallery.matcher import GallerySnapshot
from jetson_face.recognition.still import identify
from jetson_face.util.images import check_picture, read_picture, write_picture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which pictures, and what to leave behind."""
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="or a folder of them")
    parser.add_argument("--draw", type=Path, metavar="FILE", help="write the picture with names")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Raises InputMissingError, InputBrokenError, and the gallery's errors."""
    config = config_of(args)
    for path in args.images:
        if not path.is_dir():
            check_picture(path)  # before the networks are loaded
    drawn = {"--draw": args.draw}
    check_results(drawn, sources=args.images, config_files=[args.config], config=config)
    pictures = [path for given in args.images for path in pictures_of(given)]
    if args.draw is not None and len(pictures) > 1:
        raise UsageError("--draw takes one picture at a time")
    for path, why in [stray for given in args.images for stray in unread_in(given)]:
        say(f"jetson-face: skipped: {path}: {why}", err=True)
    parts = for_photos(config, build_parts(config))
    snapshot = GallerySnapshot.empty(parts.embedder.space)
    if config.gallery_path.exists():
        with open_gallery(config, parts.embedder.space) as gallery:
            config = calibrated(config, gallery)
            snapshot = gallery.snapshot()
    if not snapshot.people:
        say(f"gallery {config.gallery_path}: nobody is enrolled", err=True)
    matcher = build_matcher(config, snapshot, parts.embedder.similarity_min)
    decider = build_decider(config, parts.embedder, single=True)
    found = []
    for path in pictures:
        try:
            image = read_picture(path)  # one at a time: all would not fit into memory
        except (InputBrokenError, InputMissingError) as error:
            if path in args.images:
                raise
            say(f"jetson-face: skipped: {error}", err=True)
            continue
        sightings = identify(image, parts, matcher, decider)
        found.append((path, sightings))
        if args.draw is not None:
            from jetson_face.output.overlay import draw

            write_picture(args.draw, draw(image, sightings))
    if args.json:
        plain = [{"image": str(p), "faces": [_plain(s) for s in faces]} for p, faces in found]
        say_json(plain)
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
    say(f"{path}: {counted(len(faces), 'face')}")
    for face in faces:
        who = face.person.name if face.person else face.state
        near = "" if face.similarity is None else f"  similarity {face.similarity:.3f}"
        say(f"  {who}{near}  box {' '.join(f'{edge:.0f}' for edge in face.box)}")
