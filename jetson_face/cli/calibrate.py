"""`jetson-face calibrate`: the threshold that names strangers as seldom as asked."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from jetson_face.calibration.curve_measuring import measure_curve
from jetson_face.calibration.fpir import RateWithInterval, named, threshold_for
from jetson_face.calibration.impostors import Impostors, gather
from jetson_face.calibration.leave_one_out import Enrol
from jetson_face.calibration.operating_point import CalibrationTrial, CentredTrial, Line
from jetson_face.calibration.stored import Calibration, write_calibration
from jetson_face.cli.common import (
    add_config_arguments,
    config_of,
    number,
    say,
    say_json,
    show_progress,
)
from jetson_face.cli.results import check_results
from jetson_face.config import Config
from jetson_face.core.errors import CalibrationError, UsageError
from jetson_face.core.types import F32
from jetson_face.factory.parts import (
    Parts,
    build_matcher,
    build_parts,
    open_gallery,
)
from jetson_face.factory.threshold import (
    calibrated,
    engine,
    moved_for_site,
    scoring,
    threshold_in_force,
    thresholds_for,
    with_centre,
)
from jetson_face.gallery.classifiers import TRAINED
from jetson_face.gallery.matcher import GallerySnapshot

FRAMES = 10
"""Faces that the second line of each threshold averages."""
_SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How seldom, and whose faces show it."""
    parser.add_argument(
        "--fpir",
        type=number,
        metavar="SHARE",
        help="of strangers' faces, those that may get a name (default: matching.fpir)",
    )
    parser.add_argument(
        "--impostors",
        type=Path,
        metavar="PATH",
        help="pictures of people who are not enrolled, best with a folder a person; or what --pack "
        "wrote",
    )
    parser.add_argument(
        "--average",
        type=int,
        default=1,
        metavar="N",
        help="set it for means of N faces, as `run` decides; needs several faces of a stranger",
    )
    parser.add_argument(
        "--centre",
        action="store_true",
        help="compare faces without what all of this camera have in common, learned from "
        "--impostors and the gallery",
    )
    parser.add_argument("--pack", type=Path, metavar="FILE", help="keep the impostors' vectors")
    parser.add_argument(
        "--curve",
        type=Path,
        metavar="FILE.json",
        help="measure the network's impostor curve on --impostors, for `impostors` of its card",
    )
    end = parser.add_mutually_exclusive_group()
    end.add_argument(
        "--write", action="store_true", help="keep the threshold with the gallery: `run` uses it"
    )
    end.add_argument("--forget", action="store_true", help="go back to the default threshold")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Raises CalibrationError where the faces are too few, and the gallery's errors."""
    config = config_of(args)
    written = {"--pack": args.pack, "--curve": args.curve}
    check_results(written, inputs=[args.impostors], config_files=[args.config], config=config)
    args.fpir = config.matching.fpir if args.fpir is None else args.fpir
    if not 0 < args.fpir <= 0.5:
        raise UsageError(f"--fpir is a share between 0 and 0.5, got {args.fpir:g}")
    if args.average < 1:
        raise UsageError(f"--average must be 1 or more, got {args.average}")
    if args.pack is not None and args.impostors is None:
        raise UsageError("--pack needs --impostors FOLDER")
    if args.centre and (args.impostors is None or config.matching.method != "cosine"):
        raise UsageError("--centre needs --impostors PATH and matching.method cosine")
    if args.curve is not None and (args.write or args.forget or args.centre):
        raise UsageError(
            "--curve measures a network, not the gallery: give it without --write, "
            "--forget and --centre"
        )
    if args.curve is not None:
        return _measure_curve(args, config)
    if args.forget:
        with open_gallery(config) as gallery:
            write_calibration(gallery, None)
        if args.json:
            say_json({"calibration": None})
        else:
            say("the default threshold is in force again")
        return 0
    parts = build_parts(config)
    with open_gallery(config, parts.embedder.space) as gallery:
        snapshot = gallery.snapshot()
        if not snapshot.people:
            raise CalibrationError(f"{gallery.path}: nobody is enrolled: jetson-face enroll PATH")
        impostors = _impostors(args, config, parts)
        own = parts.embedder.similarity_min
        before = calibrated(config, gallery)
        trial = _trial(before, snapshot, impostors, own)
        lines = [trial.line(_in_force(config, before, snapshot, own, n), n) for n in (1, FRAMES)]
        if args.centre and impostors is not None:
            trial = _centred_trial(config, snapshot, impostors, own)
        elif before is not config:
            trial = _trial(config, snapshot, impostors, own)
        found, moved = _calibration(config, trial, args.fpir, args.average)
        if args.write:
            write_calibration(gallery, found)
    lines += [trial.line(found.similarity_min, n) for n in (1, FRAMES)]
    if args.json:
        told = [asdict(line) for line in lines]
        say_json({"calibration": asdict(found), "lines": told, "curve_moved": moved})
    else:
        _print(trial, found, lines)
        if moved is not None:
            say(
                f"too few strangers for FPIR {args.fpir:g}: this is the network's impostor curve, "
                f"moved by {moved:+.4f} for what they show"
            )
        _print_end(args.write, config, found)
    return 0


def _measure_curve(args: argparse.Namespace, config: Config) -> int:
    """Write the curve. Raises CalibrationError for too few people, OutputError."""
    with closing(build_parts(config)) as parts:
        impostors = _impostors(args, config, parts)
    if impostors is None:
        raise UsageError("--curve needs --impostors PATH: pictures with a folder a person")
    curve = measure_curve(impostors)
    curve.save(args.curve)
    say(f"wrote {args.curve}: {curve.faces} faces of {curve.people} people")
    return 0


def _in_force(
    asked: Config, deciding: Config, snapshot: GallerySnapshot, similarity_min: float, frames: int
) -> float:
    """The cosine that decides the mean of so many frames; see `threshold_in_force`."""
    known = thresholds_for(deciding, snapshot)
    if known is not None:
        return known[min(frames, len(known)) - 1]
    return threshold_in_force(asked, deciding, snapshot, similarity_min).similarity_min


def _trial(
    config: Config, snapshot: GallerySnapshot, impostors: Impostors | None, similarity_min: float
) -> CalibrationTrial:
    return CalibrationTrial(
        snapshot,
        lambda people: build_matcher(config, people, similarity_min),
        impostors,
        margin_min=config.matching.margin_min,
        trained=config.matching.method in TRAINED,
    )


def _centred_trial(
    config: Config, snapshot: GallerySnapshot, impostors: Impostors, similarity_min: float
) -> CalibrationTrial:
    """Raises CalibrationError for too few people."""

    def enrol(centre: F32) -> Enrol:
        site = with_centre(config, tuple(centre.tolist()))
        return lambda people: build_matcher(site, people, similarity_min)

    return CentredTrial(snapshot, enrol, impostors, margin_min=config.matching.margin_min)


def _impostors(args: argparse.Namespace, config: Config, parts: Parts) -> Impostors | None:
    if args.impostors is None:
        return None
    if args.impostors.is_file():
        impostors = Impostors.load(args.impostors, parts.embedder.space)
    else:
        with show_progress("strangers") as progress:
            impostors = gather(
                args.impostors,
                detector=parts.detector,
                aligner=parts.aligner,
                embedder=parts.embedder,
                grader=parts.quality,
                quality_min=config.quality.embed_min,
                progress=progress,
            )
    if args.pack is not None:
        impostors.save(args.pack)
    return impostors


def _threshold(
    config: Config, trial: CalibrationTrial, fpir: float, average: int
) -> tuple[float, float | None]:
    """The cosine; and by how much the curve was moved, where the strangers are too few for more.

    Raises CalibrationError.
    """
    try:
        return threshold_for(trial.strangers(average), fpir), None
    except CalibrationError:
        few = None
        if trial.centre is None:
            few = moved_for_site(config, trial.snapshot, trial.outsiders(average), fpir, average)
        if few is None:
            raise
        return few


def _calibration(
    config: Config, trial: CalibrationTrial, fpir: float, average: int
) -> tuple[Calibration, float | None]:
    """See `_threshold`. Raises CalibrationError."""
    cosine, moved = _threshold(config, trial, fpir, average)
    # rounded upwards: what is shown is what is used
    threshold = math.ceil(cosine * 1e4) / 1e4
    rate = named(trial.strangers(average), threshold)
    found = Calibration(
        similarity_min=threshold,
        fpir=fpir,
        low=rate.low,
        high=rate.high,
        faces=rate.faces,
        strangers=rate.people,
        method=scoring(config),
        space=trial.snapshot.space.full_name,
        engine=engine(config),
        people=len(trial.snapshot.people),
        templates=len(trial.snapshot.vectors),
        made=time.time(),
        centre=trial.centre,
    )
    return found, moved


def _print(trial: CalibrationTrial, found: Calibration, lines: Sequence[Line]) -> None:
    outside = ""
    if trial.impostors is not None:
        people = len(set(trial.impostors.person.tolist()))
        outside = f", and {len(trial.impostors)} faces of {people} people who are not enrolled"
    say(
        f"{found.people} people enrolled with {found.templates} photos; strangers: each of them "
        f"asked of the others{outside}"
    )
    say(f"{'threshold':<20}{'faces':<7}{'strangers named (FPIR)':<28}correctly identified")
    for at, line in enumerate(lines):
        which = "in force" if at < len(lines) // 2 else "calibrated"
        say(
            f"{line.threshold:<8.4f}{which:<12}{line.average:<7}{_share(line.strangers):<28}"
            f"{_share(line.enrolled)}"
        )
    say("  (enrolled: each photo asked of the person's other photos; new light and years cost)")
    alike = trial.named_strangers(found.similarity_min)
    for text in alike[:_SHOWN]:
        say(f"  named: {text}")
    if len(alike) > _SHOWN:
        say(f"  and {len(alike) - _SHOWN} more; leave out of the folder who is enrolled")


def _print_end(written: bool, config: Config, found: Calibration) -> None:
    centred = "" if found.centre is None else " of centred vectors"
    text = f"similarity_min {found.similarity_min:.4f}{centred}"
    if not written:
        say(f"{text} is not in force yet: --write keeps it with the gallery")
    elif config.matching.similarity_min is not None:
        say(
            f"{text} is kept, but the configuration says matching.similarity_min: "
            f"{config.matching.similarity_min:g}; take that line out"
        )
    else:
        say(f"{text} is kept with the gallery; running programs use it when they start again")


def _share(rate: RateWithInterval) -> str:
    if not rate.faces:
        return "-"
    low, high = 100 * rate.low, 100 * rate.high
    return f"{100 * rate.share:.2f} % [{low:.2f}, {high:.2f}]"
