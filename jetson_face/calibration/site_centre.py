"""What all faces of a site have in common: the mean of its people's vectors, taken from each.

Light, lens and crowd of one camera move all vectors one way; less that, people of the site are
further apart. The mean of other faces (those a network was trained with) gains nothing. How much
it gains on people who are not in the mean: `jetson-face eval centre`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jetson_face.calibration.fpir import Scores, together
from jetson_face.calibration.impostors import Impostors, averaged
from jetson_face.calibration.leave_one_out import Enrol, ask
from jetson_face.core.errors import CalibrationError
from jetson_face.core.types import F32, I64
from jetson_face.gallery.matcher import GallerySnapshot

LEAST_PEOPLE = 100
"""With 50 half of the gain is there, with fewer it may be a loss."""
_FOLDS = 5


def learn_centre(snapshot: GallerySnapshot, impostors: Impostors) -> F32:
    """(dim,) the mean of everybody's mean, enrolled or not; each person counts once.

    Raises CalibrationError for fewer than `LEAST_PEOPLE`.
    """
    people = len(snapshot.people) + len(np.unique(impostors.person))
    if people < LEAST_PEOPLE:
        raise CalibrationError(
            f"{people} people, enrolled and not: a site's centre needs {LEAST_PEOPLE}: give "
            "pictures of more people of this camera with --impostors, or go without --centre"
        )
    return _mean(snapshot, impostors.faces.vectors, impostors.person)


def strangers_without_themselves(
    snapshot: GallerySnapshot,
    impostors: Impostors,
    enrol: Callable[[F32], Enrol],
    *,
    margin_min: float = 0.0,
    average: int = 1,
) -> Scores:
    """Faces of the impostors, each asked with a centre that is learned without a fifth of the
    people, its own person among them: as people who come later will be.

    enrol: from a centre and templates to what answers. average: faces of a series at a time.
    """
    found: list[Scores] = []
    people = np.unique(impostors.person)
    for fold in range(_FOLDS):
        out = np.isin(impostors.person, people[fold::_FOLDS])
        if not out.any():
            continue
        centre = _mean(snapshot, impostors.faces.vectors[~out], impostors.person[~out])
        faces, person = averaged(impostors, average, out)
        found.append(ask(enrol(centre)(snapshot), faces, person, margin_min))
    return together(found)


def _mean(snapshot: GallerySnapshot, vectors: F32, person: I64) -> F32:
    sums = [*_by_person(snapshot.vectors, snapshot.person_index), *_by_person(vectors, person)]
    return np.asarray(np.mean(sums, axis=0), np.float32)


def _by_person(vectors: F32, person: I64) -> list[F32]:
    """The mean vector of each, of length 1."""
    found = []
    for who in np.unique(person):
        mean = vectors[person == who].mean(axis=0)
        found.append(np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), np.float32))
    return found
