"""The impostor curve moved by what few faces of a site say."""

from __future__ import annotations

import numpy as np
import pytest

from jetson_face.calibration.fpir import Scores
from jetson_face.calibration.impostor_curve import GallerySize, ImpostorCurve, Shifts
from jetson_face.calibration.impostors import SourceFace, impostors_of
from jetson_face.calibration.site_shift import PEOPLE_MIN, site_shift
from jetson_face.core.types import Embeddings, EmbeddingSpace

SIZE = GallerySize(20, ((1, 20),))
FPIRS = (0.5, 0.2, 0.1, 0.05, 0.01, 0.001)
NONE = Shifts((1,), (0.0,))
CURVE = ImpostorCurve(
    "made", 1000, 1000, (20,), FPIRS, (tuple(0.2 - 0.05 * np.log(FPIRS)),), {"3": NONE}, NONE
)
"""A face is like somebody at 0.2 - 0.05 ln(p) with probability p."""


def strangers(people: int, by: float, seed: int = 1, faces: int = 3) -> Scores:
    """Faces of a site where everything lies `by` above the curve; a person's are alike."""
    rng = np.random.default_rng(seed)
    own = 0.2 - 0.05 * np.log(rng.uniform(size=people)) + by
    score = np.repeat(own, faces) + rng.normal(0, 0.005, people * faces)
    person = np.repeat(np.arange(people) * 7, faces)
    return Scores(score, np.zeros(len(score), np.bool_), person)


@pytest.mark.parametrize("by", [-0.03, 0.0, 0.03])
def test_many_people_move_the_curve_to_where_they_are(by: float) -> None:
    assert site_shift(strangers(1000, by), CURVE, SIZE) == pytest.approx(by, abs=0.005)


def test_few_people_move_it_little() -> None:
    shifts = [
        [site_shift(strangers(people, 0.03, seed), CURVE, SIZE) for seed in range(40)]
        for people in (12, 40, 400)
    ]
    few, more, many = (float(np.mean(own)) for own in shifts)
    assert 0 < few < more < many < 0.033
    assert few < 0.015
    assert np.std(shifts[0]) < 0.02, "chance alone would be twice as much"


def test_nobody_leaves_it_where_it_is() -> None:
    assert site_shift(strangers(PEOPLE_MIN - 1, 0.3), CURVE, SIZE) == 0.0
    assert site_shift(strangers(PEOPLE_MIN, 0.3), CURVE, SIZE) > 0.0
    assert site_shift(strangers(0, 0.0), CURVE, SIZE) == 0.0


def test_series_are_numbered_as_their_faces_lie() -> None:
    sources = [SourceFace(who, series, series) for who, series in ("aa", "bb", "ac", "bd")]
    faces = Embeddings(np.eye(4, dtype=np.float32), EmbeddingSpace("made", "0" * 64, 4))
    made = impostors_of(sources, faces)
    assert made.source == ("a", "c", "b", "d")
    assert made.person.tolist() == [0, 0, 1, 1]
    assert made.series.tolist() == [0, 1, 2, 3]
