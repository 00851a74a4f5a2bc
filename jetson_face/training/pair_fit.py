"""Pair verification (`matching.method: siamese`), fitted to a list of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jetson_face.config import load_config
from jetson_face.core.errors import InputBrokenError
from jetson_face.evaluation.method import build_method, log_progress
from jetson_face.evaluation.pairs import find_pictures, read_pairs
from jetson_face.evaluation.sensitivity import sample_pairs
from jetson_face.gallery.classifiers import PairWeights, fit_pairs


def fit_to_list(
    listed: Path, images: Path, limit: int, recipe: Path | None, overrides: Sequence[str]
) -> tuple[PairWeights, str, float]:
    """Logistic regression on |a - b| for a configuration's embedder; with what it was fitted to,
    and the share of those pairs that it tells right.

    Raises InputBrokenError where the pairs do not do, and the errors of lists and pictures.
    """
    pairs = sample_pairs(read_pairs(listed), limit)
    pictures = find_pictures(images, pairs.pictures)
    method = build_method(load_config(recipe, [*overrides, "matching.method=cosine"]))
    faces = method.extractor.extract(
        {name: pictures[name] for name in pairs.pictures}, log_progress("pairs")
    )
    first = faces.vectors[faces.rows([pair.a for pair in pairs.pairs])]
    second = faces.vectors[faces.rows([pair.b for pair in pairs.pairs])]
    there = ~np.isnan(first[:, 0]) & ~np.isnan(second[:, 0])
    what = f"{int(there.sum())} pairs of {listed.parent.name}/{listed.name}"
    try:
        made = fit_pairs(method.space, first[there], second[there], pairs.same[there], what)
    except ValueError as exc:
        raise InputBrokenError(f"{listed}: {exc}") from exc
    right = (made.probability(first[there], second[there]) >= 0.5) == pairs.same[there]
    return made, what, float(right.mean())
