"""`jetson-face explain IMAGE`: what the embedding network looks at."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jetson_face.cli.common import add_config_arguments, config_of, say
from jetson_face.cli.results import check_results
from jetson_face.core.errors import InputBrokenError, OutputError, UsageError
from jetson_face.util.images import read_picture, write_picture

if TYPE_CHECKING:
    from jetson_face.config import Config
    from jetson_face.core.types import ImageU8
    from jetson_face.factory.parts import Parts


_WRITTEN = ("occlusion.png", "filters.png", "activations.png")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whose face, compared with which, and where the pictures go."""
    parser.add_argument("image", type=Path, metavar="IMAGE")
    parser.add_argument(
        "--against", type=Path, metavar="IMAGE", help="the other face of the match; default: itself"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("explain"), metavar="DIR", help="folder of the PNG files"
    )
    parser.add_argument(
        "--steps", type=int, default=14, metavar="N", help="places along a side that are hidden"
    )
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Raises InputMissingError, InputBrokenError without a face, ModelError, OutputError."""
    from jetson_face.evaluation import explain
    from jetson_face.factory.parts import build_parts

    if not 2 <= args.steps <= 64:
        raise UsageError(f"--steps is 2 to 64, got {args.steps}")
    config = config_of(args)
    written = {f"--out: {name}": args.out / name for name in _WRITTEN}
    given = [args.image, args.against]
    check_results(written, sources=given, config_files=[args.config], config=config)
    pictures = [(path, read_picture(path)) for path in (args.image, args.against) if path]
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{args.out}: cannot be made: {error.strerror}") from error
    with closing(build_parts(config)) as parts:
        crops = [_crop(parts, path, image) for path, image in pictures]
        embedder = parts.embedder
        reference = embedder.embed(crops[-1][None]).vectors[0].copy()
        cosine, falls = explain.occlusion_map(
            crops[0], lambda faces: embedder.embed(faces).vectors, reference, steps=args.steps
        )
    whom = "itself" if args.against is None else args.against.name
    title = f"{embedder.space.model}: cosine to {whom} {cosine:.3f}"
    explain.plot_occlusion(args.out / "occlusion.png", crops[0], falls, title)
    say(f"{title}; the match depends most on what is red in {args.out / 'occlusion.png'}")
    _inside(args, config, crops[0])
    return 0


def _crop(parts: Parts, path: Path, image: ImageU8) -> ImageU8:
    from jetson_face.evaluation.extract import pick_subject

    found = parts.detector.detect(image)
    if not len(found):
        raise InputBrokenError(f"{path}: no face found")
    at = pick_subject(found, (image.shape[0], image.shape[1]))
    return np.asarray(parts.aligner.crop(image, found.landmarks[at : at + 1])[0], np.uint8)


def _inside(args: argparse.Namespace, config: Config, crop: ImageU8) -> None:
    """Filters and maps, where the network can be looked into."""
    from jetson_face.embedding.onnx import preprocess
    from jetson_face.evaluation import explain
    from jetson_face.factory.files import network_file
    from jetson_face.inference.onnx_layers import LayerView
    from jetson_face.models.cards import load_card

    card = load_card(config.embedder.model, config.model_places)
    path = network_file(config, card)
    if path.suffix != ".onnx" or card.input is None:
        say(f"{card.name} is not an ONNX network: its filters and layers cannot be shown")
        return
    with closing(LayerView(path)) as view:
        write_picture(args.out / "filters.png", explain.filter_sheet(view.filters))
        maps = view.maps({card.input.name: preprocess(crop[None], card.input)})
    explain.plot_activations(args.out / "activations.png", explain.strongest(maps))
    say(f"wrote filters.png and activations.png into {args.out}")
