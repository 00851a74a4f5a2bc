"""`jetson-face eval verification|identification|video|five-people|sensitivity`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from jetson_face.commands.common import add_config_arguments, config_of
from jetson_face.errors import (
    InputBrokenError,
    JetsonFaceError,
    MissingDependencyError,
    UsageError,
)

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
    for sub in kinds.choices.values():
        _add_common(sub)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=Path, required=True, metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every figure, as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the report to read")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="PNG files")
    parser.add_argument(
        "--resamples", type=int, default=500, metavar="N", help="for intervals; 0: no intervals"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the resampling")
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
    return _KINDS[args.kind](args)


def _verification(args: argparse.Namespace) -> int:
    from jetson_face.evaluate import verification_report as shown
    from jetson_face.evaluate.method import build_method, log_progress
    from jetson_face.evaluate.pairs import find_pictures, read_pairs
    from jetson_face.evaluate.verification import verify

    pairs = read_pairs(args.pairs)
    if pairs.duplicates or pairs.self_pairs:
        _log.warning(
            "%s: %d repeated pairs and %d pairs of a picture with itself are left out",
            args.pairs,
            pairs.duplicates,
            pairs.self_pairs,
        )
    pictures = find_pictures(args.images, pairs.pictures)
    method = build_method(config_of(args), relaxed=not args.no_relaxed)
    faces = method.extractor.extract(pictures, log_progress("verification"))
    with _measuring(args.pairs):
        result = verify(
            pairs,
            faces,
            rng=np.random.default_rng(args.seed),
            method={**method.facts, "pairs_file": args.pairs.name, "images": args.images.name},
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


_KINDS: Mapping[str, Callable[[argparse.Namespace], int]] = {"verification": _verification}
