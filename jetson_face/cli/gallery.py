"""`jetson-face gallery check|reembed`."""

from __future__ import annotations

import argparse

import numpy as np

from jetson_face.cli.common import add_config_arguments, config_of, show_progress
from jetson_face.core.types import F32, Embeddings, ImageU8
from jetson_face.embedding.align import Portrait
from jetson_face.factory.parts import build_parts, for_photos, open_gallery


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with the gallery."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in (
        ("check", "read everything in the gallery and say what it is bound to"),
        ("reembed", "embed everybody again, after the embedding network was changed"),
    ):
        add_config_arguments(actions.add_parser(name, help=text))


def run(args: argparse.Namespace) -> int:
    """Raises the gallery's errors."""
    config = config_of(args)
    with open_gallery(config) as gallery:
        if args.action == "check":
            people = gallery.people()
            templates = len(gallery.snapshot().vectors)
            print(f"{gallery.path}: {len(people)} people, {templates} photos, {gallery.space}")
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
    print(f"{done} photos embedded again; the gallery is bound to {parts.embedder.space}")
    return 0
