"""`jetson-face eval verification|identification|video|five-people|sensitivity|bakeoff`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jetson_face.commands import bakeoff
from jetson_face.commands.common import add_config_arguments, config_of
from jetson_face.errors import (
    InputBrokenError,
    JetsonFaceError,
    MissingDependencyError,
    UsageError,
)

if TYPE_CHECKING:
    from jetson_face.evaluate.method import Method
    from jetson_face.evaluate.pairs import PairList
    from jetson_face.evaluate.people import Division

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
    video = kinds.add_parser("video", help="what averaging over frames gains")
    for sub in (identification, video):
        sub.add_argument(
            "--strangers",
            type=float,
            default=0.5,
            metavar="SHARE",
            help="of the people that could be enrolled, those who are not",
        )
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


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--images", type=Path, required=True, metavar="DIR", help="with one folder a person"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="every figure, as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the report to read")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="PNG files")
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
    if getattr(args, "limit", 2) < 2:
        raise UsageError(f"--limit must be 2 or more, got {args.limit}")
    return _KINDS[args.kind](args)


def _verification(args: argparse.Namespace) -> int:
    from jetson_face.evaluate import verification_report as shown
    from jetson_face.evaluate.method import log_progress
    from jetson_face.evaluate.verification import verify

    pairs, pictures = _pairs(args)
    method = _method(args)
    faces = method.extractor.extract(pictures, log_progress("verification, pictures"))
    with _measuring(args.pairs):
        result = verify(
            pairs,
            faces,
            rng=np.random.default_rng(args.seed),
            method={**_facts(args, method), "pairs_file": args.pairs.name},
            scorer=method.pair_scorer,
            resamples=args.resamples,
            fold_count=args.folds,
        )
    title = f"Verification: {args.pairs.name}, {method.name}"
    print(shown.summary(result))
    _print_detection(result.faces.facts())
    _leave(
        args,
        result.as_json(),
        lambda: shown.markdown(result, title),
        lambda: shown.plots(result, args.plots),
    )
    return 0


def _identification(args: argparse.Namespace) -> int:
    from jetson_face.evaluate import identification_report as shown
    from jetson_face.evaluate.identification import identify_open_set
    from jetson_face.evaluate.method import log_progress

    division = _division(args)
    method = _method(args)
    pictures = {shot.name: shot.path for shot in division.shots}
    faces = method.extractor.extract(pictures, log_progress("identification, pictures"))
    with _measuring(args.images):
        result = identify_open_set(
            division,
            faces,
            method.enrol,
            similarity_min=method.similarity_min,
            rng=np.random.default_rng(args.seed),
            method=_facts(args, method),
            resamples=args.resamples,
            seed=args.seed,
        )
    title = f"Open-set identification: {args.images.name}, {method.name}"
    print(shown.summary(result))
    _print_detection(faces.facts())
    _leave(
        args,
        result.as_json(),
        lambda: shown.markdown(result, title),
        lambda: shown.plots(result, args.plots),
    )
    return 0


def _video(args: argparse.Namespace) -> int:
    from jetson_face.evaluate import video_report as shown
    from jetson_face.evaluate.method import log_progress
    from jetson_face.evaluate.video import average_over_frames

    division = _division(args)
    method = _method(args)
    pictures = {shot.name: shot.path for shot in division.shots}
    faces = method.extractor.extract(pictures, log_progress("video, pictures"))
    with _measuring(args.images):
        rows = average_over_frames(
            division,
            faces,
            method.enrol,
            rng=np.random.default_rng(args.seed),
            resamples=args.resamples,
        )
    facts = _facts(args, method)
    title = f"Averaging over frames: {args.images.name}, {method.name}"
    print(shown.summary_table(rows))
    _print_detection(faces.facts())
    _leave(
        args,
        shown.as_json(rows, division, faces, facts),
        lambda: shown.markdown(rows, division, faces, facts, title),
        lambda: shown.plots(rows, args.plots),
    )
    return 0


def _five_people(args: argparse.Namespace) -> int:
    from jetson_face.evaluate import five_people as lab
    from jetson_face.evaluate import report
    from jetson_face.evaluate.method import log_progress

    names = lab.read_names(args.people)
    train, test = lab.split_lab(args.images, names, seed=args.seed)
    method = _method(args)
    with _measuring(args.images):
        result = lab.run_lab(
            train,
            test,
            method,
            rng=np.random.default_rng(args.seed),
            resamples=args.resamples,
            progress=log_progress("five-people, angles", 3),
        )
    figures = result.as_json()
    for name in ("located", "named", "accepted"):
        shown = report.with_interval(figures[name], result.intervals.get(name), 1)
        print(f"{name:10} {shown} of {figures['trials']} trials")
    _leave(
        args,
        figures,
        lambda: lab.markdown(result, f"Five-person lab: {method.name}"),
        lambda: lab.plots(result, args.plots),
    )
    return 0


def _sensitivity(args: argparse.Namespace) -> int:
    from jetson_face.evaluate import sensitivity as shown
    from jetson_face.evaluate.method import log_progress

    pairs, pictures = _pairs(args)
    pairs = shown.sample_pairs(pairs, args.limit, args.seed)
    method = _method(args)
    with _measuring(args.pairs):
        threshold, levels = shown.measure_sensitivity(
            pairs,
            {name: pictures[name] for name in pairs.pictures},
            method,
            rng=np.random.default_rng(args.seed),
            resamples=args.resamples,
            progress=log_progress("sensitivity, levels", 5),
        )
    facts = _facts(args, method)
    for level in levels:
        print(
            f"{level.kind:10} {level.value:>6g}  accuracy {100 * level.accuracy:5.1f} %  "
            f"undetected {level.undetected} of {level.pairs}"
        )
    _leave(
        args,
        shown.as_json(threshold, levels, facts),
        lambda: shown.markdown(threshold, levels, facts, f"Sensitivity: {method.name}"),
        lambda: shown.plots(levels, args.plots, method.name),
    )
    return 0


def _pairs(args: argparse.Namespace) -> tuple[PairList, dict[str, Path]]:
    """The list and where its pictures are; what is left out of it is said."""
    from jetson_face.evaluate.pairs import find_pictures, read_pairs

    pairs = read_pairs(args.pairs)
    if pairs.duplicates or pairs.self_pairs:
        _log.warning(
            "%s: %d repeated pairs and %d pairs of a picture with itself are left out",
            args.pairs,
            pairs.duplicates,
            pairs.self_pairs,
        )
    return pairs, find_pictures(args.images, pairs.pictures)


def _division(args: argparse.Namespace) -> Division:
    from jetson_face.evaluate.people import divide, read_people

    return divide(read_people(args.images), strangers=args.strangers, seed=args.seed)


def _method(args: argparse.Namespace) -> Method:
    from jetson_face.evaluate.method import build_method

    return build_method(config_of(args), relaxed=not args.no_relaxed)


def _facts(args: argparse.Namespace, method: Method) -> dict[str, object]:
    return {**method.facts, "images": args.images.name, "seed": args.seed}


@contextmanager
def _measuring(where: Path) -> Iterator[None]:
    """Pictures that cannot give a figure are the user's input, not a fault of the program."""
    try:
        yield
    except JetsonFaceError:
        raise
    except ValueError as error:
        raise InputBrokenError(f"{where}: {error}") from error


def _print_detection(facts: Mapping[str, object]) -> None:
    print(
        f"{facts['pictures']} pictures: {facts['undetected']} without a face found, "
        f"{facts['relaxed']} found by the relaxed search, "
        f"{facts['several_faces']} with several faces"
    )


def _leave(
    args: argparse.Namespace,
    result: Mapping[str, Any],
    markdown: Callable[[], str],
    plots: Callable[[], list[Path]],
) -> None:
    """Write what was asked for, the JSON first: it must be there even where plots cannot be."""
    from jetson_face.evaluate.report import write_json, write_text

    written: list[Path] = []
    if args.json is not None:
        write_json(args.json, result)
        written.append(args.json)
    if args.markdown is not None:
        write_text(args.markdown, markdown())
        written.append(args.markdown)
    try:
        if args.plots is not None:
            written.extend(plots())
    except MissingDependencyError:
        _log.warning("no plots; written before: %s", ", ".join(map(str, written)) or "nothing")
        raise
    for path in written:
        print(f"wrote {path}")


_KINDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "verification": _verification,
    "identification": _identification,
    "video": _video,
    "five-people": _five_people,
    "sensitivity": _sensitivity,
    "bakeoff": bakeoff.run,
}
