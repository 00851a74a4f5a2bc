"""What of a track's state decides which faces are embedded, and what becomes of their quality."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetson_face.core.types import F32, Detections, Embeddings, Person
from jetson_face.embedding.align import Aligner
from jetson_face.embedding.quality import QualityGate
from jetson_face.embedding.recognisable import Recognisability
from jetson_face.recognition.decision import Decision
from jetson_face.recognition.embedding_scheduler import (
    NO_CROPS,
    AlignedCrops,
    EmbeddingBudget,
    EmbeddingScheduler,
    select_for_embedding,
)
from jetson_face.recognition.finder import Found
from jetson_face.recognition.stopwatch import Stopwatch
from jetson_face.recognition.track_state import TrackState, TrackStates
from tests.recognition.test_recognizer import SPACE, ColourEmbedder, landmarks_of

PENDING = Decision("pending", None, None, False, 0)
KNOWN = Decision("known", Person("1", "Ada"), 0.9, False, 0)
CLEAR = dataclasses.replace(KNOWN, clear=True)
NEW = TrackState(PENDING)
UNSURE = TrackState(PENDING, embeddings=2)
SURE = TrackState(KNOWN, embeddings=2, waited=4)
DUE = TrackState(KNOWN, embeddings=2, waited=5)
DOUBTED = TrackState(KNOWN, embeddings=2, waited=1, doubted=True)
FRESH = TrackState(PENDING, embeddings=2, waited=9)


def scheduler(**budget: float) -> EmbeddingScheduler:
    wanted = EmbeddingBudget(**budget)  # type: ignore[arg-type]
    return EmbeddingScheduler(Aligner("arcface112"), QualityGate(), ColourEmbedder(), wanted)


def seen(count: int, *, without_landmarks: Sequence[int] = ()) -> Found:
    corners = np.arange(count, dtype=np.float32)[:, None] * 60 + np.array([10, 10], np.float32)
    boxes = np.concatenate([corners, corners + 50], axis=1).astype(np.float32)
    points = landmarks_of(boxes)
    points[list(without_landmarks)] = np.nan
    return Found(np.arange(count), Detections(boxes, np.ones(count, np.float32), points), True)


@pytest.mark.parametrize(
    ("states", "rows"),
    [
        # new ones, then unsure ones, then sure ones that are due; the longest wait first
        ([SURE, DUE, UNSURE, NEW], [3, 2, 1]),
        ([UNSURE, FRESH, NEW], [2, 1, 0]),
        ([DUE, DOUBTED, SURE], [1, 0]),
        ([SURE], []),
        ([], []),
    ],
)
def test_the_state_of_a_track_says_when_its_face_is_embedded(
    states: list[TrackState], rows: list[int]
) -> None:
    found = scheduler().select(seen(len(states)), states)
    assert found.tolist() == rows
    assert found.dtype == np.int64


def test_whoever_is_clearly_known_and_was_seen_often_waits_longer() -> None:
    often = [
        TrackState(decision, embeddings=8, waited=waited)
        for decision in (KNOWN, CLEAR)
        for waited in (5, 9, 10)
    ]
    assert sorted(scheduler().select(seen(6), often).tolist()) == [0, 1, 2, 5]


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([PENDING, KNOWN, CLEAR]),
            st.integers(0, 20),
            st.integers(0, 20),
            st.integers(0, 3),
            st.booleans(),
            st.sampled_from([0.5, 0.9]),
        ),
        max_size=6,
    )
)
def test_who_is_wanted_on_the_next_frame_is_who_is_selected_there(
    tracks: list[tuple[Decision, int, int, int, bool, float]],
) -> None:
    embedding, states = scheduler(per_frame=100), TrackStates()
    embedding.quality = QualityGate(detection_min=0.75)
    states.begin(range(len(tracks)), 0)
    for track, (decision, embeddings, waited, rest, doubted, score) in enumerate(tracks):
        state = states[track]
        state.decision, state.embeddings, state.waited = decision, embeddings, waited
        state.rest, state.doubted, state.score = rest, doubted, score
    wanted = embedding.next_wanted(states)
    states.next_frame(range(len(tracks)), 40_000_000)
    found = seen(len(tracks))
    assert wanted == set(embedding.select(found, states.of(found.tracks)).tolist())


def test_a_face_without_landmarks_is_not_embedded() -> None:
    found = scheduler().select(seen(3, without_landmarks=[0, 2]), [NEW, NEW, NEW])
    assert found.tolist() == [1]
    assert scheduler().select(seen(2, without_landmarks=[0, 1]), [NEW, NEW]).dtype == np.int64


def test_a_face_that_the_detector_is_not_sure_enough_of_waits() -> None:
    embedding = scheduler()
    embedding.quality = QualityGate(detection_min=0.75)
    states = [TrackState(PENDING, score=score) for score in (0.74, 0.75, 0.0, 0.9)]
    assert sorted(embedding.select(seen(4), states).tolist()) == [1, 3]


def test_what_is_no_face_by_its_landmarks_is_not_cut_out() -> None:
    embedding, found = scheduler(quality_min=0.0), seen(3)
    found.faces.landmarks[1] = found.faces.landmarks[1, [3, 4, 2, 0, 1]]
    rows, states = np.arange(3), [NEW, NEW, NEW]
    image = np.zeros((240, 320, 3), np.uint8)
    for least, left in ((0.0, [0, 1, 2]), (0.84, [0, 2])):
        embedding.quality = QualityGate(landmarks_min=least)
        crops = embedding.crop(image, found, rows, states, Stopwatch(lambda: 0))
        assert crops.rows.tolist() == left


def test_the_budget_says_how_many_and_how_often() -> None:
    assert scheduler(per_frame=1).select(seen(2), [NEW, NEW]).tolist() == [0]
    assert scheduler(embed_interval=4).select(seen(1), [SURE]).tolist() == [0]


@pytest.mark.parametrize(("embed_interval", "per_frame"), [(0, 8), (5, -1)])
def test_a_budget_that_makes_no_sense_is_refused(embed_interval: int, per_frame: int) -> None:
    nobody = np.zeros(0, np.int64)
    with pytest.raises(ValueError, match=f"got {embed_interval}, {per_frame}"):
        select_for_embedding(
            np.zeros(0, np.bool_),
            nobody,
            nobody,
            embed_interval=embed_interval,
            per_frame=per_frame,
        )


def test_where_there_are_no_crops_no_network_runs() -> None:
    embedding = scheduler()
    none = embedding.embed(NO_CROPS, Stopwatch(lambda: 0))
    assert none.vectors.shape == (0, 3)
    assert none.vectors.dtype == np.float32
    assert none.space == SPACE
    assert isinstance(embedding.embedder, ColourEmbedder)
    assert embedding.embedder.faces == 0


def test_a_crop_counts_by_its_quality_times_how_recognisable_it_is() -> None:
    centroid: F32 = np.array([[1, 0, 0]], np.float32)
    embedding = EmbeddingScheduler(
        Aligner("arcface112"),
        QualityGate(),
        ColourEmbedder(),
        EmbeddingBudget(recognisable_min=0.25),
        Recognisability(SPACE, centroid),
    )
    vectors = np.array([[0.75, 0.66, 0], [0.5, 0.87, 0], [0.76, 0.65, 0], [0, 0, 1]], np.float32)
    crops = AlignedCrops(
        np.array([4, 2, 7, 1]),
        np.arange(4, dtype=np.uint8).repeat(112 * 112 * 3).reshape(4, 112, 112, 3),
        np.array([0.8, 0.6, 0.9, 0.5], np.float32),
    )
    kept, faces = embedding.recognisable(crops, Embeddings(vectors, SPACE))
    assert kept.rows.tolist() == [4, 2, 1]
    assert kept.images[:, 0, 0, 0].tolist() == [0, 1, 3]
    np.testing.assert_allclose(kept.quality, [0.2, 0.3, 0.5], rtol=1e-6)
    assert kept.quality.dtype == np.float32
    np.testing.assert_array_equal(faces.vectors, vectors[[0, 1, 3]])
