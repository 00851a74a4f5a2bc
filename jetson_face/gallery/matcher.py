"""Who in the gallery is nearest: cosine against every template, one score a person."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from jetson_face.core.errors import EmbeddingSpaceError
from jetson_face.core.types import (
    F32,
    I64,
    NO_MATCH,
    Candidate,
    Embeddings,
    EmbeddingSpace,
    Match,
    Person,
)
from jetson_face.gallery.negatives import Negatives

PersonScore: TypeAlias = Literal["top_k", "mean"]
Thresholds: TypeAlias = tuple[float, ...]
"""Cosines at or above which a face gets a name, for 1, 2, … averaged embeddings; the last holds
for more."""
CANDIDATES = 3
"""How many people a match names, the nearest one included."""
REEMBED = "jetson-face gallery reembed"


@dataclass(frozen=True, slots=True, eq=False)
class GallerySnapshot:
    """The gallery at one moment, for matching; nothing in it changes.

    vectors: (M, dim) float32 unit templates, those of one person together. person_index: (M,)
    index into `people`, ascending. people: everybody with at least one template. revision: grows
    with every change of the gallery. withheld: ids of those of the people who must not be named:
    a face that is one of them is said to be nobody's.
    """

    space: EmbeddingSpace
    vectors: F32
    person_index: I64
    people: tuple[Person, ...]
    revision: int = 0
    withheld: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or self.vectors.shape[1] != self.space.dim:
            raise ValueError(f"templates need (M, {self.space.dim}), got {self.vectors.shape}")
        present = np.unique(self.person_index)
        if len(self.person_index) != len(self.vectors) or len(present) != len(self.people):
            raise ValueError("every person needs a template and every template a person")
        if (np.diff(self.person_index) < 0).any():
            raise ValueError("templates of one person must be together, in the order of people")
        self.vectors.flags.writeable = False
        self.person_index.flags.writeable = False

    @classmethod
    def empty(cls, space: EmbeddingSpace, revision: int = 0) -> GallerySnapshot:
        """Nobody."""
        return cls(space, np.zeros((0, space.dim), np.float32), np.zeros(0, np.int64), (), revision)


def centred(vectors: F32, centre: F32) -> F32:
    """(N, dim) unit vectors less `centre` (dim,), of length 1 again."""
    moved = vectors - centre
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    return np.asarray(moved / np.maximum(lengths, 1e-12), np.float32)


class Matcher:
    """Compares probes with everybody in a snapshot.

    score: `top_k`: a person's similarity is the mean of the `top_k` best of its templates (of all,
    when it has fewer); 1 is the plain maximum. `mean`: the cosine to the person's mean vector.

    thresholds: what this gallery's size asks for; None: whoever decides has a threshold of its own.
    negatives: faces that are not somebody, with `top_k`. centre: (dim,), taken from templates and
    probes before they are compared: what all faces of a site have in common tells nobody apart.

    The default is top_k = 3. The maximum favours whoever has many photos, because the best of many
    chance similarities is large: on 200 people of Families in the Wild with 1 to 20 photos each,
    correct names at 1 % false ones were 0.53 and 0.43 (two draws) for 1, 0.66 and 0.65 for 3, 0.66
    and 0.65 for 5, 0.69 and 0.61 for the mean vector, which blends a person's looks (glasses, age).
    """

    def __init__(
        self,
        snapshot: GallerySnapshot,
        *,
        score: PersonScore = "top_k",
        top_k: int = 3,
        thresholds: Thresholds | None = None,
        negatives: Negatives | None = None,
        centre: F32 | None = None,
    ) -> None:
        if top_k < 1:
            raise ValueError(f"top_k must be 1 or more, got {top_k}")
        self.snapshot = snapshot
        self.thresholds = thresholds
        self.negatives = negatives
        self._score = score
        self._starts = np.flatnonzero(np.diff(snapshot.person_index, prepend=-1))
        self._lengths = np.diff(np.append(self._starts, len(snapshot.vectors)))
        self._top_k = min(top_k, int(self._lengths.max(initial=1)))
        self._centre = centre
        self._vectors = snapshot.vectors if centre is None else centred(snapshot.vectors, centre)
        self._means = self._mean_vectors() if score == "mean" else None

    @property
    def space(self) -> EmbeddingSpace:
        """The space of the templates, which probes must share."""
        return self.snapshot.space

    def scores(self, probes: Embeddings) -> F32:
        """Similarity of each probe to each person: (N, P) cosines.

        Raises EmbeddingSpaceError when the probes are of another space.
        """
        if probes.space != self.space:
            raise EmbeddingSpaceError(
                f"these faces were embedded with {probes.space}, the gallery with {self.space}: "
                f"take another gallery (gallery.path), or embed this one again: {REEMBED}"
            )
        if not self.snapshot.people:
            return np.zeros((len(probes), 0), np.float32)
        asked = probes.vectors
        if self._centre is not None:
            asked = centred(asked, self._centre)
        if self._means is not None:
            return np.asarray(asked @ self._means.T, np.float32)
        scores = self._top(np.asarray(asked @ self._vectors.T, np.float32))
        if self.negatives is None:
            return scores
        return self.negatives.hold_against(scores, probes.vectors, self.snapshot.people)

    def holding(self, negatives: Negatives | None) -> Matcher:
        """The same with other negatives."""
        other = copy(self)
        other.negatives = negatives
        return other

    def match(self, probes: Embeddings) -> list[Match]:
        """The nearest person to each probe, with the best other one.

        Raises EmbeddingSpaceError when the probes are of another space.
        """
        return self.pick(self.scores(probes))

    def pick(self, scores: F32) -> list[Match]:
        """The nearest people in each row of (N, P) scores."""
        people = self.snapshot.people
        if not people:
            return [NO_MATCH] * len(scores)
        rows, rest = np.arange(len(scores)), scores.copy()
        best, near = [], []
        for _ in range(min(CANDIDATES, len(people))):  # the first of equal ones wins each time
            best.append(rest.argmax(axis=1))
            near.append(rest[rows, best[-1]])
            rest[rows, best[-1]] = -np.inf
        found = []
        for who, likeness in zip(np.transpose(best), np.transpose(near).tolist(), strict=True):
            candidates = tuple(
                Candidate(people[index], similarity)
                for index, similarity in zip(who, likeness, strict=True)
            )
            second = likeness[1] if len(likeness) > 1 else -1.0
            found.append(Match(people[who[0]], likeness[0], second, candidates))
        return found

    def _top(self, cosines: F32) -> F32:
        """Mean of the k largest in each person's stretch of columns: (N, M) to (N, P).

        One pass a rank: take each stretch's largest, then blank it. Equal templates (the same
        vector twice) fall in one pass and count once.
        """
        best = np.maximum.reduceat(cosines, self._starts, axis=1)
        if self._top_k == 1:
            return best
        total, count = best.copy(), np.ones_like(best)
        for _ in range(self._top_k - 1):
            spread = np.repeat(best, self._lengths, axis=1)
            cosines = np.where(cosines >= spread, -np.inf, cosines)
            best = np.maximum.reduceat(cosines, self._starts, axis=1)
            there = np.isfinite(best)
            total += np.where(there, best, 0)
            count += there
        return np.asarray(total / count, np.float32)

    def _mean_vectors(self) -> F32:
        sums = np.add.reduceat(self._vectors, self._starts, axis=0)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        return np.asarray(sums / np.maximum(lengths, 1e-12), np.float32)
