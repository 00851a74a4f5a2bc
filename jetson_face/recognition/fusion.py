"""Evidence over the frames of a track: embeddings are averaged, weighted by quality."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

import numpy as np

from jetson_face.core.errors import EmbeddingSpaceError
from jetson_face.core.types import F32, I64, NO_MATCH, BoolArray, Embeddings, EmbeddingSpace, Match

Strategy: TypeAlias = Literal["embedding_mean", "score_mean", "vote"]
WEIGHT_MIN = 0.01
"""Weight of a face of quality 0: it counts for something where there is nothing better."""


class Scorer(Protocol):
    """What fusing needs of a matcher (`gallery.match.Matcher`)."""

    def scores(self, probes: Embeddings) -> F32: ...
    def pick(self, scores: F32) -> list[Match]: ...
    def match(self, probes: Embeddings) -> list[Match]: ...


@dataclass(slots=True, eq=False)
class _Evidence:
    """One track: its weighted sum and its last vectors."""

    total: F32
    weight: float = 0.0
    frames: int = 0
    recent: deque[tuple[F32, float]] = field(default_factory=deque)


def contradiction_below(similarity_min: float) -> float:
    """The cosine below which a new vector contradicts its track's mean: another face.

    A third of the way from the threshold towards what two strangers have, taken as symmetric to
    1 about the threshold: 0.87 for dlib's 0.905, 0.2 for a threshold of 0.4.
    """
    return similarity_min - (1 - similarity_min) / 3


class Fuser:
    """Averages each track's embeddings and matches the average.

    strategy: `embedding_mean` (default) matches the quality-weighted mean of the unit vectors;
    `score_mean` averages the similarities of the frames to each person; `vote` lets every frame
    vote for its nearest person with its quality. The last two look at the last `window` frames
    and exist to be compared.
    memory: frames of weight 1 that the mean remembers; older ones fade.
    """

    def __init__(
        self,
        space: EmbeddingSpace,
        *,
        strategy: Strategy = "embedding_mean",
        memory: float = 50.0,
        window: int = 30,
    ) -> None:
        if strategy not in ("embedding_mean", "score_mean", "vote"):
            raise ValueError(f"no such strategy: {strategy!r}")
        if window < 1 or memory < 1:
            raise ValueError("window and memory are 1 or more")
        self.space = space
        self._strategy = strategy
        self._memory = memory
        self._window = window
        self._tracks: dict[int, _Evidence] = {}

    def __len__(self) -> int:
        return len(self._tracks)

    def add(self, tracks: I64, faces: Embeddings, quality: F32) -> None:
        """Add a vector to each of `tracks` (N,), weighted by `quality` (N,) in [0, 1].

        Raises EmbeddingSpaceError when the vectors are of another space.
        """
        if faces.space != self.space:
            raise EmbeddingSpaceError(
                f"these faces were embedded with {faces.space}, this run averages {self.space}"
            )
        if not len(tracks) == len(faces) == len(quality):
            raise ValueError(f"{len(tracks)} tracks, {len(faces)} faces, {len(quality)} qualities")
        for track, vector, weight in zip(tracks.tolist(), faces.vectors, quality, strict=True):
            item = self._tracks.setdefault(track, self._fresh())
            self._count(item, vector.copy(), max(float(weight), WEIGHT_MIN))

    def contradicted(self, tracks: I64, faces: Embeddings, least: F32) -> BoolArray:
        """Which of the vectors (N, dim) are another face than the mean of its track says: (N,).

        least: (N,) cosine to the mean below which one is. A track never added contradicts nothing.
        """
        found = np.zeros(len(tracks), np.bool_)
        for row, (track, vector) in enumerate(zip(tracks, faces.vectors, strict=True)):
            item = self._tracks.get(int(track))
            found[row] = item is not None and float(vector @ _unit(item.total)) < least[row]
        return found

    def frames(self, tracks: I64) -> I64:
        """Embeddings that stand behind each track's average: (N,), 0 for one never added."""
        known = (self._tracks.get(int(track)) for track in tracks)
        return np.array([0 if item is None else item.frames for item in known], np.int64)

    def means(self, tracks: I64) -> Embeddings:
        """The averaged unit vector of each track. Raises KeyError for one never added."""
        vectors = np.zeros((len(tracks), self.space.dim), np.float32)
        for row, track in enumerate(tracks):
            vectors[row] = _unit(self._tracks[int(track)].total)
        return Embeddings(vectors, self.space)

    def match(self, tracks: I64, matcher: Scorer) -> list[Match]:
        """What the evidence of each track says; `NO_MATCH` for a track never added."""
        there = np.array([int(track) in self._tracks for track in tracks], np.bool_)
        known = tracks[there]
        if self._strategy == "embedding_mean":
            found = matcher.match(self.means(known))
        else:
            found = [self._over_frames(int(track), matcher) for track in known]
        answers = iter(found)
        return [next(answers) if seen else NO_MATCH for seen in there]

    def forget(self, tracks: I64 | Sequence[int]) -> None:
        """Drop the state of tracks that ended."""
        for track in tracks:
            self._tracks.pop(int(track), None)

    def keep_only(self, tracks: I64 | Sequence[int]) -> None:
        """Drop every track but these: memory stays bounded by what the tracker holds."""
        alive = {int(track) for track in tracks}
        self._tracks = {track: item for track, item in self._tracks.items() if track in alive}

    def _fresh(self) -> _Evidence:
        return _Evidence(np.zeros(self.space.dim, np.float32), recent=deque(maxlen=self._window))

    def _count(self, item: _Evidence, vector: F32, weight: float) -> None:
        item.total = item.total + weight * vector
        item.weight += weight
        item.frames += 1
        item.recent.append((vector, weight))
        if item.weight > self._memory:
            item.total = item.total * np.float32(self._memory / item.weight)
            item.weight = self._memory

    def _over_frames(self, track: int, matcher: Scorer) -> Match:
        """`score_mean` and `vote` for one track."""
        recent = self._tracks[track].recent
        weights = np.array([weight for _, weight in recent], np.float32)
        scores = matcher.scores(Embeddings(np.stack([v for v, _ in recent]), self.space))
        mean = (weights / weights.sum()) @ scores
        if self._strategy == "score_mean" or scores.shape[1] == 0:
            return matcher.pick(mean[None, :])[0]
        votes = np.bincount(scores.argmax(axis=1), weights, minlength=scores.shape[1])
        # Equal votes go to the higher mean, so that no order of people decides.
        order = np.lexsort((mean, votes))[::-1]
        ranked = np.full(len(mean), -1.0, np.float32)
        ranked[order[0]] = mean[order[0]]
        if len(order) > 1:
            # The closer the votes, the smaller the margin; the loser's score never passes.
            share = float(votes[order[1]] / votes[order[0]])
            second = max(float(mean[order[1]]), share * float(mean[order[0]]))
            ranked[order[1]] = min(second, np.nextafter(mean[order[0]], np.float32(-2)))
        return matcher.pick(ranked[None, :])[0]


def _unit(vector: F32) -> F32:
    length = float(np.linalg.norm(vector))
    return np.asarray(vector / max(length, 1e-12), np.float32)
