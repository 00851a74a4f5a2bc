"""`jetson-face tune`: the sampling rate, image size and smallest face that meet a goal here."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from jetson_face.cli.common import (
    above_zero,
    add_config_arguments,
    config_with_source,
    one_of,
    say,
    say_text,
    show_progress,
    whole,
)
from jetson_face.cli.results import beside, check_results
from jetson_face.config import Config
from jetson_face.core.errors import UsageError
from jetson_face.privacy.encryption import fill_credentials
from jetson_face.util.redact import redact

if TYPE_CHECKING:
    from jetson_face.benchmark.clip import Material
    from jetson_face.benchmark.tune.search import Choice, TuneGoal, TuneOutcome

EXIT_NOT_MET = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The goal, what to measure on, and where the result goes."""
    parser.add_argument(
        "clip_file", nargs="?", type=Path, metavar="CLIP", help="what to measure on"
    )
    goal = parser.add_argument_group("goal")
    goal.add_argument(
        "--fps", type=above_zero, metavar="N", help="frames decided per second, at least"
    )
    goal.add_argument("--age-ms", type=above_zero, metavar="MS", help="frame age (p95), at most")
    goal.add_argument("--cpu", type=above_zero, metavar="PCT", help="of all cores, at most")
    goal.add_argument(
        "--time-to-name",
        type=above_zero,
        metavar="S",
        help="median, at most (needs a labelled clip)",
    )
    goal.add_argument(
        "--wait",
        type=above_zero,
        default=0.5,
        metavar="S",
        help="until a new face is searched for, at most (0.5); of the settings that meet every "
        "goal the one that takes the least processor time is chosen",
    )
    goal.add_argument(
        "--min-face",
        type=whole(12, 2000),
        metavar="PX",
        help="smallest face; not to be raised",
    )
    on = parser.add_argument_group("measured on")
    on.add_argument(
        "--clip", type=Path, metavar="FILE", help="the same as CLIP; default: the configured source"
    )
    on.add_argument(
        "--ground-truth", type=Path, metavar="JSON", help="labels; default: beside the clip"
    )
    on.add_argument("--source", metavar="URI", help="record this camera first")
    on.add_argument("--frames", type=whole(1), default=200, help="at most (default 200)")
    parser.add_argument(
        "--out", type=Path, metavar="YAML", help="write the configuration here; may be the -c file"
    )
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Exit code 1 when nothing meets the goal. Raises UsageError and what measuring raises."""
    from jetson_face.benchmark.tune.measure import ClipBench, goal_for
    from jetson_face.benchmark.tune.search import search, space_of

    args.clip = one_of(args.clip, args.clip_file, "--clip")
    config = config_with_source(args)
    _check_results(args, config)
    goal = _goal(args)
    material = _material(args, config)
    goal = goal_for(goal, material)
    space = space_of(
        material.size,
        material.fps,
        goal,
        min_face_px=args.min_face or config.detector.min_face_px,
        fixed_min_face=args.min_face is not None,
    )
    with (
        show_progress("measuring") as progress,
        ClipBench(config, material, progress) as bench,
    ):
        outcome = search(goal, space, bench.measure)
    say_text(_table(outcome))
    say(*outcome.why)
    if outcome.best is None:
        return EXIT_NOT_MET
    _write(args, config, outcome.best.choice)
    return 0


def _check_results(args: argparse.Namespace, config: Config) -> None:
    labels = [args.ground_truth, beside(args.clip, ".json")]
    sources = [args.clip, *(source.uri for source in config.sources)]
    check_results({"--out": args.out}, sources=sources, inputs=labels, config=config)


def _goal(args: argparse.Namespace) -> TuneGoal:
    from jetson_face.benchmark.tune.search import TuneGoal

    if args.fps is args.age_ms is args.cpu is args.time_to_name is None:
        raise UsageError("name a goal: --fps, --age-ms, --cpu or --time-to-name")
    return TuneGoal(
        decision_fps_min=args.fps,
        age_ms_max=args.age_ms,
        cpu_max=None if args.cpu is None else args.cpu / 100,
        time_to_name_max_s=args.time_to_name,
        wait_max_s=args.wait,
    )


def _material(args: argparse.Namespace, config: Config) -> Material:
    from jetson_face.benchmark.clip import ground_truth_beside, read_clip, read_source
    from jetson_face.benchmark.tune.measure import check_material
    from jetson_face.factory.parts import open_options

    if args.clip is not None:
        ground_truth = ground_truth_beside(args.clip, args.ground_truth)
        made = read_clip(args.clip, ground_truth, frames_max=args.frames)
    else:
        wanted = config.sources[0]
        say(f"recording up to {args.frames} frames", err=True)
        made = read_source(
            fill_credentials(wanted.uri),
            wanted.name,
            options=open_options(wanted),
            frames_max=args.frames,
        )
    check_material(made, labelled=args.time_to_name is not None)
    return made


def _table(outcome: TuneOutcome) -> str:
    from jetson_face.output.run_report import table

    def cell(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    so = [
        "chosen" if trial is outcome.best else "; ".join(verdict) or "meets the goal"
        for trial, verdict in zip(outcome.trials, outcome.verdicts, strict=True)
    ]
    rows = [
        (
            str(trial.choice),
            f"{trial.decision_fps:.1f}",
            f"{trial.age_ms:.0f}",
            f"{100 * trial.cpu:.0f}",
            f"{trial.wait_s:.2f}",
            f"{trial.faces:.2f}",
            cell(trial.time_to_name_s, ".2f"),
            cell(trial.named, ".3f"),
            verdict.ljust(max(map(len, so))),
        )
        for trial, verdict in zip(outcome.trials, so, strict=True)
    ]
    head = (
        "tried",
        "decide/s",
        "age p95 ms",
        "CPU %",
        "wait s",
        "faces",
        "name s",
        "named",
        "so".ljust(max(map(len, so))),
    )
    return table(head, rows)


def _write(args: argparse.Namespace, config: Config, choice: Choice) -> None:
    """Write what was found, with the source and all that --set changed, into a copy of the -c file:
    comments kept, whole or not at all."""
    from jetson_face.benchmark.tune.edit import tuned
    from jetson_face.util.documents import read_text
    from jetson_face.util.files import write_file

    if args.out is None:
        size = "null" if choice.size is None else choice.size
        say(
            f"to use it: --set sampling.interval={choice.every} --set detector.max_side_px={size} "
            f"--set detector.min_face_px={choice.min_face_px}, or give --out FILE"
        )
        return
    text = "" if args.config is None else read_text(args.config)
    edited = tuned(
        text,
        config,
        choice,
        name=str(args.out),
        changed=[word.partition("=")[0].strip() for word in args.overrides],
        with_source=args.source is not None,
    )
    # As private as the file that it is made from, which may hold a camera's password.
    mode = 0o644 if args.config is None else args.config.stat().st_mode & 0o666
    write_file(args.out, edited, mode=mode)
    say(f"{args.out}: written; its source is {redact(config.sources[0].uri)}")
