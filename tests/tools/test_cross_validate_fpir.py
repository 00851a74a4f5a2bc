"""The stated rate on made people: close to what was asked for, and larger where more was."""

from __future__ import annotations

import numpy as np
import pytest
from cross_validate_fpir import GROUPS, Cell, is_video, kept, rates, with_intervals

from jetson_face.calibration.impostors import Impostors, SourceFace, impostors_of
from jetson_face.core.types import Embeddings, EmbeddingSpace

PEOPLE, FACES, DIM = 140, 3, 24


@pytest.fixture(scope="module")
def made() -> Impostors:
    """Half of the people are on photos, half on videos of three frames."""
    rng = np.random.default_rng(5)
    centres = np.repeat(rng.normal(size=(PEOPLE, DIM)), FACES, axis=0)
    vectors = (centres + 0.4 * rng.normal(size=centres.shape)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    sources = [
        SourceFace(f"{who}", f"{who}/{k // 3 if who % 2 else k}", f"{who}/v{k // 3}/{k}")
        if who % 2
        else SourceFace(f"{who}", f"{who}/{k}", f"{who}/{k}")
        for who in range(PEOPLE)
        for k in range(FACES)
    ]
    return impostors_of(sources, Embeddings(vectors, EmbeddingSpace("made", "0" * 64, DIM)))


@pytest.mark.slow
def test_a_stated_rate_holds_on_other_people(made: Impostors) -> None:
    found = rates(made, 0.1, 0.0, cuts=2, seed=1)
    cell = Cell("photos and videos", 20, "video frames", "curve")
    assert set(found) >= {cell, Cell("videos", 5, "means of 3 frames", "curve")}
    assert all(len(found[own]) == 4 for own in found if own.source == "curve")
    hits, asked = np.sum(found[cell], axis=0)
    assert 0.06 < hits / asked < 0.16
    lax = rates(made, 0.3, 0.0, cuts=1, seed=1)[cell]
    assert sum(h for h, _ in lax) / sum(n for _, n in lax) > 0.2


def test_intervals_come_from_parts_without_a_tenth() -> None:
    cell = Cell("videos", 5, "video frames", "curve")
    same = with_intervals({cell: [(10, 1000)]}, [{cell: [(9, 900)]}] * GROUPS, 0.01)[0]
    assert (same.observed, same.low, same.high) == pytest.approx((0.01, 0.01, 0.01))
    assert same.holds
    parts = [{cell: [(9 + number % 2, 900)]} for number in range(GROUPS)]
    wide = with_intervals({cell: [(30, 1000), (20, 1000)]}, parts, 0.01)[0]
    # nine tenths of the sum of squares about the mean: (10 * (1 / 1800)^2) * 0.9
    reach = 2.262 * np.sqrt(0.9 * 10 / 1800**2)
    assert (wide.low, wide.high) == pytest.approx((0.025 - reach, 0.025 + reach))
    assert not wide.holds
    assert wide.one_curve == pytest.approx((0.0205, 0.0295))


def test_faces_are_kept_with_their_people(made: Impostors) -> None:
    there = np.array([is_video(name) for name in made.source])
    videos = kept(made, there)
    assert len(videos) == there.sum() == PEOPLE // 2 * FACES
    assert {int(name.split("/")[0]) % 2 for name in videos.source} == {1}
