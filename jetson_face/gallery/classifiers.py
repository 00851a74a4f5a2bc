"""Other ways to say who a face is, trained on the gallery: each one is a matcher.

They answer as `match.Matcher` does, a score a person and higher is more alike, so that they run
live and in every evaluation. What differs is the scale: `SCORE_MIN` says where "nobody" begins.
scikit-learn trains; what stays afterwards are plain arrays.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jetson_face.core.errors import (
    EmbeddingSpaceError,
    InputMissingError,
    MissingDependencyError,
    ModelError,
)
from jetson_face.core.types import F32, BoolArray, Embeddings, EmbeddingSpace
from jetson_face.gallery.matcher import GallerySnapshot, Matcher
from jetson_face.gallery.scoring import SCORE_MIN
from jetson_face.util.optional import pip_install

TRAINED = ("svm", "softmax")
"""Methods that train for every gallery."""


class KnnMatcher(Matcher):
    """k nearest templates vote, each with the inverse of its distance.

    The winner's score is the weighted mean cosine of its templates among the k, so that the
    network's own threshold rejects strangers; whoever has fewer votes never scores higher. Adding
    a person trains nothing.
    """

    def __init__(self, snapshot: GallerySnapshot, *, neighbours: int = 5) -> None:
        if neighbours < 1:
            raise ValueError(f"neighbours must be 1 or more, got {neighbours}")
        super().__init__(snapshot, top_k=1)
        self._neighbours = min(neighbours, max(len(snapshot.vectors), 1))

    def scores(self, probes: Embeddings) -> F32:
        """See Matcher."""
        best = super().scores(probes)
        if not best.size:
            return best
        cosines = probes.vectors @ self.snapshot.vectors.T
        near = np.argpartition(-cosines, self._neighbours - 1, axis=1)[:, : self._neighbours]
        cosine = np.take_along_axis(cosines, near, axis=1)
        weight = 1 / np.maximum(np.sqrt(np.maximum(2 - 2 * cosine, 0)), 1e-3)
        person = self.snapshot.person_index[near]
        votes, sums = np.zeros_like(best), np.zeros_like(best)
        rows = np.arange(len(best))[:, None]
        np.add.at(votes, (rows, person), weight)
        np.add.at(sums, (rows, person), weight * cosine)
        winner = votes.argmax(axis=1)
        rows = rows[:, 0]
        level = sums[rows, winner] / votes[rows, winner]
        share = votes / votes[rows, winner][:, None]
        # The closer the votes, the smaller the lead; those without a vote keep their cosine.
        rival = np.where(votes > 0, np.minimum(best, level[:, None] * share), best)
        out = np.minimum(rival, np.nextafter(level, np.float32(-2))[:, None])
        out[rows, winner] = level
        return np.asarray(out, np.float32)


class LinearMatcher(Matcher):
    """A linear classifier of people, trained again for every gallery.

    method: `svm`: linear support vector machine, one against the rest (C. Cortes, V. Vapnik,
    1995), score tanh of its decision value: a face that every machine refuses is nobody.
    `softmax`: multinomial logistic regression, score its probability. Vectors are centred on the
    gallery's mean first: those of dlib lie in a narrow cone. similarity_min: cosine, used only
    while a single person is enrolled and there is nothing to tell apart.
    Raises MissingDependencyError without scikit-learn.
    """

    def __init__(
        self,
        snapshot: GallerySnapshot,
        method: Literal["svm", "softmax"],
        *,
        similarity_min: float,
        strength: float = 10.0,
    ) -> None:
        super().__init__(snapshot)
        self._method = method
        self._similarity_min = similarity_min
        self._middle = np.zeros(snapshot.space.dim, np.float32)
        self._spread = 1.0
        if len(snapshot.people) < 2:
            return
        self._middle = snapshot.vectors.mean(axis=0)
        moved = snapshot.vectors - self._middle
        self._spread = max(float(np.linalg.norm(moved, axis=1).mean()), 1e-6)
        self._weights, self._bias = _train(
            moved / self._spread, snapshot.person_index, method, strength
        )

    def scores(self, probes: Embeddings) -> F32:
        """See Matcher."""
        cosines = super().scores(probes)
        if cosines.shape[1] < 2:
            return self._of_one(cosines)
        moved = (probes.vectors - self._middle) / self._spread
        values = moved @ self._weights.T + self._bias
        if self._method == "svm":
            return np.asarray(np.tanh(values), np.float32)
        return softmax(values)

    def _of_one(self, cosines: F32) -> F32:
        """One person: how far above the network's threshold, on the method's own scale."""
        above = (cosines - self._similarity_min) / max(1 - self._similarity_min, 1e-6)
        least = SCORE_MIN[self._method] or 0.0
        return np.asarray(np.clip(least + above * (1 - least), -1, 1), np.float32)


def softmax(values: Any) -> F32:
    """Probabilities along the last axis."""
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float32)


def _train(
    vectors: F32, labels: Any, method: Literal["svm", "softmax"], strength: float
) -> tuple[F32, F32]:
    """Weights (P, dim) and biases (P,)."""
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.svm import LinearSVC
    except ImportError as exc:
        raise MissingDependencyError(
            f"matching by {method} needs scikit-learn: {pip_install('eval')}"
        ) from exc
    if method == "svm":
        model = LinearSVC(C=strength, class_weight="balanced", random_state=0, max_iter=5000)
    else:
        model = LogisticRegression(C=strength * 10, max_iter=500)
    with warnings.catch_warnings():
        # one photo a person is common here, and scikit-learn takes such labels for a regression
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        model.fit(vectors, labels)
    weights, bias = np.asarray(model.coef_, np.float32), np.asarray(model.intercept_, np.float32)
    if len(weights) == 1:  # two people: one machine tells them apart
        half = np.float32(1.0 if method == "svm" else 0.5)
        weights, bias = np.concatenate([-weights, weights]), np.concatenate([-bias, bias])
        return np.asarray(weights * half), np.asarray(bias * half)
    return weights, bias


@dataclass(frozen=True, slots=True, eq=False)
class PairWeights:
    """Logistic regression on |a - b|: the probability that two faces are one person.

    weights: (dim,), bias: of the logit. trained_on: what it was fitted to, for people.
    """

    space: EmbeddingSpace
    weights: F32
    bias: float
    trained_on: str

    def probability(self, first: F32, second: F32) -> Any:
        """(..., dim) and (..., dim) to (...) in [0, 1]; NaN where a face is missing."""
        logit = np.abs(first - second) @ self.weights + self.bias
        return 1 / (1 + np.exp(-np.clip(logit, -60, 60)))

    def as_json(self) -> str:
        """What `read` takes."""
        weights = [round(float(weight), 6) for weight in self.weights]
        return json.dumps(
            {
                "kind": "pair_weights",
                "space": asdict(self.space),
                "bias": round(self.bias, 6),
                "weights": weights,
                "trained_on": self.trained_on,
            },
            indent=1,
        )

    @classmethod
    def read(cls, path: Path, space: EmbeddingSpace) -> PairWeights:
        """The file's weights. Raises InputMissingError, ModelError, EmbeddingSpaceError."""
        train = (
            "train them: jetson-face train --pairs PAIRS.tsv --images DIR -c CONFIG "
            f"--export {path}"
        )
        if not path.is_file():
            raise InputMissingError(f"{path}: no pair weights for {space.model}; {train}")
        try:
            told = json.loads(path.read_text("utf-8"))
            own = EmbeddingSpace(**told["space"])
            weights = np.array(told["weights"], np.float32)
            made = cls(own, weights, float(told["bias"]), str(told["trained_on"]))
        except (ValueError, KeyError, TypeError) as exc:
            raise ModelError(f"{path}: not a file of pair weights; {train}") from exc
        if own != space or weights.shape != (space.dim,):
            raise EmbeddingSpaceError(f"{path}: made for {own}, not for {space}; {train}")
        return made


def fit_pairs(
    space: EmbeddingSpace, first: F32, second: F32, same: BoolArray, trained_on: str
) -> PairWeights:
    """Fit to N pairs (N, dim) each; every weight is 0 or less: a difference never makes faces
    more alike, which keeps the few hundred pairs of a small set from being learnt by heart.

    Raises ValueError without pairs of both kinds.
    """
    if same.all() or not same.any():
        raise ValueError("pairs of both kinds are needed: of one person, and of two")
    x = np.abs(first - second).astype(np.float64)
    scale = max(float(x.std()), 1e-9)
    x = x / scale
    y = np.where(same, 1.0, -1.0)
    w, b = np.full(x.shape[1], -0.1), 0.1 * float(x.sum(axis=1).mean())
    step = 4 / (float((x**2).sum(axis=1).mean()) + 1)
    momentum_w, momentum_b = w.copy(), b
    for number in range(1, 1501):
        pull = -y / (1 + np.exp(np.clip(y * (x @ momentum_w + momentum_b), -60, 60))) / len(y)
        new_w = np.minimum(momentum_w - step * (pull @ x + 1e-3 * momentum_w), 0)
        new_b = momentum_b - step * float(pull.sum())
        speed = (number - 1) / (number + 2)
        momentum_w, momentum_b = new_w + speed * (new_w - w), new_b + speed * (new_b - b)
        w, b = new_w, new_b
    return PairWeights(space, np.asarray(w / scale, np.float32), float(b), trained_on)


class PairMatcher(Matcher):
    """A person's score is the mean probability over its `top_k` most probable templates."""

    def __init__(self, snapshot: GallerySnapshot, pairs: PairWeights, *, top_k: int = 3) -> None:
        super().__init__(snapshot, top_k=top_k)
        if pairs.space != snapshot.space:
            raise EmbeddingSpaceError(f"pair weights are of {pairs.space}, not {snapshot.space}")
        self._pairs = pairs

    def scores(self, probes: Embeddings) -> F32:
        """See Matcher."""
        cosines = super().scores(probes)
        if not cosines.size:  # nobody asked, or nobody enrolled
            return cosines
        rows = [self._pairs.probability(self.snapshot.vectors, vector) for vector in probes.vectors]
        return self._top(np.asarray(np.stack(rows), np.float32))
