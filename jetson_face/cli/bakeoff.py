"""`jetson-face eval bakeoff`: all methods on identical faces."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from jetson_face.cli.common import add_set, command_line, filled, notes_of, say, show_line, whole
from jetson_face.core.errors import UsageError


def add_parser(kinds: Any) -> None:
    """Which methods, on which faces, and where the results go."""
    parser = kinds.add_parser("bakeoff", help="all methods on the same faces, one row each")
    parser.add_argument(
        "--configs", type=Path, nargs="+", metavar="FILE", help="methods; default: all fourteen"
    )
    parser.add_argument(
        "--models",
        type=Path,
        metavar="DIR",
        help="folder of model cards made by `jetson-face train --export`, used where they fit",
    )
    parser.add_argument("--pairs", type=Path, required=True, metavar="FILE")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="of the pairs")
    parser.add_argument(
        "--people", type=Path, required=True, metavar="DIR", help="folders of people's videos"
    )
    parser.add_argument("--limit-pairs", type=int, default=600, metavar="N")
    parser.add_argument("--limit-people", type=int, default=60, metavar="N")
    parser.add_argument("--limit-sensitivity", type=int, default=60, metavar="N", help="pairs")
    parser.add_argument("--resamples", type=whole(0), default=300, metavar="N")
    parser.add_argument(
        "--rounds", type=int, default=3, metavar="N", help="of timing all methods in turns; 0: none"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument(
        "--work",
        type=Path,
        metavar="DIR",
        help="keep found faces and finished rows there; run again, only what changed is measured",
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("--plots", type=Path, metavar="DIR")
    parser.add_argument(
        "--notes", type=Path, metavar="FILE", help="text to put before the page's tables"
    )
    add_set(parser, "override one key in every configuration")


def run(args: argparse.Namespace) -> int:
    """Results are written after every row, so that an interrupted run leaves those it has.

    Raises ConfigError, the errors of lists and pictures, OutputError.
    """
    from jetson_face.evaluation.bakeoff import run as bakeoff
    from jetson_face.evaluation.bakeoff.work import Work

    if min(args.limit_pairs, args.limit_people, args.limit_sensitivity) < 10:
        raise UsageError("the limits are 10 or more")
    if args.rounds < 0:
        raise UsageError(f"--rounds must be 0 or more, got {args.rounds}")
    configs = bakeoff.methods(args.configs, args.overrides, args.models)
    asked = filled(bakeoff.BakeoffSettings, args)
    command = command_line(sys.argv[1:])
    results = bakeoff.Results(command, args.json, args.markdown, args.plots, notes_of(args.notes))
    with closing(Work(args.work)) as work, show_line() as tell:
        rows = bakeoff.measure(configs, asked, work, results, tell)
    for row in rows:
        say(_line(row))
    return 0


def _line(row: dict[str, Any]) -> str:
    if row["refused"] is not None:
        return f"{row['name']}: not measured: {row['refused']}"
    right = row["verification"]["accuracy"]
    fps = ", ".join(f"{cell['fps']:.1f}" for cell in row.get("speed", []))
    return (
        f"{row['name']}: verification {100 * right:.1f} %, "
        f"rank-1 {100 * row['identification']['rank1']:.1f} %"
        + (f", frames per second {fps}" if fps else "")
    )
