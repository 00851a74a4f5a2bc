"""The mislabelled template check: photos that look more like somebody else, put under the wrong
name or planted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jetson_face.core.types import F32, Person
from jetson_face.gallery.snapshot import GallerySnapshot


@dataclass(frozen=True, slots=True)
class MislabelledTemplate:
    """A photo that is nearer to another person.

    row: which of its person's templates, from 0. similarity: highest cosine to a template of
    `other`. own: highest to another template of its own person, None where it is the only one.
    """

    row: int
    other: Person
    similarity: float
    own: float | None

    def __str__(self) -> str:
        if self.own is None:
            return f"looks like {self.other.name} ({self.similarity:.2f})"
        return (
            f"looks more like {self.other.name} ({self.similarity:.2f}) than like the other photos "
            f"of this person ({self.own:.2f})"
        )


def mislabelled_templates(
    snapshot: GallerySnapshot, index: int, similarity_min: float
) -> list[MislabelledTemplate]:
    """The templates of person `index` that are nearer to somebody else than to their own person.

    A person's only template has no company; it counts as mislabelled when its cosine to somebody
    else is `similarity_min` or more, the bar above which two faces are one person.
    """
    own = snapshot.own(index)
    company = own @ own.T
    np.fill_diagonal(company, -np.inf)
    others = snapshot.nearest(own, without=index)
    rows = zip(others, company.max(axis=1).tolist(), strict=True)
    found = [_judged(snapshot, row, *one, similarity_min) for row, one in enumerate(rows)]
    return [wrong for wrong in found if wrong is not None]


def check_template(
    snapshot: GallerySnapshot,
    vector: F32,
    index: int | None,
    company: Sequence[F32],
    similarity_min: float,
) -> MislabelledTemplate | None:
    """Whether one face (dim,), not in the snapshot, is nearer to somebody else than to its person.

    index: of that person in the snapshot, None for somebody new. company: other faces of that
    person that are not in the snapshot.
    """
    if not snapshot.people:
        return None
    before = [] if index is None else list(snapshot.own(index))
    nearest = max((float(one @ vector) for one in [*before, *company]), default=-np.inf)
    (other,) = snapshot.nearest(vector[None], without=index)
    return _judged(snapshot, 0, other, nearest, similarity_min)


def _judged(
    snapshot: GallerySnapshot,
    row: int,
    nearest_other: tuple[int, float],
    nearest_own: float,
    similarity_min: float,
) -> MislabelledTemplate | None:
    """nearest_other: somebody else (index) with the cosine to the nearest template of theirs."""
    index, similarity = nearest_other
    alone = not np.isfinite(nearest_own)
    if index < 0 or (similarity < similarity_min if alone else similarity <= nearest_own):
        return None
    other = snapshot.people[index]
    return MislabelledTemplate(row, other, similarity, None if alone else float(nearest_own))
