"""The bake-off: every method on the same faces, one row each, with what it costs beside what it
reaches. A method whose weights are not here gets a row that says so, and no figures."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jetson_face.config import Config
from jetson_face.core.errors import JetsonFaceError
from jetson_face.core.types import ImageU8
from jetson_face.core.version import __version__
from jetson_face.detection.detector import Detector
from jetson_face.evaluation import metrics as m
from jetson_face.evaluation.bakeoff.facts import model_facts
from jetson_face.evaluation.detection_cache import CachedDetector, DetectionCache
from jetson_face.evaluation.extract import PictureProgress
from jetson_face.evaluation.identification import ask
from jetson_face.evaluation.method import Keep, Method, build_method
from jetson_face.evaluation.pairs import PairList
from jetson_face.evaluation.people import Division
from jetson_face.evaluation.report import plain
from jetson_face.evaluation.sensitivity import measure_sensitivity, sample_pairs
from jetson_face.evaluation.verification import Verification, verify

_log = logging.getLogger(__name__)

LEVELS: Mapping[str, tuple[float, ...]] = {
    "face_px": (60, 30),
    "blur": (4,),
    "brightness": (0.25,),
    "rotation": (-30, 30, 60),
    "jpeg": (10,),
}
_ROC_POINTS = 400
_ROW_FORMAT = 2
"""Rows that were kept under other names of figures are measured again."""


@dataclass(frozen=True, slots=True)
class BakeoffFaces:
    """What every method is asked about: the same pairs, people and pictures.

    newcomer: pictures of one person, to be added. limit: pairs of the sensitivity sweep.
    """

    pairs: PairList
    pictures: Mapping[str, Path]
    division: Division
    newcomer: Sequence[Path]
    moving: ImageU8
    limit: int = 60

    def digest(self) -> str:
        """Of what is asked: pairs, who is enrolled and asked about, and the pictures' sizes."""
        shots = {shot.name: shot.path for shot in self.division.shots}
        asked = {
            "pairs": [(p.fold, p.a, p.b, p.same) for p in self.pairs.pairs],
            "pictures": {name: self.pictures[name].stat().st_size for name in self.pairs.pictures},
            "enrolled": {p: [s.name for s in shots] for p, shots in self.division.enrolled.items()},
            "probes": [shot.name for shot in self.division.probes],
            "strangers": [shot.name for shot in self.division.strangers],
            "shots": {name: path.stat().st_size for name, path in shots.items()},
            "levels": {kind: list(values) for kind, values in LEVELS.items()},
            "limit": self.limit,
        }
        return _digest(asked)


def row_key(config: Config, faces: str, seed: int, resamples: int) -> str:
    """Of all that a row's accuracies depend on. Raises ModelError and its like for no weights."""
    settings = config.model_dump(mode="json", include={"backend", "detector", "embedder"})
    settings["embedder"].pop("model")  # a name or a path; what it leads to is in the digest
    facts = model_facts(config)
    decided = config.matching.model_dump(mode="json")
    told = [settings, decided, facts.digest, faces, seed, resamples, __version__, _ROW_FORMAT]
    return _digest(told)


def keeper(config: Config, cache: DetectionCache) -> Keep:
    """What puts `cache` before the detectors of a configuration."""

    def keep(detector: Detector, relaxed: bool) -> Detector:
        settings = config.model_dump(mode="json", include={"backend", "detector"})
        return CachedDetector(detector, _digest([settings, relaxed, __version__]), cache)

    return keep


def measure_row(
    name: str,
    config_file: str,
    config: Config,
    faces: BakeoffFaces,
    *,
    seed: int = 1,
    resamples: int = 300,
    cache: DetectionCache | None = None,
    progress: PictureProgress | None = None,
) -> dict[str, Any]:
    """All accuracies of one method under their keys, or `refused`: why there are none.

    progress: called with pictures looked at, and those in all.
    """
    row: dict[str, Any] = {"name": name, "config": config_file, "refused": None}
    try:
        facts = model_facts(config)
        method = build_method(config, keep=None if cache is None else keeper(config, cache))
    except JetsonFaceError as error:
        _log.warning("%s: refused: %s", name, error)
        return {**row, "refused": str(error)}
    measured = _measure(method, faces, seed, resamples, _Counter(faces, progress))
    return dict(plain({**row, "model": facts.as_json(), **measured}))


class _Counter:
    """One progress over the three parts of a row."""

    def __init__(self, faces: BakeoffFaces, progress: PictureProgress | None) -> None:
        levels = sum(len(values) for values in LEVELS.values())
        few = len(sample_pairs(faces.pairs, faces.limit).pairs)
        self._sizes = (len(faces.pairs.pictures), len(faces.division.shots), levels * few)
        self._progress = progress

    def of(self, part: int) -> PictureProgress:
        """What one part calls with its own numbers."""
        before, size = sum(self._sizes[:part]), self._sizes[part]

        def progress(done: int, total: int) -> None:
            if self._progress is not None:
                self._progress(before + size * done // max(total, 1), sum(self._sizes))

        return progress


def _measure(
    method: Method, faces: BakeoffFaces, seed: int, resamples: int, counter: _Counter
) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    pictures = {picture: faces.pictures[picture] for picture in faces.pairs.pictures}
    seen = method.extractor.extract(pictures, counter.of(0))
    verification = verify(
        faces.pairs,
        seen,
        rng=rng,
        method=method.facts,
        scorer=method.pair_scorer,
        resamples=resamples,
        fold_count=5,
    )
    shots = {shot.name: shot.path for shot in faces.division.shots}
    met = method.extractor.extract(shots, counter.of(1))
    trial = ask(faces.division, met, method.enrol, margin_min=method.margin_min)
    few = sample_pairs(faces.pairs, faces.limit, seed)
    _, levels = measure_sensitivity(
        few, pictures, method, rng=rng, levels=LEVELS, resamples=0, progress=counter.of(2)
    )
    told = verification.as_json()
    keys = ("accuracy", "f1", "auc", "eer", "tar_at_far", "pairs", "undetected_pairs")
    return {
        "verification": {key: told[key] for key in keys},
        "verification_intervals": told["intervals"],
        "roc": _roc(verification),
        "identification": trial.figures(method.similarity_min),
        "identification_intervals": trial.intervals(rng, resamples),
        "sensitivity": [level.as_json() for level in levels],
        "facts": dict(method.facts),
    }


def _roc(verification: Verification) -> dict[str, list[float]]:
    """The curve's points, thinned out evenly where there are many."""
    curve = m.roc(verification.cosine.scores, verification.same)
    last = len(curve.far) - 1
    rows = np.unique(np.linspace(0, last, min(last + 1, _ROC_POINTS)).round().astype(int))
    return {"far": curve.far[rows].tolist(), "tar": curve.tar[rows].tolist()}


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
