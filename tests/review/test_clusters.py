"""Clusters of faces: against the plain method, and as the review queue gives them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jetson_face.core.types import F32, Embeddings, EmbeddingSpace
from jetson_face.review.clusters import cluster_faces, clusters_of, review_clusters
from tests.review.review_fakes import SPACE, open_queue, review_item


def people(seed: int, count: int = 12, faces: int = 6, noise: float = 1.4) -> F32:
    """Faces of people who are near enough that some clusters are mixed."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(count, 16))
    vectors = np.repeat(centres, faces, axis=0) + noise * rng.normal(size=(count * faces, 16))
    vectors = rng.permutation(vectors)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def plain(vectors: F32, least: float) -> list[list[int]]:
    """The method as its text says it: join the nearest two until none are near enough."""
    clusters = [[i] for i in range(len(vectors))]
    cosines = vectors.astype(np.float64) @ vectors.T
    while len(clusters) > 1:
        best, pair = max(
            (float(cosines[np.ix_(one, other)].mean()), (i, j))
            for i, one in enumerate(clusters)
            for j, other in enumerate(clusters[:i])
        )
        if best < least:
            break
        i, j = pair
        clusters[j] += clusters.pop(i)
    return sorted(sorted(own) for own in clusters)


@pytest.mark.parametrize("least", [0.1, 0.3, 0.5, 0.8, 1.1])
def test_the_clusters_are_those_of_the_plain_method(least: float) -> None:
    vectors = people(int(10 * least), count=6, faces=4)
    labels = cluster_faces(vectors, least)
    found = [np.flatnonzero(labels == which).tolist() for which in range(labels.max() + 1)]
    assert sorted(found) == plain(vectors, least)
    assert [own[0] for own in found] == sorted(own[0] for own in found)


def test_the_clusters_are_those_of_scipy() -> None:
    hierarchy = pytest.importorskip("scipy.cluster.hierarchy")
    distance = pytest.importorskip("scipy.spatial.distance")
    vectors = people(1)
    tree = hierarchy.linkage(distance.pdist(vectors, "cosine"), "average")
    for least in (0.2, 0.35, 0.5):
        theirs = hierarchy.fcluster(tree, 1 - least, "distance")
        ours = cluster_faces(vectors, least)
        assert 1 < ours.max() < len(vectors) - 1
        assert ((ours[:, None] == ours) == (theirs[:, None] == theirs)).all()


def test_a_chain_of_faces_is_not_one_person() -> None:
    angles = np.deg2rad(np.arange(0, 100, 20))
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert cluster_faces(vectors, 0.9).max() > 0, "each resembles the next by 0.94"


def test_nothing_and_one_face_have_clusters_too() -> None:
    assert cluster_faces(np.zeros((0, 4), np.float32), 0.5).tolist() == []
    assert cluster_faces(np.eye(4, dtype=np.float32)[:1], 0.5).tolist() == [0]


def test_faces_of_two_networks_are_never_together() -> None:
    vector = np.eye(3, dtype=np.float32)[:1]
    one, other = (EmbeddingSpace(name, "0" * 64, 3) for name in ("one", "other"))
    faces = [Embeddings(vector, space) for space in (one, other, one)]
    assert clusters_of(faces, 0.5) == [[0, 2], [1]]


def test_the_queue_is_told_by_person_the_largest_cluster_first(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    with open_queue(tmp_path) as queue:
        for candidate, seed in (("a", 1), ("a", 2), ("b", 2), ("c", 2), ("d", 1)):
            vector = review_item("", seed).face.vectors + 0.05 * rng.normal(size=SPACE.dim)
            unit = np.asarray(vector / np.linalg.norm(vector), np.float32)
            item = replace(review_item(candidate, seed), face=Embeddings(unit, SPACE))
            queue.add(item, same_face_min=2)
        queue.answer(4, "rejected", None)
        found = review_clusters(queue, 0.5)
    assert [cluster.numbers for cluster in found] == [(1, 5), (2, 3)]
    assert [cluster.key for cluster in found] == ["1", "2"]
