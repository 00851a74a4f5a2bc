"""Tracks become visits; chance is stated for the size of the archive."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from jetson_face.archive.templates import TrackHit
from jetson_face.archive.visits import beyond_the_curve, stated_fpir, visits_of
from jetson_face.calibration.impostor_curve import GallerySize, ImpostorCurve, read_curve
from jetson_face.models.cards import embedding_space, load_card


def hit(camera: str, start: float, end: float, similarity: float, row: int = 0) -> TrackHit:
    return TrackHit(row, f"{camera}-{start}", camera, start, end, start, 3, similarity)


@pytest.fixture(scope="module")
def curve() -> ImpostorCurve:
    """The shipped network's."""
    card = load_card("squeezenet_face")
    assert card.impostors is not None
    return read_curve(Path(card.folder) / card.impostors, embedding_space(card))


def test_tracks_of_one_camera_that_follow_one_another_are_one_visit(curve: ImpostorCurve) -> None:
    hits = [
        hit("door", 0, 10, 0.7),
        hit("door", 35, 50, 0.9),  # 25 s later: turned away and came back
        hit("door", 20, 22, 0.1),  # somebody else, in between
        hit("yard", 36, 50, 0.8),
        hit("door", 81, 90, 0.6),  # 31 s later
    ]
    visits = visits_of(hits, similarity_min=0.4, searched=100, curve=curve)
    assert [(v.camera, v.start, v.end, v.similarity, len(v.tracks)) for v in visits] == [
        ("door", 0, 50, 0.9, 2),
        ("yard", 36, 50, 0.8, 1),
        ("door", 81, 90, 0.6, 1),
        ("door", 20, 22, 0.1, 1),
    ]
    assert visits[0].tracks[0].similarity == 0.9


def test_the_rate_is_the_curves_for_so_many_tracks(curve: ImpostorCurve) -> None:
    size = GallerySize(200, ((1, 200),), 1)
    cosine = curve.threshold(0.01, size, 3)
    assert stated_fpir(cosine, 3, 200, curve) == pytest.approx(0.01, rel=0.02)
    rates = [stated_fpir(cosine, 3, count, curve) for count in (50, 200, 1000, 100_000)]
    assert all(a and b and (a < b or b == 1) for a, b in pairwise(rates))
    assert stated_fpir(cosine, 3, 0, curve) is None
    assert stated_fpir(cosine, 3, 200, None) is None
    assert not beyond_the_curve(curve.sizes[-1], curve)
    assert beyond_the_curve(curve.sizes[-1] + 1, curve)
