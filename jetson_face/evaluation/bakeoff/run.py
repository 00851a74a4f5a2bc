"""All methods on identical faces: rows, then timing in turns; what was finished before is kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from jetson_face.config import Config, load_config
from jetson_face.core.errors import JetsonFaceError, MissingDependencyError
from jetson_face.evaluation.bakeoff import plots, report
from jetson_face.evaluation.bakeoff.rows import BakeoffFaces, measure_row, row_key
from jetson_face.evaluation.bakeoff.timing import measure_round, medians
from jetson_face.evaluation.bakeoff.work import Pace, Work
from jetson_face.evaluation.pairs import find_pictures, read_pairs
from jetson_face.evaluation.people import by_hash, divide, read_people
from jetson_face.evaluation.report import write_json
from jetson_face.evaluation.sensitivity import sample_pairs
from jetson_face.util.files import write_file
from jetson_face.util.images import read_picture
from jetson_face.util.machine import machine_facts

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
    "transfer_caffenet",
    "transfer_vgg16",
    "transfer_googlenet",
    "transfer_resnet10",
    "transfer_squeezenet",
    "transfer_mobilenet_v2",
    "transfer_densenet",
)
"""Those of the source material, each a configuration that is shipped."""
Row: TypeAlias = "dict[str, Any]"
Say: TypeAlias = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BakeoffSettings:
    """What is measured. pairs: the list; images: its pictures; people: folders of videos. rounds:
    of timing; 0: none."""

    pairs: Path
    images: Path
    people: Path
    limit_pairs: int
    limit_people: int
    limit_sensitivity: int
    resamples: int
    rounds: int
    seed: int

    def faces(self) -> BakeoffFaces:
        """The faces of all rows. Raises the errors of lists and pictures."""
        pairs = sample_pairs(read_pairs(self.pairs), self.limit_pairs, self.seed)
        everybody = read_people(self.people)
        chosen = by_hash(list(everybody), self.seed)
        some = {name: everybody[name] for name in chosen[: self.limit_people]}
        division = divide(some, seed=self.seed)
        # Somebody whom the division does not use, where there is one.
        newcomer = everybody[chosen[min(self.limit_people, len(chosen) - 1)]]
        return BakeoffFaces(
            pairs=pairs,
            pictures=find_pictures(self.images, pairs.pictures),
            division=division,
            newcomer=[shot.path for shot in newcomer[:_NEWCOMER]],
            moving=read_picture(newcomer[0].path),
            limit=self.limit_sensitivity,
        )


@dataclass(frozen=True, slots=True)
class Results:
    """Where the results go; `write` is called after every row. notes: text before the tables."""

    command: str
    json: Path | None
    markdown: Path | None
    plots: Path | None
    notes: Path | None

    def write(self, asked: BakeoffSettings, rows: Sequence[Row], faces: BakeoffFaces) -> None:
        """Raises OutputError."""
        facts, machine = _facts(asked, faces)
        if self.json is not None:
            write_json(self.json, report.as_json(rows, {**facts, "machine": machine}))
        images: list[str] = []
        if self.plots is not None:
            try:
                images = [path.name for path in plots.plots(rows, self.plots)]
            except MissingDependencyError as error:
                _log.warning("%s", error)
        if self.markdown is not None:
            near = self.plots is not None and self.plots.parent == self.markdown.parent
            folder = "" if self.plots is None else self.plots.name if near else str(self.plots)
            notes = "" if self.notes is None else self.notes.read_text("utf-8").strip()
            links = [f"{folder}/{name}" for name in images]
            write_file(self.markdown, report.markdown(rows, facts, self.command, links, notes))


def methods(
    paths: Sequence[Path] | None, overrides: Sequence[str], models: Path | None
) -> dict[Path, Config]:
    """The configurations, all shipped ones for None; a network from the folder `models` where
    there is one of its name. Raises ConfigError."""
    return {path: _load(path, overrides, models) for path in paths or _shipped()}


def measure(
    configs: Mapping[Path, Config], asked: BakeoffSettings, work: Work, results: Results, say: Say
) -> list[Row]:
    """One row a method, written after every one. say: what is under way."""
    faces = asked.faces()
    rows, keys = _rows(configs, asked, faces, work, results, say)
    able = {
        path.stem: config
        for (path, config), row in zip(configs.items(), rows, strict=True)
        if row["refused"] is None
    }
    if asked.rounds and able:
        timing = _timing(able, asked.rounds, faces, work, " ".join(keys), say)
        rows = [{**row, **timing.get(row["name"], {})} for row in rows]
        results.write(asked, rows, faces)
    return rows


def _shipped() -> list[Path]:
    """Configurations inside an installed package, else beside it in a source tree."""
    import jetson_face

    here = Path(jetson_face.__file__).resolve().parent
    folder = next(f for f in (here / "_configs", here.parent / "configs") if f.is_dir())
    return [folder / f"{name}.yaml" for name in METHODS]


def _load(path: Path, overrides: Sequence[str], models: Path | None) -> Config:
    config = load_config(path, overrides)
    card = None if models is None else models / f"{config.embedder.model}.yaml"
    if card is None or not card.is_file():
        return config
    return load_config(path, [*overrides, f"embedder.model={card}"])


def _rows(
    configs: Mapping[Path, Config],
    asked: BakeoffSettings,
    faces: BakeoffFaces,
    work: Work,
    results: Results,
    say: Say,
) -> tuple[list[Row], list[str]]:
    """The rows, and the keys of those that have figures."""
    digest = faces.digest()
    keys = {path: _key(config, digest, asked) for path, config in configs.items()}
    held = {path: work.recall(f"row-{path.stem}", key) for path, key in keys.items() if key}
    pace = Pace(len(configs) - sum(row is not None for row in held.values()), say)
    rows: list[Row] = []
    for path, config in configs.items():
        row = held.get(path)
        if row is None:
            _log.info("%s: measuring, %s", path.stem, pace.left())
            row = measure_row(
                path.stem,
                path.name,
                config,
                faces,
                seed=asked.seed,
                resamples=asked.resamples,
                cache=work.detection_cache,
                progress=pace.row(path.stem),
            )
            pace.next()
            if row["refused"] is None:
                work.keep(f"row-{path.stem}", keys[path], row)
        rows.append(row)
        results.write(asked, rows, faces)
    return rows, [key for key in keys.values() if key]


def _key(config: Config, faces: str, asked: BakeoffSettings) -> str:
    """Empty for a method whose weights are not here."""
    try:
        return row_key(config, faces, asked.seed, asked.resamples)
    except JetsonFaceError:
        return ""


def _timing(
    configs: dict[str, Config], rounds: int, faces: BakeoffFaces, work: Work, key: str, say: Say
) -> dict[str, dict[str, Any]]:
    """Speeds and costs by method; all are measured again where one of them changed."""
    turns = []
    for number in range(1, rounds + 1):
        turn = work.recall(f"timing-{number}", key)
        if turn is None:
            _log.info("timing, round %d of %d", number, rounds)
            turn = measure_round(
                configs,
                faces.newcomer,
                faces.moving,
                progress=lambda method, n=number: say(f"timing, round {n}: {method}"),  # type: ignore[misc]
            )
            work.keep(f"timing-{number}", key, turn)
        turns.append(turn)
    return medians(turns)


def _facts(asked: BakeoffSettings, faces: BakeoffFaces) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """For the page; and the machine."""
    machine, pairs = machine_facts(), asked.pairs
    people = (f"{n} {what.replace('_', ' ')}" for what, n in faces.division.facts().items())
    facts = {
        "pairs": f"{len(faces.pairs.pairs)} of {pairs.name} in {pairs.parent.name}",
        "people": f"{asked.people.name}: {', '.join(people)}",
        "machine": f"{machine['cpu']}, {machine['cores_usable']} cores, "
        f"load {machine['load_1min']} at the end",
        "packages": ", ".join(f"{name} {found}" for name, found in machine["packages"].items()),
        "jetson_face": machine["jetson_face"],
        "seed": asked.seed,
    }
    return facts, machine
