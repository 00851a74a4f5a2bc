"""`jetson-face gallery check|hygiene|reembed|accept-restored`."""

from __future__ import annotations

import argparse

import numpy as np

from jetson_face.cli import hygiene
from jetson_face.cli.common import add_config_arguments, config_of, say, show_progress
from jetson_face.config import Config
from jetson_face.core.errors import GalleryCorruptError, GalleryRestoredError
from jetson_face.core.types import F32, Embeddings, ImageU8
from jetson_face.embedding.align import Portrait
from jetson_face.factory.parts import build_parts, for_photos, open_gallery
from jetson_face.gallery.portraits import check_portraits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with the gallery."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in (
        ("check", "read everything in the gallery and say what it is bound to"),
        ("reembed", "embed everybody again, after the embedding network was changed"),
        ("accept-restored", "take a gallery that was put back from a backup, or moved here"),
    ):
        add_config_arguments(actions.add_parser(name, help=text))
    hygiene.add_parser(actions)


def run(args: argparse.Namespace) -> int:
    """Raises the gallery's errors."""
    config = config_of(args)
    if args.action == "hygiene":
        return hygiene.run(args, config)
    if args.action == "accept-restored":
        _accept(config)
        return 0
    with open_gallery(config) as gallery:
        if args.action == "check":
            people = gallery.people()
            templates = gallery.snapshot().template_count
            with show_progress("reading") as progress:
                check_portraits(gallery, people, progress)
            say(f"{gallery.path}: {len(people)} people, {templates} photos, {gallery.space}")
            return 0
        parts = for_photos(config, build_parts(config))

        def embed(portraits: ImageU8, landmarks: F32) -> Embeddings:
            crops = [
                Portrait(image, points).crop(parts.aligner)
                for image, points in zip(portraits, landmarks, strict=True)
            ]
            return parts.embedder.embed(np.stack(crops))

        with show_progress("embedding") as progress:
            done = gallery.reembed(
                parts.embedder.space, embed, progress=lambda n, total: progress(n, total, "")
            )
    say(f"{done} photos embedded again; the gallery is bound to {parts.embedder.space}")
    return 0


def _accept(config: Config) -> None:
    """Raises what is wrong with the gallery beside its being another one."""
    try:
        with open_gallery(config) as gallery:
            say(f"{gallery.path}: it is the gallery that was last used: nothing to accept")
            return
    except (GalleryRestoredError, GalleryCorruptError) as error:
        say(f"was refused: {error}", err=True)
    with open_gallery(config, restored=True) as gallery:
        done = gallery.accept()
    say(f"{gallery.path}: taken as it is: {done.people} people, {done.templates} photos")
    if done.again or done.photos:
        photos = f", and {done.photos} photos" if done.photos else ""
        say(f"erased again: {len(done.again)} people who had been erased{photos}")
