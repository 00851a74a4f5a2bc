"""`jetson-face eval verification|identification|video|clusters|tracks|calibration|…`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jetson_face.cli import bakeoff
from jetson_face.cli.common import add_config_arguments, config_of, number, say, say_text
from jetson_face.cli.results import check_results
from jetson_face.core.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    from jetson_face.evaluation.kinds import Evaluation

_log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to measure, on which pictures, and where the results go."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    verification = kinds.add_parser("verification", help="are two pictures of one person?")
    verification.add_argument(
        "--pairs",
        type=Path,
        required=True,
        metavar="FILE",
        help="LFW's pairs.txt, or a tab-separated table with the header fold, a, b, same",
    )
    verification.add_argument(
        "--folds", type=int, default=10, metavar="N", help="where the list gives no folds"
    )
    identification = kinds.add_parser("identification", help="who is it, or is it nobody enrolled?")
    identification.add_argument(
        "--enrol-most",
        action="store_true",
        help="enrol four of five single pictures of a person (at most 20), not half",
    )
    video = kinds.add_parser("video", help="what averaging over frames gains")
    calibration = kinds.add_parser(
        "calibration", help="does a calibrated threshold hold on strangers it was not set with?"
    )
    _add_divided(identification, video, calibration)
    clusters = kinds.add_parser("clusters", help="is a cluster of unnamed faces one person?")
    clusters.add_argument(
        "--each-picture", action="store_true", help="folders below a person are no videos"
    )
    groups = kinds.add_parser(
        "groups", help="is one group of people mistaken for each other more often than another?"
    )
    groups.add_argument(
        "--groups",
        type=Path,
        required=True,
        metavar="FILE",
        help="a table with the header person,KIND,..., such as person,sex,age",
    )
    groups.add_argument(
        "--each-picture", action="store_true", help="folders below a person are no videos"
    )
    centre = kinds.add_parser("centre", help="what the mean of a site's faces gains on others")
    centre.add_argument("--divisions", type=int, default=40, metavar="N", help="of the people")
    _add_tracks(kinds)
    lab = kinds.add_parser("five-people", help="five people, 20 + 5 pictures each, turned -60..60")
    lab.add_argument(
        "--people", type=Path, required=True, metavar="FILE", help="their names, one a line"
    )
    sensitivity = kinds.add_parser(
        "sensitivity", help="accuracy against face size, blur, brightness, rotation, JPEG"
    )
    sensitivity.add_argument("--pairs", type=Path, required=True, metavar="FILE")
    sensitivity.add_argument(
        "--limit", type=int, default=200, metavar="N", help="pairs that are used"
    )
    for sub in kinds.choices.values():
        _add_common(sub)
    bakeoff.add_parser(kinds)


def _add_divided(
    identification: argparse.ArgumentParser,
    video: argparse.ArgumentParser,
    calibration: argparse.ArgumentParser,
) -> None:
    """What divides people into enrolled ones and impostors."""
    for sub in (identification, video):
        sub.add_argument(
            "--divisions",
            type=int,
            default=0,
            metavar="N",
            help="also identify over N random divisions into enrolled people and impostors",
        )
    for sub in (identification, video, calibration):
        sub.add_argument(
            "--each-picture",
            action="store_true",
            help="folders below a person are no videos: enrolled and asked pictures may share one",
        )
        sub.add_argument(
            "--strangers",
            type=number,
            default=0.5,
            metavar="SHARE",
            help="of the people that could be enrolled, those who are not",
        )


def _add_tracks(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    tracks = kinds.add_parser("tracks", help="do names hold on video, and on whom?")
    tracks.add_argument(
        "--clips",
        type=number,
        default=1.0,
        metavar="SHARE",
        help="of the full set of clips (default 1); at least one of each kind is made",
    )
    tracks.add_argument(
        "--only", action="append", metavar="KIND", help="clips of this kind, such as non-faces"
    )


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--images", type=Path, required=True, metavar="DIR", help="with one folder a person"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="every figure, as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the report to read")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="PNG files")
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="keep found faces there for the next evaluation"
    )
    parser.add_argument(
        "--resamples", type=int, default=500, metavar="N", help="for intervals; 0: no intervals"
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N", help="of resampling and division"
    )
    parser.add_argument(
        "--no-relaxed",
        action="store_true",
        help="do not search again with lower thresholds where no face was found",
    )
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Raises the errors of the configuration, the lists, the pictures and the models."""
    if args.resamples < 0:
        raise UsageError(f"--resamples must be 0 or more, got {args.resamples}")
    if not 0 < getattr(args, "strangers", 0.5) < 1:
        raise UsageError(f"--strangers is a share between 0 and 1, got {args.strangers}")
    if getattr(args, "divisions", 0) < 0:
        raise UsageError(f"--divisions must be 0 or more, got {args.divisions}")
    if getattr(args, "limit", 2) < 2:
        raise UsageError(f"--limit must be 2 or more, got {args.limit}")
    if not 0 < getattr(args, "clips", 1.0) <= 10:
        raise UsageError(f"--clips is a share above 0 and up to 10, got {args.clips}")
    _check_results(args)
    if args.kind == "bakeoff":
        return bakeoff.run(args)
    evaluation = _measure(args)
    say_text(evaluation.summary)
    if (facts := evaluation.facts) is not None:
        say(
            f"{facts['pictures']} pictures: {facts['undetected']} without a face found, "
            f"{facts['relaxed']} found by the relaxed search, "
            f"{facts['several_faces']} with several faces"
        )
    _leave(args, evaluation)
    return 0


def _check_results(args: argparse.Namespace) -> None:
    given = [getattr(args, name, None) for name in ("images", "pairs", "people", "groups", "notes")]
    files = [getattr(args, "config", None), *(getattr(args, "configs", None) or ())]
    config = config_of(args) if hasattr(args, "config") else None
    check_results(
        {"--json": args.json, "--markdown": args.markdown},
        inputs=given,
        config_files=files,
        config=config,
        plots=args.plots,
    )


def _measure(args: argparse.Namespace) -> Evaluation:
    from jetson_face.evaluation import kinds
    from jetson_face.evaluation.people import divide, read_people

    setting = kinds.EvaluationSettings(
        config_of(args), args.images, args.seed, args.resamples, not args.no_relaxed, args.cache
    )
    if args.kind == "verification":
        return kinds.verify_pairs(setting, args.pairs, folds=args.folds)
    if args.kind == "five-people":
        return kinds.teach_five_people(setting, args.people)
    if args.kind == "sensitivity":
        return kinds.change_pictures(setting, args.pairs, limit=args.limit)
    if args.kind == "tracks":
        return kinds.follow_tracks(setting, share=args.clips, only=_track_kinds(args.only))
    if args.kind == "clusters":
        return kinds.cluster_people(setting, each_picture=args.each_picture)
    if args.kind == "groups":
        return kinds.compare_groups(setting, args.groups, each_picture=args.each_picture)
    if args.kind == "centre":
        return kinds.measure_centre(setting, count=max(args.divisions, 1))
    if args.kind == "calibration":
        return kinds.check_calibration(
            setting, strangers=args.strangers, each_picture=args.each_picture
        )
    everybody = read_people(args.images, each_picture=args.each_picture)
    most = args.kind == "identification" and args.enrol_most
    division = divide(everybody, strangers=args.strangers, enrol_most=most, seed=args.seed)
    measure = kinds.average_frames if args.kind == "video" else kinds.identify_people
    return measure(setting, division, everybody, args.divisions)


def _track_kinds(only: Sequence[str] | None) -> Sequence[str]:
    from jetson_face.benchmark.clips.scenarios import KINDS

    if wrong := sorted({*(only or ())} - {*KINDS}):
        raise UsageError(f"--only {wrong[0]}: clips are of these kinds: {', '.join(KINDS)}")
    return only or KINDS


def _leave(args: argparse.Namespace, evaluation: Evaluation) -> None:
    """Write what was asked for, the JSON first: it must be there even where plots cannot be."""
    from jetson_face.evaluation.report import write_json
    from jetson_face.util.files import write_file

    written: list[Path] = []
    if args.json is not None:
        write_json(args.json, evaluation.result)
        written.append(args.json)
    if args.markdown is not None:
        write_file(args.markdown, evaluation.markdown())
        written.append(args.markdown)
    try:
        if args.plots is not None:
            written.extend(evaluation.plots(args.plots))
    except MissingDependencyError:
        _log.warning("no plots; written before: %s", ", ".join(map(str, written)) or "nothing")
        raise
    for path in written:
        say(f"wrote {path}")
