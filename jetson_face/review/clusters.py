"""Faces that are probably one person's, put together: average-linkage clustering by cosine.

Two clusters join while the mean cosine over all pairs of their faces is high enough, the nearest
two first. Unlike chains of faces of which each resembles the next, no single chance likeness joins
two people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jetson_face.core.errors import GalleryCorruptError
from jetson_face.core.types import F32, I64, Embeddings
from jetson_face.review.queue import ReviewQueue
from jetson_face.review.unknowns import UnknownPerson


@dataclass(frozen=True, slots=True)
class FaceCluster:
    """Faces that look like one person, one or more. numbers: of review items, ascending. unknowns:
    ids of remembered people who are not enrolled."""

    numbers: tuple[int, ...]
    unknowns: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What the cluster is called: its smallest number, or an id."""
        return str(self.numbers[0]) if self.numbers else self.unknowns[0]


def cluster_faces(vectors: F32, similarity_min: float) -> I64:
    """(N, dim) unit vectors to (N,) labels, equal in one cluster; numbered by first appearance.

    similarity_min: mean cosine over all pairs at or above which two clusters join. By chains of
    nearest neighbours (F. Murtagh, The Computer Journal 26, 1983), which gives the clusters of the
    plain method in N² steps: a cluster is the sum of its vectors, since the mean cosine of two is
    the product of their sums by the number of pairs.
    """
    sums, sizes = np.asarray(vectors, np.float64).copy(), np.ones(len(vectors))
    label, left = np.arange(len(vectors)), np.ones(len(vectors), np.bool_)
    chain: list[int] = []
    while left.any():
        chain = chain or [int(left.argmax())]
        at = chain[-1]
        alike = np.where(left, sums @ sums[at] / (sizes * sizes[at]), -np.inf)
        alike[at] = -np.inf
        near = int(alike.argmax())
        if len(chain) > 1 and alike[chain[-2]] >= alike[near]:
            near = chain[-2]
        if alike[near] < similarity_min:
            # others that join come no nearer: this one is whole
            left[at] = False
            chain.pop()
        elif len(chain) > 1 and near == chain[-2]:
            del chain[-2:]
            sums[near] += sums[at]
            sizes[near] += sizes[at]
            label[label == at] = near
            left[at] = False
        else:
            chain.append(near)
    _, first, found = np.unique(label, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(first))
    return np.asarray(place[found], np.int64)


def clusters_of(faces: Sequence[Embeddings], similarity_min: float) -> list[list[int]]:
    """Indices of single faces by cluster, the largest first; faces of two embedding spaces are
    never in one cluster."""
    spaces: dict[str, list[int]] = {}
    for index, face in enumerate(faces):
        spaces.setdefault(str(face.space), []).append(index)
    found: list[list[int]] = []
    for indices in spaces.values():
        labels = cluster_faces(np.stack([faces[i].vectors[0] for i in indices]), similarity_min)
        for which in range(int(labels.max()) + 1):
            found.append([indices[row] for row in np.flatnonzero(labels == which)])
    return sorted(found, key=lambda own: (-len(own), own[0]))


def review_clusters(
    queue: ReviewQueue, similarity_min: float, unknowns: Sequence[UnknownPerson] = ()
) -> list[FaceCluster]:
    """The items that wait and the remembered people, by cluster, the largest first; damaged items
    are left out. A person counts with the mean of their faces. Raises the queue's errors."""
    numbers: list[int] = []
    faces: list[Embeddings] = []
    for number in queue.numbers():
        try:
            faces.append(queue.read(number).item.face)
        except GalleryCorruptError:
            continue
        numbers.append(number)
    ids = [one.id for one in unknowns if one.faces]
    faces += [_mean(one) for one in unknowns if one.faces]
    count = len(numbers)
    return [
        FaceCluster(
            tuple(numbers[index] for index in own if index < count),
            tuple(ids[index - count] for index in own if index >= count),
        )
        for own in clusters_of(faces, similarity_min)
    ]


def _mean(person: UnknownPerson) -> Embeddings:
    space = person.faces[0].face.space
    vectors = [one.face.vectors[0] for one in person.faces if one.face.space == space]
    total = np.sum(vectors, axis=0)
    unit = np.asarray(total / max(float(np.linalg.norm(total)), 1e-12), np.float32)
    return Embeddings(unit[None], space)
