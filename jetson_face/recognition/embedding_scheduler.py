"""Which faces are embedded on this frame, and how: new and unsure ones first, known ones seldom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jetson_face.core.types import F32, I64, BoolArray, Embeddings, ImageU8, Pixels
from jetson_face.embedding.align import Aligner
from jetson_face.embedding.embedder import Embedder
from jetson_face.embedding.quality import QualityGate
from jetson_face.embedding.recognisable import Recognisability
from jetson_face.recognition.finder import Found
from jetson_face.recognition.stopwatch import Stopwatch
from jetson_face.recognition.track_state import TrackState, TrackStates

OVERDUE = 4
"""A sure face whose turn is this many times overdue competes with the unsure ones."""
SETTLED, SELDOM_MAX = 8, 3
"""Embeddings after which a face that is clearly known or unknown waits twice as long for the next
one; after twice as many it waits three times as long, which is the most. Averages over 30 frames of
a video identify nobody more than those over 10, and on the crowd clip 161 crops are embedded, not
197. Where a decision was near its bound, such waits cost names (eval tracks: 52.7 %, not 53.3)."""


@dataclass(frozen=True, slots=True)
class EmbeddingBudget:
    """What is worth embedding.

    embed_interval: frames between two embeddings of a face that is surely known; two and three
    times as many where it clearly is and was embedded often, see SETTLED. per_frame: faces on one
    frame. quality_min: [0, 1], of the aligned crop. mirror: every other crop of a track is
    mirrored. recognisable_min: [0, 1], see `Recognisability.scores`.
    """

    embed_interval: int = 5
    per_frame: int = 8
    quality_min: float = 0.05
    mirror: bool = False
    recognisable_min: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class AlignedCrops:
    """Aligned faces of one frame. rows: (M,) which of its faces. images: (M, side, side, 3) uint8
    BGR. quality: (M,) in [0, 1]."""

    rows: I64
    images: ImageU8
    quality: F32

    def __len__(self) -> int:
        return len(self.rows)


NO_CROPS = AlignedCrops(
    np.zeros(0, np.int64), np.zeros((0, 1, 1, 3), np.uint8), np.zeros(0, np.float32)
)


class EmbeddingScheduler:
    """Selects faces by the state of their tracks, cuts them out and embeds them."""

    def __init__(
        self,
        aligner: Aligner,
        quality: QualityGate,
        embedder: Embedder,
        budget: EmbeddingBudget | None = None,
        recognisable: Recognisability | None = None,
    ) -> None:
        self.aligner, self.quality, self.embedder = aligner, quality, embedder
        self.budget = budget or EmbeddingBudget()
        self._recognisable = recognisable

    def select(self, found: Found, states: Sequence[TrackState]) -> I64:
        """Rows (M,) of the faces to embed now. states: of the faces' tracks, in their order.

        A track that the detector is not sure enough of waits until it is.
        """
        least = self.quality.detection_min
        ready = np.array([s.rest == 0 and s.score >= least for s in states], np.bool_)
        usable = ready & np.isfinite(found.faces.landmarks).all(axis=(1, 2))
        if not usable.any():  # most frames without a search
            return np.zeros(0, np.int64)
        return select_for_embedding(
            np.array([_is_sure(state) for state in states], np.bool_),
            np.array([s.embeddings for s in states], np.int64),
            np.array([s.waited for s in states], np.int64),
            clear=np.array([state.decision.clear for state in states], np.bool_),
            usable=usable,
            embed_interval=self.budget.embed_interval,
            per_frame=self.budget.per_frame,
        )

    def next_wanted(self, states: TrackStates) -> set[int]:
        """The tracks that are to be embedded on the next frame, if they are seen there."""
        ids, least = np.array(states.ids(), np.int64), self.quality.detection_min
        each = states.of(ids)
        ready = np.array([s.rest <= 1 and s.score >= least for s in each], np.bool_)
        due = are_due(
            np.array([_is_sure(state) for state in each], np.bool_),
            np.array([s.embeddings for s in each], np.int64),
            np.array([s.waited + 1 for s in each], np.int64),
            np.array([state.decision.clear for state in each], np.bool_),
            self.budget.embed_interval,
        )
        return set(ids[ready & due].tolist())

    def crop(
        self,
        image: Pixels,
        found: Found,
        rows: I64,
        states: Sequence[TrackState],
        watch: Stopwatch,
    ) -> AlignedCrops:
        """The faces of `rows` cut out of the frame; those of poor quality are left out, and what is
        no face by its landmarks."""
        if len(rows):
            rows = rows[self.quality.plausible(found.faces[rows])]
        if not len(rows):
            return NO_CROPS
        with watch("align"):
            images = self.aligner.crop(image, found.faces.landmarks[rows])
            quality = self.quality.scores(images, found.faces[rows])
            good = quality >= self.budget.quality_min
            rows, images, quality = rows[good], images[good], quality[good]
        if self.budget.mirror:  # averaging over frames then averages both sides of the network
            odd = [states[int(row)].embeddings % 2 == 1 for row in rows]
            images[odd] = images[odd, :, ::-1]
        return AlignedCrops(rows, images, quality)

    def embed(self, crops: AlignedCrops, watch: Stopwatch) -> Embeddings:
        """Their vectors (M, dim); no network runs where there are none."""
        space = self.embedder.space
        if not len(crops):
            return Embeddings(np.zeros((0, space.dim), np.float32), space)
        with watch("embed"):
            return self.embedder.embed(crops.images)

    def recognisable(
        self, crops: AlignedCrops, vectors: Embeddings
    ) -> tuple[AlignedCrops, Embeddings]:
        """Those that show somebody, with their quality weighted by how well they do."""
        if self._recognisable is None or not len(crops):
            return crops, vectors
        scores = self._recognisable.scores(vectors)
        good = scores >= self.budget.recognisable_min
        quality = np.asarray(crops.quality * scores, np.float32)[good]
        kept = AlignedCrops(crops.rows[good], crops.images[good], quality)
        return kept, Embeddings(vectors.vectors[good], vectors.space)


def are_due(
    sure: BoolArray, embeddings: I64, waited: I64, clear: BoolArray | None, embed_interval: int
) -> BoolArray:
    """(N,) which faces are to be embedded. See `select_for_embedding`."""
    times = np.ones(len(sure), np.int64)
    if clear is not None:
        times[clear] = np.minimum(1 + embeddings[clear] // SETTLED, SELDOM_MAX)
    return np.asarray(~sure | (waited >= times * embed_interval), np.bool_)


def _is_sure(state: TrackState) -> bool:
    return state.decision.state in ("known", "unknown") and not state.doubted


def select_for_embedding(
    sure: BoolArray,
    embeddings: I64,
    waited: I64,
    *,
    clear: BoolArray | None = None,
    usable: BoolArray | None = None,
    embed_interval: int,
    per_frame: int,
) -> I64:
    """Indices of the faces to embed now, the most wanted first, at most `per_frame`.

    sure: (N,) the track's state is settled. embeddings: (N,) how many the track has so far.
    waited: (N,) frames since the track was last embedded, or since it began. clear: (N,) more
    evidence would hardly change what is decided; None: nowhere. usable: (N,) the face is good
    enough to be worth it. A sure face is due when it waited `embed_interval` frames or more, a
    clear one up to SELDOM_MAX times as many where it was embedded SETTLED times and more. Inside
    one class the longest wait goes first, then the lower index: nobody starves.
    """
    if embed_interval < 1 or per_frame < 0:
        raise ValueError(
            f"embed_interval >= 1 and per_frame >= 0, got {embed_interval}, {per_frame}"
        )
    due = are_due(sure, embeddings, waited, clear, embed_interval)
    if usable is not None:
        due = due & usable
    group = np.where(embeddings == 0, 0, np.where(sure, 2, 1))
    group = np.where((group == 2) & (waited >= OVERDUE * embed_interval), 1, group)
    order = np.lexsort((np.arange(len(sure)), -waited, group))
    wanted = order[due[order]]
    return wanted[:per_frame].astype(np.int64)
