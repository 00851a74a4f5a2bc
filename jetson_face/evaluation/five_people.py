"""The five-person lab: five people, 20 pictures each to learn, 5 each to test, turned -60..60."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jetson_face.core.errors import InputBrokenError, InputMissingError
from jetson_face.core.types import F32, I64, BoolArray, Embeddings, ImageU8
from jetson_face.evaluation import openset as o
from jetson_face.evaluation import report
from jetson_face.evaluation.bootstrap import Interval, draw_rows, intervals_of, mean_of
from jetson_face.evaluation.extract import ExtractedFaces, PictureProgress
from jetson_face.evaluation.identification import templates_of
from jetson_face.evaluation.image_changes import rotate_points, rotated
from jetson_face.evaluation.method import Method, snapshot_of
from jetson_face.evaluation.people import Shot, by_hash, read_people
from jetson_face.recognition.fusion import Scorer
from jetson_face.util.images import read_picture

ANGLES = tuple(range(-60, 61, 15))
TRAIN, TEST = 20, 5
FIGURES = ("located", "named", "accepted")

RULES = (
    "Which pictures are learnt and which test follows from a hash of their names.",
    "Located: the centre of the face that was picked lies within half a box width of where the "
    "centre of the upright picture's face went by the turn. A test picture whose face is not found "
    "upright counts as not located at every angle.",
    "Named: located, and the nearest of the people is the right one; accepted: also at or above "
    "the method's own threshold.",
    "Angles are degrees, anticlockwise; pictures are turned about their middle, on a canvas that "
    "holds all of it.",
)


@dataclass(frozen=True, slots=True, eq=False)
class Lab:
    """Trials in the order of angle, then picture. hits: (angles, pictures) by name of `FIGURES`."""

    people: tuple[str, ...]
    angles: tuple[int, ...]
    hits: Mapping[str, BoolArray]
    confusion: I64
    learnt: int
    trained: ExtractedFaces
    enrol_seconds: float
    intervals: Mapping[str, Interval | None]
    method: Mapping[str, object]

    def rows(self) -> list[dict[str, Any]]:
        """The figures of every angle."""
        return [
            {
                "angle": angle,
                "pictures": self.hits["located"].shape[1],
                **{name: float(hits[at].mean()) for name, hits in self.hits.items()},
            }
            for at, angle in enumerate(self.angles)
        ]

    def as_json(self) -> dict[str, Any]:
        """Every figure under its key."""
        return {
            "kind": "five-people",
            "people": list(self.people),
            "trials": self.hits["located"].size,
            **{name: float(hits.mean()) for name, hits in self.hits.items()},
            "intervals": dict(self.intervals),
            "by_angle": self.rows(),
            "confusion": self.confusion,
            "confusion_columns": [*self.people, "unknown", "no face"],
            "templates": self.learnt,
            "enrol_seconds": self.enrol_seconds,
            "training_pictures": self.trained.facts(),
            "method": dict(self.method),
            "rules": list(RULES),
        }


def read_names(path: Path) -> tuple[str, ...]:
    """One name a line. Raises InputMissingError, InputBrokenError (fewer than two names)."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputMissingError(f"{path}: no such file: name a list of people") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputBrokenError(f"{path}: cannot be read as text: {error}") from None
    names = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if len(names) < 2:
        raise InputBrokenError(f"{path}:1: needs at least two names, one a line, got {len(names)}")
    return names


def split_lab(
    folder: Path, names: Sequence[str], *, seed: int = 1
) -> tuple[dict[str, list[Shot]], list[Shot]]:
    """20 pictures a person to learn, by person, and 5 a person to test.

    Raises InputBrokenError for a person with too few pictures.
    """
    people = read_people(folder)
    train: dict[str, list[Shot]] = {}
    test: list[Shot] = []
    for name in names:
        shots = {shot.name: shot for shot in people.get(name, [])}
        if len(shots) < TRAIN + TEST:
            raise InputBrokenError(
                f"{folder / name}: {TRAIN + TEST} pictures are needed, {len(shots)} are there"
            )
        order = [shots[key] for key in by_hash(list(shots), seed)]
        train[name] = order[:TRAIN]
        test += order[TRAIN : TRAIN + TEST]
    return train, test


def run_lab(
    train: Mapping[str, Sequence[Shot]],
    test: Sequence[Shot],
    method: Method,
    *,
    rng: np.random.Generator,
    angles: Sequence[int] = ANGLES,
    resamples: int = 500,
    progress: PictureProgress | None = None,
) -> Lab:
    """Learn the people, then locate and name the test pictures at every angle.

    Raises ValueError where a person cannot be learnt at all.
    """
    learnt = method.extractor.extract({s.name: s.path for shots in train.values() for s in shots})
    templates = templates_of(train, learnt)
    if nobody := [person for person, vectors in templates.items() if not len(vectors)]:
        raise ValueError(f"no face was found in any picture of {', '.join(nobody)}")
    snapshot = snapshot_of(method.space, templates)
    start = time.perf_counter()
    matcher = method.enrol(snapshot)
    spent = time.perf_counter() - start
    ground_truth = np.array([list(train).index(shot.person) for shot in test], np.int64)
    images = [read_picture(shot.path) for shot in test]
    located, ranks = _at_angles(images, ground_truth, len(train), method, matcher, angles, progress)
    named = located & np.stack([rank.right for rank in ranks])
    accepted = named & np.stack([rank.top >= method.similarity_min for rank in ranks])
    confusion = np.zeros((len(train), len(train) + 2), np.int64)
    for ranked in ranks:
        confusion += o.confusion_matrix(ranked, len(train), method.similarity_min)[:-1]
    hits = dict(zip(FIGURES, (located, named, accepted), strict=True))
    # pictures are drawn with all their angles: turns of one picture are not independent
    shares = {name: mean_of(each.mean(axis=0)) for name, each in hits.items()}
    return Lab(
        people=tuple(train),
        angles=tuple(angles),
        hits=hits,
        confusion=confusion,
        learnt=len(snapshot.vectors),
        trained=learnt,
        enrol_seconds=spent,
        intervals=intervals_of(shares, draw_rows(len(test)), rng, resamples),
        method=dict(method.facts),
    )


def _at_angles(
    images: Sequence[ImageU8],
    ground_truth: I64,
    people: int,
    method: Method,
    matcher: Scorer,
    angles: Sequence[int],
    progress: PictureProgress | None,
) -> tuple[BoolArray, list[o.Ranked]]:
    """Located (angles, pictures), and who was nearest at every angle."""
    upright = method.extractor.faces_of(images)
    located: list[BoolArray] = []
    ranks: list[o.Ranked] = []
    for done, angle in enumerate(angles, 1):
        faces = method.extractor.faces_of([rotated(image, angle) for image in images])
        scores = np.full((len(images), people), np.nan)
        vectors = Embeddings(faces.vectors[faces.found], faces.space)
        scores[faces.found] = matcher.scores(vectors)
        located.append(_located(upright, faces, images, angle))
        ranks.append(o.rank(scores, np.arange(people), ground_truth))
        if progress is not None:
            progress(done, len(angles))
    return np.stack(located), ranks


def _located(
    upright: ExtractedFaces, faces: ExtractedFaces, images: Sequence[ImageU8], angle: float
) -> BoolArray:
    out = np.zeros(len(images), np.bool_)
    for row, image in enumerate(images):
        if upright.found[row] and faces.found[row]:
            box = upright.boxes[row]
            expected = rotate_points(_centre(box)[None], image, angle)[0]
            away = np.linalg.norm(_centre(faces.boxes[row]) - expected)
            out[row] = away <= (box[2] - box[0]) / 2
    return out


def _centre(box: F32) -> F32:
    return np.asarray((box[:2] + box[2:]) / 2, np.float32)


def summary(lab: Lab) -> str:
    """The main figures, a line each."""
    trials = lab.hits["located"].size
    return "\n".join(f"{name:10} {share} of {trials} trials" for name, share in _shares(lab))


def _shares(lab: Lab) -> list[tuple[str, str]]:
    """Every figure with its share of all trials."""
    return [
        (name, report.with_interval(float(hits.mean()), lab.intervals.get(name), 1))
        for name, hits in lab.hits.items()
    ]


def markdown(lab: Lab, title: str) -> str:
    """The report a person reads."""
    by_angle = [
        [row["angle"], *(report.percent(row[name], 0) for name in FIGURES)] for row in lab.rows()
    ]
    confusion = [[name, *row] for name, row in zip(lab.people, lab.confusion.tolist(), strict=True)]
    facts = {"templates": lab.learnt, "enrol seconds": f"{lab.enrol_seconds:.4f}", **lab.method}
    return report.page(
        title,
        f"{len(lab.people)} people, {lab.learnt} templates, {lab.hits['located'].size} trials.",
        report.table(["figure", "of all trials"], _shares(lab)),
        report.table(["angle", *FIGURES], by_angle),
        report.table(["ground truth", *lab.people, "unknown", "no face"], confusion),
        report.facts_table(facts),
        report.bullets(RULES),
    )


def plots(lab: Lab, folder: Path) -> list[Path]:
    """The shares against the angle as a PNG. Raises MissingDependencyError, OutputError."""
    path = folder / "five_people.png"
    rows = lab.rows()
    report.plot_curves(
        path,
        {name: (lab.angles, [row[name] for row in rows]) for name in FIGURES},
        title="Five-person lab",
        x="turn, degrees",
        y="share of test pictures",
        y_limits=(0.0, 1.02),
        marks=True,
    )
    return [path]
