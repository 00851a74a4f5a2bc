"""`jetson-face eval bakeoff`: all methods on identical faces."""

from __future__ import annotations

import argparse
import logging
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetson_face.cli.common import command_line, say
from jetson_face.core.errors import JetsonFaceError, MissingDependencyError, UsageError

if TYPE_CHECKING:
    from jetson_face.config import Config
    from jetson_face.evaluation.bakeoff.rows import Faces
    from jetson_face.evaluation.bakeoff.work import Work

_log = logging.getLogger(__name__)
_NEWCOMER = 5
METHODS = (
    "mtcnn_squeezenet",
    "haar_squeezenet",
    "dlib_knn",
    "openface_svm",
    "facenet_triplet",
    "siamese_logistic",
    "transfer_alexnet",
    "transfer_vgg16",
    "transfer_googlenet",
    "transfer_resnet10",
    "transfer_squeezenet",
    "transfer_mobilenet_v2",
    "transfer_densenet",
)
"""Those of the source material, each a configuration that is shipped."""


def add_parser(kinds: Any) -> None:
    """Which methods, on which faces, and where the results go."""
    parser = kinds.add_parser("bakeoff", help="all methods on the same faces, one row each")
    parser.add_argument(
        "--configs", type=Path, nargs="+", metavar="FILE", help="methods; default: all thirteen"
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
    parser.add_argument("--resamples", type=int, default=300, metavar="N")
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
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one key in every configuration (may be repeated)",
    )


def run(args: argparse.Namespace) -> int:
    """Results are written after every row, so that an interrupted run leaves those it has.

    Raises ConfigError, the errors of lists and pictures, OutputError.
    """
    from jetson_face.evaluation.bakeoff.work import Work

    if min(args.limit_pairs, args.limit_people, args.limit_sensitivity) < 10:
        raise UsageError("the limits are 10 or more")
    if args.rounds < 0:
        raise UsageError(f"--rounds must be 0 or more, got {args.rounds}")
    configs = {path: _load(path, args) for path in args.configs or _shipped()}
    faces = _faces(args)
    with closing(Work(args.work)) as work:
        rows, keys = _rows(args, configs, faces, work)
        measured = {
            path.stem: config
            for (path, config), row in zip(configs.items(), rows, strict=True)
            if row["refused"] is None
        }
        if args.rounds and measured:
            timing = _timing(args, measured, faces, work, keys)
            rows = [{**row, **timing.get(row["name"], {})} for row in rows]
            _leave(args, rows, faces)
    for row in rows:
        say(_line(row))
    return 0


def _shipped() -> list[Path]:
    """Configurations inside an installed package, else beside it in a source tree."""
    import jetson_face

    here = Path(jetson_face.__file__).resolve().parent
    folder = next(f for f in (here / "_configs", here.parent / "configs") if f.is_dir())
    return [folder / f"{name}.yaml" for name in METHODS]


def _load(path: Path, args: argparse.Namespace) -> Config:
    """A method's configuration, its network from `--models` where there is one of that name."""
    from jetson_face.config import load_config

    config = load_config(path, args.overrides)
    if args.models is None:
        return config
    card = args.models / f"{config.embedder.model}.yaml"
    if not card.is_file():
        return config
    return load_config(path, [*args.overrides, f"embedder.model={card}"])


def _rows(
    args: argparse.Namespace, configs: dict[Path, Config], faces: Faces, work: Work
) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows, and the keys of those that have figures."""
    from jetson_face.cli.common import show_line
    from jetson_face.evaluation.bakeoff.rows import measure_row
    from jetson_face.evaluation.bakeoff.work import Pace

    asked = faces.digest()
    keys = {path: _key(config, asked, args) for path, config in configs.items()}
    held = {path: work.recall(f"row-{path.stem}", key) for path, key in keys.items() if key}
    rows: list[dict[str, Any]] = []
    with show_line() as say:
        pace = Pace(len(configs) - sum(row is not None for row in held.values()), say)
        for path, config in configs.items():
            row = held.get(path)
            if row is None:
                _log.info("%s: measuring, %s", path.stem, pace.left())
                row = measure_row(
                    path.stem,
                    path.name,
                    config,
                    faces,
                    seed=args.seed,
                    resamples=args.resamples,
                    kept=work.kept,
                    progress=pace.row(path.stem),
                )
                pace.next()
                if row["refused"] is None:
                    work.keep(f"row-{path.stem}", keys[path], row)
            rows.append(row)
            _leave(args, rows, faces)
    return rows, [key for key in keys.values() if key]


def _key(config: Config, faces: str, args: argparse.Namespace) -> str:
    """Empty for a method whose weights are not here."""
    from jetson_face.evaluation.bakeoff.rows import row_key

    try:
        return row_key(config, faces, args.seed, args.resamples)
    except JetsonFaceError:
        return ""


def _timing(
    args: argparse.Namespace,
    configs: dict[str, Config],
    faces: Faces,
    work: Work,
    keys: list[str],
) -> dict[str, dict[str, Any]]:
    """Speeds and costs by method; all are measured again where one of them changed."""
    from jetson_face.cli.common import show_line
    from jetson_face.evaluation.bakeoff.timing import measure_round, medians

    turns = []
    with show_line() as say:
        for number in range(1, args.rounds + 1):
            name, key = f"timing-{number}", " ".join(keys)
            turn = work.recall(name, key)
            if turn is None:
                _log.info("timing, round %d of %d", number, args.rounds)
                turn = measure_round(
                    configs,
                    faces.newcomer,
                    faces.moving,
                    progress=lambda method, n=number: say(f"timing, round {n}: {method}"),  # type: ignore[misc]
                )
                work.keep(name, key, turn)
            turns.append(turn)
    return medians(turns)


def _faces(args: argparse.Namespace) -> Faces:
    from jetson_face.evaluation.bakeoff.rows import Faces
    from jetson_face.evaluation.pairs import find_pictures, read_pairs
    from jetson_face.evaluation.people import by_hash, divide, read_people
    from jetson_face.evaluation.sensitivity import sample_pairs
    from jetson_face.util.images import read_picture

    pairs = sample_pairs(read_pairs(args.pairs), args.limit_pairs, args.seed)
    everybody = read_people(args.people)
    chosen = by_hash(list(everybody), args.seed)
    division = divide({name: everybody[name] for name in chosen[: args.limit_people]})
    # Somebody whom the division does not use, where there is one.
    newcomer = everybody[chosen[min(args.limit_people, len(chosen) - 1)]]
    return Faces(
        pairs=pairs,
        pictures=find_pictures(args.images, pairs.pictures),
        division=division,
        newcomer=[shot.path for shot in newcomer[:_NEWCOMER]],
        moving=read_picture(newcomer[0].path),
        limit=args.limit_sensitivity,
    )


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


def _leave(args: argparse.Namespace, rows: list[dict[str, Any]], faces: Faces) -> None:
    from jetson_face.evaluation.bakeoff import plots as bakeoff_plots
    from jetson_face.evaluation.bakeoff import report as bakeoff_report
    from jetson_face.evaluation.report import write_json, write_text
    from jetson_face.util.machine import machine_facts

    machine = machine_facts()
    facts = {
        "pairs": f"{len(faces.pairs.pairs)} of {args.pairs.name} in {args.pairs.parent.name}",
        "people": f"{args.people.name}: "
        + ", ".join(f"{n} {what.replace('_', ' ')}" for what, n in faces.division.facts().items()),
        "machine": f"{machine['cpu']}, {machine['cores_usable']} cores, "
        f"load {machine['load_1min']} at the end",
        "packages": ", ".join(f"{name} {found}" for name, found in machine["packages"].items()),
        "jetson_face": machine["jetson_face"],
        "seed": args.seed,
    }
    if args.json is not None:
        write_json(args.json, bakeoff_report.as_json(rows, {**facts, "machine": machine}))
    images: list[str] = []
    if args.plots is not None:
        try:
            images = [path.name for path in bakeoff_plots.plots(rows, args.plots)]
        except MissingDependencyError as error:
            _log.warning("%s", error)
    if args.markdown is not None:
        near = args.plots is not None and args.plots.parent == args.markdown.parent
        folder = "" if args.plots is None else args.plots.name if near else str(args.plots)
        command = command_line(sys.argv[1:])
        notes = "" if args.notes is None else args.notes.read_text("utf-8").strip()
        text = bakeoff_report.markdown(
            rows, facts, command, [f"{folder}/{name}" for name in images], notes
        )
        write_text(args.markdown, text)
