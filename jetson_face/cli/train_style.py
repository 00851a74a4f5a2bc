"""`jetson-face train style`: training faces in the look of a site's own camera."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetson_face.cli.common import say, show_progress
from jetson_face.core.errors import InputBrokenError, UsageError
from jetson_face.training.machine import need_torch

if TYPE_CHECKING:
    from jetson_face.core.types import ImageU8

_FRAMES = 64
_QUALITY = 97
"""Of the JPEG files in the pack: what the style added must stay."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Content, style, where to."""
    group = parser.add_argument_group("train style: neural style transfer as an augmentation")
    group.add_argument(
        "--content", type=Path, metavar="FACES", help="zip of aligned faces with labels.csv"
    )
    group.add_argument(
        "--style", metavar="FRAMES", help="pictures, a film or a stream of the camera"
    )
    group.add_argument(
        "--out", type=Path, metavar="FILE.zip", help="the rendered faces, with labels.csv"
    )
    group.add_argument("--faces", type=int, default=500, metavar="N", help="so many, at random")
    group.add_argument(
        "--vectors",
        type=Path,
        metavar="FILE.npy",
        help="teacher's vectors of the content; those of the chosen faces are kept beside --out",
    )
    group.add_argument("--sheet", type=Path, metavar="FILE.png", help="eight of each, to look at")
    group.add_argument("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> int:
    """Render, pack, say what was kept of who it is.

    Raises:
        UsageError: an option is missing.
        InputMissingError, InputBrokenError: faces or frames are absent or not readable.
        MissingDependencyError: PyTorch is not installed.
    """
    if args.content is None or args.style is None or args.out is None:
        raise UsageError("train style needs --content FACES, --style FRAMES and --out FILE.zip")
    if args.faces < 1:
        raise UsageError(f"--faces must be 1 or more, got {args.faces}")
    need_torch()
    import numpy as np

    from jetson_face.training import data
    from jetson_face.training.campaign.packing import write_pack
    from jetson_face.training.machine import keep_freed_memory
    from jetson_face.training.style import Features, StyleSettings, pieces, restyled, sheet

    keep_freed_memory()
    held, people = data.open_packed(args.content, Path("runs/cache"))
    draw = np.random.default_rng(args.seed)
    chosen = np.sort(draw.choice(len(held), min(args.faces, len(held)), replace=False))
    vectors = None if args.vectors is None else _vectors(args.vectors, len(held))[chosen]
    faces = np.array(held[chosen])
    styles = pieces(_frames(args.style), len(faces), args.seed)
    how, features, made = StyleSettings(), Features(), []
    with show_progress("rendering") as progress:
        for part in restyled(how, features, faces, styles):
            made += list(part)
            progress(len(made), len(faces), "")
    rows = [(f"{n:06}.jpg", people[n], _jpeg(face)) for n, face in zip(chosen, made, strict=True)]
    write_pack(args.out, rows)
    if vectors is not None:
        np.save(args.out.with_suffix(".npy"), vectors)
    if args.sheet is not None:
        sheet(faces[:8], styles[:8], np.stack(made[:8]), args.sheet)
    say(f"wrote {args.out}: {len(rows)} faces; {_kept(features, faces, np.stack(made))}")
    return 0


def _frames(uri: str) -> list[ImageU8]:
    """Up to 64 frames (H, W, 3) BGR; of a film every eighth."""
    from jetson_face.capture.opening import open_source
    from jetson_face.capture.source import EndOfSource

    out: list[ImageU8] = []
    with closing(open_source(uri, "style")) as source:
        every = 1 if source.info.stills else 8
        try:
            for number in range(_FRAMES * every):
                frame = source.read(10.0)
                if number % every == 0:
                    out.append(frame.image)
        except EndOfSource:
            pass
    return out


def _vectors(path: Path, count: int) -> Any:
    import numpy as np

    from jetson_face.training import data

    vectors = np.load(data.find(path), allow_pickle=False)
    if len(vectors) != count:
        raise InputBrokenError(f"{path}: {len(vectors)} vectors for {count} faces")
    return vectors


def _jpeg(face: ImageU8) -> bytes:
    import cv2

    _, coded = cv2.imencode(".jpg", face[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return bytes(coded)


def _kept(features: Any, faces: ImageU8, made: ImageU8) -> str:
    """How much of who it is stayed, on the first hundred."""
    import torch

    from jetson_face.training.net import to_input

    with torch.no_grad():
        before = features(to_input(faces[:100]))[1]
        after = features(to_input(made[:100]))[1]
    cosine = float((before * after).sum(1).mean())
    return f"mean cosine of the embedding to the faces as they were {cosine:.3f}"
