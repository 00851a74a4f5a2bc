"""`jetson-face eval bakeoff`: all methods on identical faces."""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetson_face import __version__
from jetson_face.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    from jetson_face.evaluate.bakeoff import Faces, Row

_log = logging.getLogger(__name__)
_NEWCOMER = 5


def add_parser(kinds: Any) -> None:
    """Which methods, on which faces, and where the results go."""
    parser = kinds.add_parser("bakeoff", help="all methods on the same faces, one row each")
    parser.add_argument("--configs", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--pairs", type=Path, required=True, metavar="FILE")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="of the pairs")
    parser.add_argument(
        "--people", type=Path, required=True, metavar="DIR", help="folders of people's videos"
    )
    parser.add_argument("--limit-pairs", type=int, default=400, metavar="N")
    parser.add_argument("--limit-people", type=int, default=60, metavar="N")
    parser.add_argument("--limit-sensitivity", type=int, default=60, metavar="N", help="pairs")
    parser.add_argument("--resamples", type=int, default=300, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("--plots", type=Path, metavar="DIR")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one key in every configuration (may be repeated)",
    )


def run(args: argparse.Namespace) -> int:
    """Results are written after every row, so that an interrupted run leaves those it has.

    Raises ConfigError, the errors of lists and pictures, OutputError.
    """
    from jetson_face.config import load_config
    from jetson_face.evaluate.bakeoff import measure_row

    if min(args.limit_pairs, args.limit_people, args.limit_sensitivity) < 10:
        raise UsageError("the limits are 10 or more")
    configs = [(path, load_config(path, args.overrides)) for path in args.configs]
    faces = _faces(args)
    rows: list[Row] = []
    for path, config in configs:
        _log.info("%s: measuring", path.stem)
        row = measure_row(
            path.stem, path.name, config, faces, seed=args.seed, resamples=args.resamples
        )
        rows.append(row)
        print(_line(row))
        _leave(args, rows, faces)
    return 0


def _faces(args: argparse.Namespace) -> Faces:
    from jetson_face.evaluate.bakeoff import Faces
    from jetson_face.evaluate.pairs import find_pictures, read_pairs
    from jetson_face.evaluate.people import by_hash, divide, read_people
    from jetson_face.evaluate.sensitivity import sample_pairs
    from jetson_face.pictures import read_picture

    pairs = sample_pairs(read_pairs(args.pairs), args.limit_pairs, args.seed)
    everybody = read_people(args.people)
    chosen = by_hash(list(everybody), args.seed)
    division = divide({name: everybody[name] for name in chosen[: args.limit_people]})
    # Somebody whom the division does not use, where there is one.
    newcomer = everybody[chosen[min(args.limit_people, len(chosen) - 1)]]
    return Faces(
        pairs=pairs,
        pictures=find_pictures(args.images, pairs.pictures),
        division=division,
        newcomer=[shot.path for shot in newcomer[:_NEWCOMER]],
        moving=read_picture(newcomer[0].path),
        limit=args.limit_sensitivity,
    )


def _line(row: Row) -> str:
    if row.verification is None or row.trial is None:
        return f"{row.name}: not measured: {row.refused}"
    figures = row.trial.figures(row.similarity_min)
    fps = ", ".join(f"{fps:.1f}" for _, _, fps in row.speeds)
    return (
        f"{row.name}: verification {100 * row.verification.cosine.folds.accuracy:.1f} %, "
        f"rank-1 {100 * figures['rank1']:.1f} %, frames per second {fps}"
    )


def _leave(args: argparse.Namespace, rows: list[Row], faces: Faces) -> None:
    from jetson_face.evaluate import bakeoff_report as shown
    from jetson_face.evaluate.report import write_json, write_text

    facts = {
        "pairs": f"{len(faces.pairs.pairs)} of {args.pairs.name} in {args.pairs.parent.name}",
        "people": f"{args.people.name}: {faces.division.facts()}",
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "jetson_face": __version__,
        "seed": args.seed,
    }
    if args.json is not None:
        write_json(args.json, shown.as_json(rows, facts))
    images = ""
    if args.plots is not None:
        try:
            shown.plots(rows, args.plots)
        except MissingDependencyError as error:
            _log.warning("%s", error)
        else:
            images = args.plots.name
    if args.markdown is not None:
        if args.plots is not None and args.plots.parent != args.markdown.parent:
            images = str(args.plots)
        command = "jetson-face " + " ".join(_short(word) for word in sys.argv[1:])
        write_text(args.markdown, shown.markdown(rows, facts, command, images))


def _short(word: str) -> str:
    """An argument as the page shows it: absolute paths by their last two parts."""
    return "/".join(Path(word).parts[-2:]) if word.startswith("/") else word
