"""Photos that look more like somebody else: put under the wrong name, or planted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jetson_face.core.types import F32, Person
from jetson_face.gallery.matcher import GallerySnapshot


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
    own = snapshot.person_index == index
    cosines = snapshot.vectors[own] @ snapshot.vectors.T
    company = cosines[:, own]
    np.fill_diagonal(company, -np.inf)
    cosines[:, own] = -np.inf
    rows = zip(cosines, company.max(axis=1), strict=True)
    found = [_judged(snapshot, row, *one, similarity_min) for row, one in enumerate(rows)]
    return [finding for finding in found if finding is not None]


def mislabelled(
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
    cosines = snapshot.vectors @ vector
    own = snapshot.person_index == (-1 if index is None else index)
    nearest = max([*cosines[own], *(float(one @ vector) for one in company)], default=-np.inf)
    cosines[own] = -np.inf
    return _judged(snapshot, 0, cosines, nearest, similarity_min)


def _judged(
    snapshot: GallerySnapshot, row: int, cosines: F32, nearest_own: float, similarity_min: float
) -> MislabelledTemplate | None:
    """cosines: (M,) to every template of others, the own ones at minus infinity."""
    column = int(cosines.argmax())
    similarity, alone = float(cosines[column]), not np.isfinite(nearest_own)
    if similarity < similarity_min if alone else similarity <= nearest_own:
        return None
    other = snapshot.people[int(snapshot.person_index[column])]
    return MislabelledTemplate(row, other, similarity, None if alone else float(nearest_own))
