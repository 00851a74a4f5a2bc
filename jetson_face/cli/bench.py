"""`jetson-face bench`: how fast, and how right, on this machine; `bench compare A.json B.json`."""

from __future__ import annotations

import argparse
import logging
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from jetson_face.cli.common import (
    add_config_arguments,
    number,
    one_of,
    say,
    say_text,
    show_progress,
    whole,
)
from jetson_face.cli.results import beside, check_results
from jetson_face.config import Config, load_config
from jetson_face.core.errors import UsageError

if TYPE_CHECKING:
    from jetson_face.benchmark.clip import Material
    from jetson_face.benchmark.result import Result
    from jetson_face.benchmark.sweep import Pass

EXIT_SLOWER = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to measure on what, and where to write it."""
    parser.add_argument(
        "words",
        nargs="*",
        metavar="CLIP | compare A.json B.json",
        help="the clip to measure on, or two results to compare instead of measuring",
    )
    parser.add_argument(
        "--fail-on-slower",
        type=number,
        metavar="PCT",
        help="with compare: exit code 1 when a decision rate fell by more, beyond the noise",
    )
    _add_clip_arguments(parser.add_argument_group("measured on"))
    _add_sweep_arguments(parser.add_argument_group("what is varied"))
    out = parser.add_argument_group("results")
    out.add_argument("--json", type=Path, metavar="FILE", help="write the result")
    out.add_argument("--csv", type=Path, metavar="FILE", help="write the medians and spreads")
    out.add_argument("--plots", type=Path, metavar="DIR", help="write plots (PNG)")
    add_config_arguments(parser)


def _add_clip_arguments(on: argparse._ArgumentGroup) -> None:
    on.add_argument(
        "--clip",
        type=Path,
        metavar="FILE",
        help="video, or a folder of pictures; default: a made clip",
    )
    on.add_argument(
        "--ground-truth", type=Path, metavar="JSON", help="its labels; default: beside it, if there"
    )
    on.add_argument(
        "--people", type=Path, metavar="FOLDER", help="make the clip from these people's photos"
    )
    on.add_argument("--faces", default="1", help="faces in view in made clips, as in 1,4,8")
    on.add_argument("--frame-size", default="640x480", metavar="WxH,WxH", help="of made clips")
    on.add_argument("--frames", type=whole(1), help="most frames (made clips: 200)")


def _add_sweep_arguments(varied: argparse._ArgumentGroup) -> None:
    varied.add_argument("--sizes", default="", help="longest sides to search, as in 320,640,1280")
    varied.add_argument("--sampling", default="", help="sampling rates, as in 1,2,5,10")
    varied.add_argument(
        "--methods", default="", metavar="YAML,YAML", help="configurations to compare"
    )
    varied.add_argument("--repeats", type=whole(1), default=3, help="rounds (default 3)")
    varied.add_argument(
        "--mode",
        choices=("memory", "file", "camera"),
        default="memory",
        help="memory: the recogniser alone, frames decoded before; file: the whole loop with "
        "decoding, nothing dropped; camera: the whole loop at the clip's own rate, newest frame "
        "wins",
    )


def run(args: argparse.Namespace) -> int:
    """Raises UsageError, ConfigError, InputMissingError, InputBrokenError, OutputError."""
    if args.words[:1] == ["compare"]:
        return _compare(args)
    if len(args.words) > 1:
        raise UsageError(f"{' '.join(args.words)}: write one clip, or `compare OLD.json NEW.json`")
    args.clip = one_of(args.clip, Path(args.words[0]) if args.words else None, "--clip")
    _check_results(args)
    result = _measure(args)
    _write(args, result)
    return 0


def _check_results(args: argparse.Namespace) -> None:
    labels = [args.ground_truth, beside(args.clip, ".json")]
    files = [args.config, *(Path(word) for word in args.methods.split(",") if word)]
    config = next(iter(_methods(args).values()))
    check_results(
        {"--json": args.json, "--csv": args.csv},
        sources=[None if args.clip is None else str(args.clip)],  # sequence:FOLDER, too
        inputs=[args.people, *labels],
        config_files=files,
        config=config,
        plots=args.plots,
    )


def _compare(args: argparse.Namespace) -> int:
    from jetson_face.benchmark.compare import compare, describe
    from jetson_face.benchmark.result import read_json

    if len(args.words) != 3:
        raise UsageError("write `jetson-face bench compare OLD.json NEW.json`")
    found = compare(read_json(Path(args.words[1])), read_json(Path(args.words[2])))
    say_text(describe(found))
    if args.fail_on_slower is None:
        return 0
    return EXIT_SLOWER if found.slower(args.fail_on_slower) else 0


def _measure(args: argparse.Namespace) -> Result:
    from jetson_face.benchmark.result import Result
    from jetson_face.benchmark.subject import Subjects
    from jetson_face.benchmark.sweep import Grid, sweep
    from jetson_face.factory.choice import as_chosen
    from jetson_face.util.machine import machine_facts

    configs = _methods(args)
    first = next(iter(configs.values()))
    facts = machine_facts()
    materials = _materials(args, first)
    grid = Grid(
        methods=tuple(configs),
        materials=materials,
        sizes=_numbers(args.sizes, "--sizes") or (None,),
        every=_sampling_rates(args, configs, materials),
        repeats=args.repeats,
    )
    subjects = Subjects(configs)
    with show_progress("measuring") as progress:
        points = sweep(grid, subjects.open, progress=progress, one_pass=_pass(args.mode))
    return Result(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine=facts,
        configs={name: as_chosen(each).model_dump(mode="json") for name, each in configs.items()},
        repeats=args.repeats,
        notes=(f"mode {args.mode}", *grid.notes()),
        points=points,
    )


def _sampling_rates(
    args: argparse.Namespace, configs: dict[str, Config], materials: tuple[Material, ...]
) -> dict[str, tuple[int, ...]]:
    wanted = _numbers(args.sampling, "--sampling")
    if any(material.stills for material in materials):
        if wanted:
            raise UsageError(
                "--sampling: each picture of a folder is searched; sequence:FOLDER is one whose "
                "pictures are the frames of a video"
            )
        return dict.fromkeys(configs, (1,))
    return {name: wanted or (config.sampling.interval,) for name, config in configs.items()}


def _pass(mode: str) -> Pass:
    from jetson_face.benchmark.run import run_clip

    if mode == "memory":
        return run_clip
    from jetson_face.benchmark.live_loop import run_loop

    logging.getLogger("jetson_face.live").setLevel(logging.WARNING)  # a line for each pass
    return lambda recognizer, material: run_loop(recognizer, material, live=mode == "camera")


def _methods(args: argparse.Namespace) -> dict[str, Config]:
    """The configurations by the name of their file. Raises UsageError, ConfigError."""
    paths = [Path(word) for word in args.methods.split(",") if word]
    if paths and args.config is not None:
        raise UsageError("give either -c or --methods")
    configs = {path.stem: load_config(path, args.overrides) for path in paths}
    if len(configs) < len(paths):
        raise UsageError("--methods: two of the files have the same name: rename one")
    if configs:
        return configs
    name = "default" if args.config is None else args.config.stem
    return {name: load_config(args.config, args.overrides)}


def _numbers(text: str, option: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise UsageError(f"{option} {text}: write whole numbers with commas, as in 1,2,5")
    return tuple(dict.fromkeys(int(word) for word in words))


def _materials(args: argparse.Namespace, config: Config) -> tuple[Material, ...]:
    from jetson_face.benchmark.clip import ground_truth_beside, read_clip

    if args.clip is not None:
        ground_truth = ground_truth_beside(args.clip, args.ground_truth)
        return (read_clip(args.clip, ground_truth, frames_max=args.frames),)
    if args.ground_truth is not None:
        raise UsageError("--ground-truth needs the --clip that it labels")
    from jetson_face.benchmark.clips.make import ClipPlan
    from jetson_face.benchmark.clips.people import made_material
    from jetson_face.cli.clips import size_of

    sizes = [size_of(shape, "--frame-size") for shape in args.frame_size.split(",")]
    frames = args.frames or 200
    return tuple(
        made_material(config, args.people, ClipPlan(size=size, frames=frames, at_once=faces))
        for faces in _numbers(args.faces, "--faces")
        for size in dict.fromkeys(sizes)
    )


def _write(args: argparse.Namespace, result: Result) -> None:
    from jetson_face.benchmark.result import stage_table, table, write_csv, write_json

    facts = result.machine
    say(
        f"{facts['board'] or facts['cpu']}, {facts['cores_usable']} cores, load "
        f"{facts['load_1min']}, power mode {facts['power_mode'] or '-'}, governor "
        f"{facts['governor'] or '-'}; medians of {result.repeats}"
    )
    say_text(table(result))
    say("")
    say_text(stage_table(result))
    for note in result.notes:
        say(f"note: {note}")
    if args.json is not None:
        write_json(args.json, result)
    if args.csv is not None:
        write_csv(args.csv, result)
    if args.plots is not None:
        from jetson_face.benchmark.plots import write_plots

        for path in write_plots(args.plots, result):
            say(path)
