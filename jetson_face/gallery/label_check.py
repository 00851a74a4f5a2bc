"""Templates that look more like somebody else: photos put under the wrong name, or planted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jetson_face.core.types import Person
from jetson_face.gallery.matcher import GallerySnapshot


@dataclass(frozen=True, slots=True)
class Suspect:
    """A template that is nearer to another person. row: which of its person's, from 0.

    similarity: highest cosine to a template of `other`. own: highest to another template of its own
    person, None where it is the only one.
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


def suspects(snapshot: GallerySnapshot, index: int, similarity_min: float) -> list[Suspect]:
    """The templates of person `index` that are nearer to somebody else than to their own person.

    A person's only template has no company; it is suspect when its cosine to somebody else is
    `similarity_min` or more, the bar above which two faces are one person.
    """
    own = snapshot.person_index == index
    if own.all():
        return []
    cosines = snapshot.vectors[own] @ snapshot.vectors.T
    company = cosines[:, own]
    np.fill_diagonal(company, -np.inf)
    nearest_own = company.max(axis=1)
    cosines[:, own] = -np.inf
    nearest = cosines.argmax(axis=1)
    found = []
    for row, column in enumerate(nearest):
        similarity = float(cosines[row, column])
        alone = not np.isfinite(nearest_own[row])
        if similarity >= similarity_min if alone else similarity > nearest_own[row]:
            other = snapshot.people[int(snapshot.person_index[column])]
            found.append(
                Suspect(row, other, similarity, None if alone else float(nearest_own[row]))
            )
    return found
