"""`jetson-face tune`: the sampling rate, image size and smallest face that meet a goal here."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetson_face.cli.common import (
    add_config_arguments,
    config_with_source,
    number,
    one_of,
    say,
    say_text,
    show_progress,
)
from jetson_face.config import Config
from jetson_face.core.errors import UsageError
from jetson_face.privacy.encryption import fill_credentials
from jetson_face.util.redact import redact
from jetson_face.util.yamltext import read_yaml

if TYPE_CHECKING:
    from jetson_face.benchmark.clip import Material
    from jetson_face.benchmark.subject import BenchSubject
    from jetson_face.benchmark.tune.search import Choice, TuneGoal, TuneOutcome, TuneTrial

EXIT_NOT_MET = 1
HEADROOM = 1.15
"""Other scenes are busier than the one that was measured, and boards grow warm."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The goal, what to measure on, and where the result goes."""
    parser.add_argument(
        "clip_file", nargs="?", type=Path, metavar="CLIP", help="what to measure on"
    )
    goal = parser.add_argument_group("goal")
    goal.add_argument("--fps", type=number, metavar="N", help="frames decided per second, at least")
    goal.add_argument("--age-ms", type=number, metavar="MS", help="frame age (p95), at most")
    goal.add_argument("--cpu", type=number, metavar="PCT", help="of all cores, at most")
    goal.add_argument(
        "--time-to-name", type=number, metavar="S", help="median, at most (needs a labelled clip)"
    )
    goal.add_argument(
        "--wait",
        type=number,
        default=0.5,
        metavar="S",
        help="until a new face is searched for, at most (0.5); of the settings that meet every "
        "goal the one that takes the least processor time is chosen",
    )
    goal.add_argument("--min-face", type=int, metavar="PX", help="smallest face; not to be raised")
    on = parser.add_argument_group("measured on")
    on.add_argument(
        "--clip", type=Path, metavar="FILE", help="the same as CLIP; default: the configured source"
    )
    on.add_argument(
        "--ground-truth", type=Path, metavar="JSON", help="labels; default: beside the clip"
    )
    on.add_argument("--source", metavar="URI", help="record this camera first")
    on.add_argument("--frames", type=int, default=200, help="at most (default 200)")
    parser.add_argument(
        "--out", type=Path, metavar="YAML", help="write the configuration here; may be the -c file"
    )
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Exit code 1 when nothing meets the goal. Raises UsageError and what measuring raises."""
    from jetson_face.benchmark.tune.search import search, space_of

    args.clip = one_of(args.clip, args.clip_file, "--clip")
    config = config_with_source(args)
    goal = _goal(args)
    material = _material(args, config)
    # A face cannot be searched for before there is a frame of it.
    goal = replace(goal, wait_max_s=max(goal.wait_max_s, 1 / material.fps))
    if goal.decision_fps_min is not None and goal.decision_fps_min > material.fps:
        raise UsageError(
            f"--fps {args.fps:g}: {material.name} gives {material.fps:g} frames/s, no more can be "
            "decided"
        )
    space = space_of(
        material.size,
        material.fps,
        goal,
        min_face_px=args.min_face or config.detector.min_face_px,
        fixed_min_face=args.min_face is not None,
    )
    with _Bench(config, material) as bench:
        outcome = search(goal, space, bench.measure)
    say_text(_table(outcome))
    say(*outcome.why)
    if outcome.best is None:
        return EXIT_NOT_MET
    _write(args, config, outcome.best.choice)
    return 0


def _with_source(config: Config, uri: str | None) -> Config:
    """The configuration with that camera instead of its own; see `run --source`."""
    if uri is None:
        return config
    return config.model_copy(
        update={"sources": (config.sources[0].model_copy(update={"uri": uri}),)}
    )


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
    if made.stills:
        raise UsageError(
            f"{made.name}: each picture of a folder is searched, so there is no sampling rate to "
            "find: name a video or a camera, or sequence:FOLDER for the frames of a video"
        )
    if args.time_to_name is not None and (made.ground_truth is None or not made.ground_truth.enrol):
        raise UsageError("--time-to-name needs a labelled clip: `jetson-face clips make`")
    return made


class _Bench:
    """Measures choices; networks stay loaded while only the sampling rate changes."""

    def __init__(self, config: Config, material: Material) -> None:
        self._config, self._material = config, material
        self._stack = ExitStack()
        self._open: tuple[tuple[int | None, int], BenchSubject] | None = None
        self._progress = self._stack.enter_context(show_progress("measuring"))
        self._networks = self._stack.enter_context(ExitStack())
        self._done = 0

    def __enter__(self) -> _Bench:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def measure(self, choice: Choice) -> TuneTrial:
        """Run the clip and play the times against a camera of its rate, with some headroom."""
        from jetson_face.benchmark.run import as_if_live, run_clip, spread_of
        from jetson_face.benchmark.tune.search import TuneTrial

        self._done += 1
        self._progress(self._done, self._done, choice)
        run = run_clip(self._subject(choice).recognizer(every=choice.every), self._material)
        seen = as_if_live([HEADROOM * ms for ms in run.service_ms], self._material.fps)
        cpu_s = HEADROOM * run.cpu_seconds / len(run.service_ms)
        accuracy = run.accuracy
        return TuneTrial(
            choice,
            decision_fps=seen.decision_fps,
            age_ms=spread_of("age", seen.ages_ms)["age_p95"],
            cpu=cpu_s * seen.decision_fps / len(os.sched_getaffinity(0)),
            faces=run.faces_seen / len(run.service_ms) if accuracy is None else accuracy.found,
            time_to_name_s=None if accuracy is None else accuracy.time_to_name_s,
            named=None if accuracy is None else accuracy.named,
        )

    def _subject(self, choice: Choice) -> BenchSubject:
        from jetson_face.benchmark.run import warm_up
        from jetson_face.benchmark.subject import open_subject, with_settings

        detail = choice.size, choice.min_face_px
        if self._open is not None and self._open[0] == detail:
            return self._open[1]
        matcher = None if self._open is None else self._open[1].matcher
        self._networks.close()
        config = with_settings(self._config, size=choice.size, min_face=choice.min_face_px)
        opening = open_subject(config, self._material.ground_truth, matcher=matcher)
        subject = self._networks.enter_context(opening)
        warm_up(subject.recognizer(every=1), self._material)
        self._open = detail, subject
        return subject


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
    from jetson_face.benchmark.tune.edit import set_values
    from jetson_face.util.documents import parse_document, read_text
    from jetson_face.util.files import write_file

    if args.out is None:
        size = "null" if choice.size is None else choice.size
        say(
            f"to use it: --set sampling.every={choice.every} --set detector.max_side_px={size} "
            f"--set detector.min_face_px={choice.min_face_px}, or give --out FILE"
        )
        return
    text = "" if args.config is None else read_text(args.config)
    edited = set_values(text, _values(args, text, config, choice))
    parse_document(edited, str(args.out), Config)
    # As private as the file that it is made from, which may hold a camera's password.
    mode = 0o644 if args.config is None else args.config.stat().st_mode & 0o666
    write_file(args.out, edited, mode=mode)
    say(f"{args.out}: written; its source is {redact(config.sources[0].uri)}")


def _values(
    args: argparse.Namespace, text: str, config: Config, choice: Choice
) -> dict[tuple[str, ...], Any]:
    """What the written configuration says beyond `text`, by key."""
    keys = [tuple(word.partition("=")[0].strip().split(".")) for word in args.overrides]
    there = "sources" in (read_yaml(text)[1] or {})
    found: dict[tuple[str, ...], Any] = {}
    if args.source is not None or not there or any(key[0] == "sources" for key in keys):
        found["sources",] = [
            {"uri": source.uri, **source.model_dump(mode="json", exclude_defaults=True)}
            for source in config.sources
        ]
    whole = config.model_dump(mode="json")
    found |= {key: _at(whole, key) for key in keys if key[0] != "sources"}
    return found | {
        ("sampling", "every"): choice.every,
        ("detector", "max_side_px"): choice.size,
        ("detector", "min_face_px"): choice.min_face_px,
    }


def _at(document: Any, key: Sequence[str]) -> Any:
    for part in key:
        document = document[int(part) if isinstance(document, list) else part]
    return document
