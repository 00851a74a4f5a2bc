"""Every way to decide keeps the matcher's promises; strangers are nobody; retraining is quick."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from jetson_face.config import load_config
from jetson_face.core.errors import EmbeddingSpaceError, InputMissingError, ModelError
from jetson_face.core.types import F32, Embeddings, EmbeddingSpace, Person
from jetson_face.factory.parts import build_matcher, decision_threshold
from jetson_face.gallery.classifiers import (
    KnnMatcher,
    LinearMatcher,
    PairMatcher,
    PairWeights,
    fit_pairs,
    softmax,
)
from jetson_face.gallery.matcher import GallerySnapshot, Matcher
from jetson_face.gallery.scoring import SCORE_MIN

SPACE = EmbeddingSpace("fake", "ab" * 32, 32)
OTHER = EmbeddingSpace("other", "cd" * 32, 32)
METHODS = ("knn", "svm", "softmax", "siamese")


def crowd(people: int, each: int, seed: int = 1, noise: float = 0.08) -> tuple[F32, F32]:
    """Centres (P, dim) and pictures (P, each, dim), unit vectors."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(people, SPACE.dim))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    pictures = centres[:, None] + noise * rng.normal(size=(people, each, SPACE.dim))
    pictures /= np.linalg.norm(pictures, axis=2, keepdims=True)
    return np.asarray(centres, np.float32), np.asarray(pictures, np.float32)


def snapshot(pictures: F32) -> GallerySnapshot:
    people, each = pictures.shape[:2]
    return GallerySnapshot(
        SPACE,
        pictures.reshape(-1, SPACE.dim).copy(),
        np.repeat(np.arange(people), each),
        tuple(Person(f"id{i}", f"person {i}") for i in range(people)),
    )


def pairs() -> PairWeights:
    _, pictures = crowd(60, 2, seed=9)
    first, second = pictures[:, 0], pictures[:, 1]
    a = np.concatenate([first, first])
    b = np.concatenate([second, np.roll(second, 1, axis=0)])
    return fit_pairs(SPACE, a, b, np.arange(120) < 60, "made up")


def matcher(method: str, gallery: GallerySnapshot) -> Matcher:
    if method == "knn":
        return KnnMatcher(gallery, neighbours=3)
    if method == "siamese":
        return PairMatcher(gallery, pairs())
    return LinearMatcher(gallery, method, similarity_min=0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", METHODS)
def test_the_right_person_scores_highest_and_strangers_are_nobody(method: str) -> None:
    _, pictures = crowd(12, 6)
    known, asked = pictures[:8, :5], pictures[:, 5]
    found = matcher(method, snapshot(known)).match(Embeddings(asked, SPACE))
    least = SCORE_MIN[method]
    least = 0.5 if least is None else least
    for who in range(8):
        assert found[who].person == Person(f"id{who}", f"person {who}")
        assert found[who].similarity >= least
        assert found[who].margin > 0
    # a linear classifier shares the space out among those it knows: its well-known weakness
    refused = sum(match.similarity < least for match in found[8:])
    assert refused >= (2 if method in ("softmax", "svm") else 4)


@pytest.mark.parametrize("method", METHODS)
def test_scores_have_a_column_a_person_and_a_bounded_scale(method: str) -> None:
    _, pictures = crowd(5, 3)
    made = matcher(method, snapshot(pictures))
    scores = made.scores(Embeddings(pictures[:, 0], SPACE))
    assert scores.shape == (5, 5)
    assert scores.dtype == np.float32
    assert (np.abs(scores) <= 1.0001).all()
    np.testing.assert_array_equal(made.pick(scores)[2].person, Person("id2", "person 2"))
    assert made.match(Embeddings(pictures[:0, 0], SPACE)) == []  # no face on this frame
    with pytest.raises(EmbeddingSpaceError):
        made.scores(Embeddings(pictures[:, 0], OTHER))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [0, 1, 2])
def test_small_galleries(method: str, count: int) -> None:
    _, pictures = crowd(4, 4)
    gallery = snapshot(pictures[:count, :3]) if count else GallerySnapshot.empty(SPACE)
    found = matcher(method, gallery).match(Embeddings(pictures[:, 3], SPACE))
    if count == 0:
        assert all(match.person is None for match in found)
        return
    least = SCORE_MIN[method]
    least = 0.5 if least is None else least
    assert found[0].person == Person("id0", "person 0")
    assert found[0].similarity >= least
    if count == 1:
        assert all(match.similarity < least for match in found[1:])


def test_votes_of_near_templates_outweigh_one_nearest() -> None:
    """Person 0 has the single nearest template, person 1 the next two."""
    angles = {0: [4.0, 80.0], 1: [-6.0, -7.0]}
    rows = [a for each in angles.values() for a in each]
    vectors = np.zeros((4, SPACE.dim), np.float32)
    vectors[:, 0], vectors[:, 1] = np.cos(np.deg2rad(rows)), np.sin(np.deg2rad(rows))
    gallery = GallerySnapshot(
        SPACE, vectors, np.array([0, 0, 1, 1]), (Person("a", "a"), Person("b", "b"))
    )
    probe = np.zeros((1, SPACE.dim), np.float32)
    probe[0, 0] = 1
    asked = Embeddings(probe, SPACE)
    found = KnnMatcher(gallery, neighbours=3).match(asked)[0]
    assert found.person == Person("b", "b")
    weights = 1 / (2 * np.sin(np.deg2rad([6, 7]) / 2))
    level = (weights * np.cos(np.deg2rad([6, 7]))).sum() / weights.sum()
    assert found.similarity == pytest.approx(level, abs=1e-5)
    assert found.second < found.similarity
    assert KnnMatcher(gallery, neighbours=1).match(asked)[0].person == Person("a", "a")


@pytest.mark.parametrize(
    ("method", "limit_s"), [("cosine", 1.0), ("knn", 1.0), ("svm", 5.0), ("softmax", 10.0)]
)
def test_adding_a_person_to_a_hundred_is_quick(method: str, limit_s: float) -> None:
    _, pictures = crowd(101, 10, noise=0.15)
    config = load_config(None, [f"matching.method={method}"])
    build_matcher(config, snapshot(pictures[:10]))  # imports
    start = time.process_time()
    build_matcher(config, snapshot(pictures)).match(Embeddings(pictures[100, :1], SPACE))
    assert time.process_time() - start < limit_s


def test_pair_weights_are_never_positive_and_survive_a_file(tmp_path: Path) -> None:
    made = pairs()
    assert (made.weights <= 0).all()
    assert made.bias > 0
    path = tmp_path / "pairs.json"
    path.write_text(made.as_json(), "utf-8")
    again = PairWeights.read(path, SPACE)
    np.testing.assert_allclose(again.weights, made.weights, atol=1e-5)
    assert again.trained_on == "made up"
    with pytest.raises(EmbeddingSpaceError, match="train them"):
        PairWeights.read(path, OTHER)
    path.write_text('{"kind": 1}', "utf-8")
    with pytest.raises(ModelError, match="train them"):
        PairWeights.read(path, SPACE)
    with pytest.raises(InputMissingError, match="jetson-face train --pairs"):
        PairWeights.read(tmp_path / "none.json", SPACE)


def test_a_missing_face_has_no_probability() -> None:
    face = crowd(1, 1)[0]
    assert np.isnan(pairs().probability(face, np.full_like(face, np.nan))).all()
    assert pairs().probability(face, face)[0] > 0.5


def test_softmax_sums_to_one_for_any_size_of_logit() -> None:
    shares = softmax(np.array([[1e4, 0.0], [0.0, 0.0]]))
    np.testing.assert_allclose(shares, np.array([[1.0, 0.0], [0.5, 0.5]]))


def test_the_threshold_follows_the_method() -> None:
    class Network:
        similarity_min = 0.9

    def least(*sets: str) -> float:
        return decision_threshold(load_config(None, sets), Network())  # type: ignore[arg-type]

    assert least() == least("matching.method=knn") == 0.9
    assert least("matching.method=svm") == SCORE_MIN["svm"]
    assert least("matching.method=svm", "matching.similarity_min=0.1") == 0.1
