"""Who in the gallery is nearest: cosine against every template, one score a person."""

from __future__ import annotations

from copy import copy
from functools import cached_property
from typing import TypeAlias

import numpy as np

from jetson_face.core.errors import EmbeddingSpaceError
from jetson_face.core.types import (
    F32,
    NO_MATCH,
    Candidate,
    Embeddings,
    EmbeddingSpace,
    Match,
)
from jetson_face.gallery.large import CANDIDATES, LargeGallery
from jetson_face.gallery.negatives import Negatives
from jetson_face.gallery.scoring import PersonLayout
from jetson_face.gallery.snapshot import GallerySnapshot as GallerySnapshot

Thresholds: TypeAlias = tuple[float, ...]
"""Cosines at or above which a face gets a name, for 1, 2, … averaged embeddings; the last holds
for more."""
REEMBED = "jetson-face gallery reembed"


def centred(vectors: F32, centre: F32) -> F32:
    """(N, dim) unit vectors less `centre` (dim,), of length 1 again."""
    moved = vectors - centre
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    return np.asarray(moved / np.maximum(lengths, 1e-12), np.float32)


class Matcher:
    """Compares probes with everybody in a snapshot.

    top_k: a person's similarity is the mean of so many best of its templates (of all, when it has
    fewer); 1 is the plain maximum.

    thresholds: what this gallery's size asks for; None: whoever decides has a threshold of its own.
    negatives: faces that are not somebody. centre: (dim,), taken from templates and probes before
    they are compared: what all faces of a site have in common tells nobody apart.

    The default is top_k = 3. The maximum favours whoever has many photos, because the best of many
    chance similarities is large: on 200 people of Families in the Wild with 1 to 20 photos each,
    correct names at 1 % false ones were 0.53 and 0.43 (two draws) for 1, 0.66 and 0.65 for 3, 0.66
    and 0.65 for 5, 0.69 and 0.61 for the mean vector, which blends a person's looks (glasses, age).
    """

    def __init__(
        self,
        snapshot: GallerySnapshot,
        *,
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
        self._top_k = top_k
        self._centre = centre

    @cached_property
    def _vectors(self) -> F32:
        vectors = self.snapshot.vectors
        return vectors if self._centre is None else centred(vectors, self._centre)

    @cached_property
    def _layout(self) -> PersonLayout:
        return PersonLayout.of(self.snapshot.person_index)

    @property
    def space(self) -> EmbeddingSpace:
        """The space of the templates, which probes must share."""
        return self.snapshot.space

    def scores(self, probes: Embeddings) -> F32:
        """Similarity of each probe to each person: (N, P) cosines.

        Raises EmbeddingSpaceError when the probes are of another space.
        """
        self._check_space(probes)
        if not self.snapshot.people:
            return np.zeros((len(probes), 0), np.float32)
        asked = probes.vectors
        if self._centre is not None:
            asked = centred(asked, self._centre)
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
        large = self.snapshot
        if isinstance(large, LargeGallery) and self._searches:
            self._check_space(probes)
            return large.match(probes.vectors, self._top_k, self.negatives)
        return self.pick(self.scores(probes))

    @property
    def _searches(self) -> bool:
        """A large gallery need not be compared whole."""
        return type(self).scores is Matcher.scores and self._centre is None

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

    def _check_space(self, probes: Embeddings) -> None:
        if probes.space != self.space:
            raise EmbeddingSpaceError(
                f"these faces were embedded with {probes.space}, the gallery with {self.space}: "
                f"take another gallery (gallery.path), or embed this one again: {REEMBED}"
            )

    def _top(self, cosines: F32) -> F32:
        return self._layout.top(cosines, self._top_k)
