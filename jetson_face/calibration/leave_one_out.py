"""What a gallery says of its own faces: each asked as if it were not enrolled."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from jetson_face.calibration.fpir import Scores, together
from jetson_face.core.types import F32, I64, Embeddings
from jetson_face.gallery.hygiene import without_rows
from jetson_face.gallery.matcher import GallerySnapshot, Matcher

Enrol = Callable[[GallerySnapshot], Matcher]
"""From enrolled templates to what answers; a classifier is trained by it."""


def ask(
    matcher: Matcher,
    faces: Embeddings,
    person: I64,
    margin_min: float = 0.0,
    ground_truth: Sequence[str] | None = None,
) -> Scores:
    """Faces with whose each is: (N,). ground_truth: (N,) the id of each face's person, where they
    are of enrolled people; None for strangers."""
    matches = matcher.pick(matcher.scores(faces))
    whose: Sequence[str | None] = ground_truth or [None] * len(matches)
    score = [m.similarity if m.person and m.margin >= margin_min else -np.inf for m in matches]
    right = [
        m.person is not None and m.person.id == who for m, who in zip(matches, whose, strict=True)
    ]
    return Scores(np.array(score, np.float64), np.array(right, np.bool_), person)


def ask_as_strangers(
    snapshot: GallerySnapshot,
    enrol: Enrol,
    *,
    margin_min: float = 0.0,
    parts_max: int = 200,
    average: int = 1,
) -> Scores:
    """Every person's faces, asked of a gallery that lacks that person.

    parts_max: with more people, several at a time are left out, and the gallery asked is smaller
    by that share. average: mean of so many faces of a person at a time.
    """
    count = len(snapshot.people)
    if count < 2:
        return together([])
    part = np.arange(count) % min(count, parts_max)
    found = []
    for number in range(int(part.max()) + 1):
        out = np.flatnonzero(part[snapshot.person_index] == number)
        faces, person = grouped(snapshot.vectors[out], snapshot.person_index[out], average)
        matcher = enrol(without_rows(snapshot, out))
        found.append(ask(matcher, Embeddings(faces, snapshot.space), person, margin_min))
    return together(found)


def ask_as_known(
    snapshot: GallerySnapshot,
    enrol: Enrol,
    *,
    margin_min: float = 0.0,
    parts_max: int = 10,
    average: int = 1,
) -> Scores:
    """Faces of people with several, asked of a gallery that lacks those faces.

    parts_max: into how many parts a person's faces are divided; one is asked, the others stay.
    average: as for strangers; only people with two parts of that many faces, or of 2, are asked.
    """
    index = snapshot.person_index
    owned = np.bincount(index, minlength=len(snapshot.people))
    rank = np.arange(len(index)) - np.repeat(np.cumsum(owned) - owned, owned)
    parts = 2 if average > 1 else max(2, min(int(owned.max(initial=0)), parts_max))
    asked = owned >= (4 if average > 1 else 2)
    found = []
    for number in range(parts):
        out = np.flatnonzero((rank % parts == number) & asked[index])
        if not len(out):
            continue
        faces, person = grouped(snapshot.vectors[out], index[out], average)
        matcher = enrol(without_rows(snapshot, out))
        ground_truth = [snapshot.people[who].id for who in person]
        asked_now = Embeddings(faces, snapshot.space)
        found.append(ask(matcher, asked_now, person, margin_min, ground_truth))
    return together(found)


def grouped(vectors: F32, group: I64, average: int) -> tuple[F32, I64]:
    """Unit means of up to `average` following rows of one group, and the group of each.

    vectors: (N, dim), those of one group together; average 1: as they are.
    """
    if average <= 1 or not len(vectors):
        return vectors, group
    fresh = np.flatnonzero(np.diff(group, prepend=group[0] - 1))
    starts = [
        at
        for first, last in zip(fresh, [*fresh[1:], len(group)], strict=True)
        for at in range(int(first), int(last), average)
    ]
    sums = np.add.reduceat(vectors, starts, axis=0)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(sums / np.maximum(lengths, 1e-12), np.float32), group[starts]
