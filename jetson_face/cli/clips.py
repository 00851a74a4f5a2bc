"""`jetson-face clips make`: a labelled clip from a folder of people."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from jetson_face.cli.common import (
    above_zero,
    add_config_arguments,
    config_of,
    say,
    show_progress,
    whole,
)
from jetson_face.cli.results import beside, check_results
from jetson_face.config import Config
from jetson_face.core.errors import UsageError

if TYPE_CHECKING:
    from jetson_face.benchmark.clips.make import Clip, ClipPlan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which people, how many, and what the clip is like."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    make = actions.add_parser(
        "make",
        help="make a clip of moving faces with known ground truth",
        description="Make a clip of moving faces over a made background, its ground truth (box and "
        "name of every face in every frame) and copies of the photos to enrol, which are not in "
        "the clip. The same seed gives the same clip.",
    )
    make.add_argument(
        "--people",
        type=Path,
        metavar="FOLDER",
        help="a folder with a folder of photos per person; without it, two portraits are used",
    )
    make.add_argument("--out", type=Path, required=True, metavar="FILE", help=".mp4 or .avi")
    make.add_argument("--known", type=whole(0), default=3, help="people to enrol (default 3)")
    make.add_argument(
        "--strangers", type=whole(0), default=2, help="people not to enrol (default 2)"
    )
    make.add_argument(
        "--enrol", type=whole(1), default=3, help="photos to enrol of each (default 3)"
    )
    make.add_argument(
        "--faces", type=whole(1), default=3, help="faces in view together (default 3)"
    )
    make.add_argument("--size", default="1280x720", metavar="WxH", help="default 1280x720")
    make.add_argument("--seconds", type=above_zero, default=10.0, help="length (default 10)")
    make.add_argument("--fps", type=above_zero, default=25.0, help="frames per second (default 25)")
    make.add_argument("--seed", type=int, default=1)
    make.add_argument("--difficulty", choices=("easy", "normal", "hard"), default="normal")
    add_config_arguments(make)


def run(args: argparse.Namespace) -> int:
    """Raises UsageError, InputMissingError, OutputError and the detector's errors."""
    from jetson_face.benchmark.clips.make import ground_truth_path, record

    plan, config = plan_of(args), config_of(args)
    made = {"--out": args.out, "its ground truth": beside(args.out, ".json")}
    check_results(made, inputs=[args.people], config_files=[args.config], config=config)
    clip = _clip(args, plan, config)
    with show_progress("rendering") as progress:
        ground_truth = record(
            clip, args.out, progress=lambda done: progress(done, plan.frames, args.out)
        )
    actors = {face.actor: face.name for faces in ground_truth.frames for face in faces}
    strangers = sum(name is None for name in actors.values())
    say(
        f"{args.out}: {len(ground_truth.frames)} frames {args.size}, "
        f"{len(actors) - strangers} appearances of {len(ground_truth.enrol)} people to enrol, "
        f"{strangers} of strangers"
    )
    say(f"{ground_truth_path(args.out)}: the ground truth; photos to enrol: {args.out.stem}_enrol/")
    return 0


def plan_of(args: argparse.Namespace) -> ClipPlan:
    """The plan that the arguments describe. Raises UsageError."""
    from jetson_face.benchmark.clips.make import ClipPlan
    from jetson_face.benchmark.clips.scene import DIFFICULTIES

    return ClipPlan(
        size=size_of(args.size, "--size"),
        frames=round(args.seconds * args.fps),
        fps=args.fps,
        at_once=args.faces,
        seed=args.seed,
        difficulty=DIFFICULTIES[args.difficulty],
    )


def size_of(text: str, option: str) -> tuple[int, int]:
    """(width, height) of `1280x720`. Raises UsageError."""
    width, x, height = text.partition("x")
    if not (x and width.isdecimal() and height.isdecimal()):
        raise UsageError(f"{option} {text}: write it as WIDTHxHEIGHT, as in 1280x720")
    return int(width), int(height)


def _clip(args: argparse.Namespace, plan: ClipPlan, config: Config) -> Clip:
    if args.people is None:
        from jetson_face.benchmark.clips.builtin import builtin_clip

        return builtin_clip(plan)
    from jetson_face.benchmark.clips.people import clip_of_people

    return clip_of_people(
        config,
        args.people,
        plan,
        known=args.known,
        strangers=args.strangers,
        enrol=args.enrol,
    )
