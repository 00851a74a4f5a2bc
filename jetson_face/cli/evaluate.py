"""`jetson-face eval verification|identification|video|five-people|sensitivity|calibration|…`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jetson_face.cli import bakeoff
from jetson_face.cli.common import add_config_arguments, config_of, number
from jetson_face.core.errors import (
    InputBrokenError,
    JetsonFaceError,
    MissingDependencyError,
    UsageError,
)

if TYPE_CHECKING:
    from jetson_face.evaluation.extract import Faces
    from jetson_face.evaluation.method import Method
    from jetson_face.evaluation.pairs import PairList
    from jetson_face.evaluation.people import Division

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an evaluation leaves. facts: of the pictures, where the report says them."""

    summary: str
    result: Mapping[str, Any]
    markdown: Callable[[str], str]
    plots: Callable[[Path], list[Path]]
    facts: Mapping[str, object] | None = None


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
    if getattr(args, "limit", 2) < 2:
        raise UsageError(f"--limit must be 2 or more, got {args.limit}")
    if args.kind == "bakeoff":
        return bakeoff.run(args)
    title, measure = _KINDS[args.kind]
    outcome = measure(args)
    print(outcome.summary)
    if outcome.facts is not None:
        _print_detection(outcome.facts)
    _leave(args, outcome, f"{title}: {args.images.name}")
    return 0


def _verification(args: argparse.Namespace) -> Outcome:
    from jetson_face.evaluation import verification_report as shown
    from jetson_face.evaluation.verification import verify

    pairs, pictures = _pairs(args)
    with _method(args) as method, _measuring(args.pairs):
        result = verify(
            pairs,
            _extract(args, method, pictures),
            rng=np.random.default_rng(args.seed),
            method={**_facts(args, method), "pairs_file": args.pairs.name},
            scorer=method.pair_scorer,
            resamples=args.resamples,
            fold_count=args.folds,
        )
    return Outcome(
        shown.summary(result),
        result.as_json(),
        lambda title: shown.markdown(result, f"{title}, {args.pairs.name}, {method.name}"),
        lambda folder: shown.plots(result, folder),
        result.faces.facts(),
    )


def _identification(args: argparse.Namespace) -> Outcome:
    from jetson_face.evaluation import identification_report as shown
    from jetson_face.evaluation.identification import identify_open_set

    division = _division(args)
    with _method(args) as method, _measuring(args.images):
        faces = _extract(args, method, {shot.name: shot.path for shot in division.shots})
        result = identify_open_set(
            division,
            faces,
            method.enrol,
            similarity_min=method.similarity_min,
            margin_min=method.margin_min,
            rng=np.random.default_rng(args.seed),
            method=_facts(args, method),
            resamples=args.resamples,
            seed=args.seed,
        )
    return Outcome(
        shown.summary(result),
        result.as_json(),
        lambda title: shown.markdown(result, f"{title}, {method.name}"),
        lambda folder: shown.plots(result, folder),
        faces.facts(),
    )


def _video(args: argparse.Namespace) -> Outcome:
    from jetson_face.evaluation import video_report as shown
    from jetson_face.evaluation.video import average_over_frames

    division = _division(args)
    with _method(args) as method, _measuring(args.images):
        faces = _extract(args, method, {shot.name: shot.path for shot in division.shots})
        rows = average_over_frames(
            division,
            faces,
            method.enrol,
            rng=np.random.default_rng(args.seed),
            resamples=args.resamples,
        )
    facts = _facts(args, method)
    return Outcome(
        shown.summary_table(rows),
        shown.as_json(rows, division, faces, facts),
        lambda title: shown.markdown(rows, division, faces, facts, f"{title}, {method.name}"),
        lambda folder: shown.plots(rows, folder),
        faces.facts(),
    )


def _calibration(args: argparse.Namespace) -> Outcome:
    from jetson_face.evaluation import calibration as shown
    from jetson_face.evaluation.people import read_people

    people = read_people(args.images, each_picture=args.each_picture)
    pictures = {shot.name: shot.path for shots in people.values() for shot in shots}
    with _method(args) as method, _measuring(args.images):
        faces = _extract(args, method, pictures)
        rows = shown.keep_promises(
            people,
            faces,
            method,
            strangers=args.strangers,
            seeds=range(args.seed, args.seed + shown.DIVISIONS),
        )
    facts = _facts(args, method)
    return Outcome(
        shown.summary_table(rows),
        shown.as_json(rows, faces, facts),
        lambda title: shown.markdown(rows, faces, facts, f"{title}, {method.name}"),
        lambda folder: shown.plots(rows, folder),
        faces.facts(),
    )


def _five_people(args: argparse.Namespace) -> Outcome:
    from jetson_face.evaluation import five_people as lab
    from jetson_face.evaluation.method import log_progress

    names = lab.read_names(args.people)
    train, test = lab.split_lab(args.images, names, seed=args.seed)
    with _method(args) as method, _measuring(args.images):
        result = lab.run_lab(
            train,
            test,
            method,
            rng=np.random.default_rng(args.seed),
            resamples=args.resamples,
            progress=log_progress("five-people, angles", 3),
        )
    return Outcome(
        lab.summary(result),
        result.as_json(),
        lambda title: lab.markdown(result, f"{title}, {method.name}"),
        lambda folder: lab.plots(result, folder),
    )


def _sensitivity(args: argparse.Namespace) -> Outcome:
    from jetson_face.evaluation import sensitivity as shown
    from jetson_face.evaluation.method import log_progress

    pairs, pictures = _pairs(args)
    pairs = shown.sample_pairs(pairs, args.limit, args.seed)
    with _method(args) as method, _measuring(args.pairs):
        threshold, levels = shown.measure_sensitivity(
            pairs,
            {name: pictures[name] for name in pairs.pictures},
            method,
            rng=np.random.default_rng(args.seed),
            resamples=args.resamples,
            progress=log_progress("sensitivity, levels", 5),
        )
    facts = _facts(args, method)
    return Outcome(
        shown.summary(levels),
        shown.as_json(threshold, levels, facts),
        lambda title: shown.markdown(threshold, levels, facts, f"{title}, {method.name}"),
        lambda folder: shown.plots(levels, folder, method.name),
    )


def _pairs(args: argparse.Namespace) -> tuple[PairList, dict[str, Path]]:
    """The list and where its pictures are; what is left out of it is said."""
    from jetson_face.evaluation.pairs import find_pictures, read_pairs

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
    from jetson_face.evaluation.people import divide, read_people

    return divide(
        read_people(args.images, each_picture=args.each_picture),
        strangers=args.strangers,
        enrol_most=getattr(args, "enrol_most", False),
        seed=args.seed,
    )


@contextmanager
def _method(args: argparse.Namespace) -> Iterator[Method]:
    """The method that the configuration describes; what it found is kept where `--cache` says."""
    from jetson_face.evaluation.cache import FaceCache
    from jetson_face.evaluation.method import build_method

    config = config_of(args)
    photos = args.kind not in ("video", "calibration")  # what a camera sees
    method = build_method(config, relaxed=not args.no_relaxed, photos=photos)
    if args.cache is None:
        yield method
        return
    settings = config.detector.model_dump(mode="json")
    cache = FaceCache(args.cache, {**method.facts, "detector_settings": settings})
    searched, embedded = cache.recall(method.extractor)
    _log.info("%s: %d pictures searched, %d embedded before", args.cache, searched, embedded)
    yield method
    cache.keep(method.extractor)


def _extract(args: argparse.Namespace, method: Method, pictures: Mapping[str, Path]) -> Faces:
    from jetson_face.evaluation.method import log_progress

    return method.extractor.extract(pictures, log_progress(f"{args.kind}, pictures"))


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


def _leave(args: argparse.Namespace, outcome: Outcome, title: str) -> None:
    """Write what was asked for, the JSON first: it must be there even where plots cannot be."""
    from jetson_face.evaluation.report import write_json, write_text

    written: list[Path] = []
    if args.json is not None:
        write_json(args.json, outcome.result)
        written.append(args.json)
    if args.markdown is not None:
        write_text(args.markdown, outcome.markdown(title))
        written.append(args.markdown)
    try:
        if args.plots is not None:
            written.extend(outcome.plots(args.plots))
    except MissingDependencyError:
        _log.warning("no plots; written before: %s", ", ".join(map(str, written)) or "nothing")
        raise
    for path in written:
        print(f"wrote {path}")


_KINDS: Mapping[str, tuple[str, Callable[[argparse.Namespace], Outcome]]] = {
    "verification": ("Verification", _verification),
    "identification": ("Open-set identification", _identification),
    "video": ("Averaging over frames", _video),
    "five-people": ("Five-person lab", _five_people),
    "sensitivity": ("Sensitivity", _sensitivity),
    "calibration": ("Calibrated thresholds", _calibration),
}
