"""A stated FPIR becomes a cosine: measured on made faces, read back, and kept on other people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jetson_face.calibration.curve_measuring import measure_curve
from jetson_face.calibration.fpir import exact_interval
from jetson_face.calibration.impostor_curve import (
    GallerySize,
    ImpostorCurve,
    log_odds_of_none,
    read_curve,
)
from jetson_face.calibration.impostors import Impostors
from jetson_face.core.errors import CalibrationError, EmbeddingSpaceError, InputBrokenError
from jetson_face.core.types import F32, Embeddings, EmbeddingSpace, Person
from jetson_face.embedding.card import unit_vectors
from jetson_face.gallery.matcher import GallerySnapshot, Matcher
from jetson_face.models.cards import embedding_space, load_card

SPACE = EmbeddingSpace("made", "0" * 64, 16)


def people(count: int, faces: int, seed: int) -> F32:
    """(count, faces, 16): people around one common direction, so that some are like many."""
    rng = np.random.default_rng(seed)
    who = rng.normal(size=(count, 1, 16)) + 0.6
    made = who + 0.5 * rng.normal(size=(count, faces, 16))
    return unit_vectors(made.reshape(-1, 16).astype(np.float32), "made").reshape(count, faces, 16)


def impostors(vectors: F32) -> Impostors:
    count, faces, dim = vectors.shape
    person = np.repeat(np.arange(count), faces)
    flat = Embeddings(vectors.reshape(-1, dim), SPACE)
    return Impostors(flat, person, person.copy(), tuple(map(str, person)))


@pytest.fixture(scope="module")
def curve() -> ImpostorCurve:
    return measure_curve(impostors(people(300, 3, 1)))


def enrolled(vectors: F32) -> GallerySnapshot:
    count, faces, dim = vectors.shape
    known = tuple(Person(str(who), str(who)) for who in range(count))
    return GallerySnapshot(
        SPACE, vectors.reshape(-1, dim).copy(), np.repeat(np.arange(count), faces), known
    )


@pytest.mark.parametrize(("size", "templates"), [(5, 1), (20, 1), (20, 3), (60, 3)])
def test_other_people_are_named_as_seldom_as_stated(
    curve: ImpostorCurve, size: int, templates: int
) -> None:
    everybody = people(2000, 3, 2)
    hits = trials = 0
    for first in range(0, 1000, size):
        gallery = enrolled(everybody[first : first + size, :templates])
        least = curve.threshold(0.05, GallerySize.of(gallery, 3))
        scores = Matcher(gallery).scores(Embeddings(everybody[1000:, 0], SPACE))
        hits += int((scores.max(axis=1) >= least).sum())
        trials += len(scores)
    # as wide as 1,000 faces make it: they are asked again of every gallery
    low, high = exact_interval(hits / trials, 1000)
    assert low < 0.05 < high, (hits / trials, low, high)


def test_a_larger_gallery_needs_a_higher_cosine(curve: ImpostorCurve) -> None:
    def least(count: int) -> float:
        return curve.threshold(0.05, GallerySize(count, ((1, count),)))

    assert least(1) < least(5) < least(20) < least(100) < least(1000)


def test_threshold_and_rate_are_each_others_inverse(curve: ImpostorCurve) -> None:
    size = GallerySize(30, ((1, 10), (4, 20)))
    for fpir in (0.2, 0.03, 0.004):
        for frames in (1, 3):
            least = curve.threshold(fpir, size, frames)
            assert curve.fpir(least, size, frames) == pytest.approx(fpir, rel=1e-6)
    assert curve.fpir(0.4, GallerySize(0, ())) == 0.0


def test_nobody_of_those_drawn_is_hit_as_counting_says() -> None:
    rng = np.random.default_rng(3)
    drawn = [rng.permutation(40)[:10] for _ in range(20000)]
    none = np.mean([(own >= 3).all() for own in drawn])  # people 0, 1 and 2 are hits
    assert np.exp(log_odds_of_none([3], 40, 10))[0] == pytest.approx(none, abs=0.01)


def test_a_curve_is_read_back_and_refuses_another_network(
    curve: ImpostorCurve, tmp_path: Path
) -> None:
    path = tmp_path / "curve.json"
    curve.save(path)
    size = GallerySize(7, ((2, 7),))
    assert read_curve(path, SPACE).threshold(0.01, size) == pytest.approx(
        curve.threshold(0.01, size), abs=1e-4
    )
    with pytest.raises(EmbeddingSpaceError, match="measured with"):
        read_curve(path, EmbeddingSpace("made", "1" * 64, 16))
    path.write_text(path.read_text().replace("impostor-curve/1", "impostor-curve/9"))
    with pytest.raises(InputBrokenError, match="another schema"):
        read_curve(path, SPACE)


def test_too_few_people_make_no_curve() -> None:
    with pytest.raises(CalibrationError, match="49 people"):
        measure_curve(impostors(people(49, 2, 1)))


def test_every_card_with_a_curve_has_one_of_its_own_space() -> None:
    folder = load_card("squeezenet_face").folder
    found = 0
    for path in folder.glob("*.yaml"):
        card = load_card(path)
        if card.impostors is not None:
            curve = read_curve(folder / card.impostors, embedding_space(card))
            assert curve.people > 1000
            found += 1
    assert found


def test_the_operators_page_has_the_cosines_of_the_shipped_curve() -> None:
    card = load_card("squeezenet_face")
    assert card.impostors is not None
    curve = read_curve(card.folder / card.impostors, embedding_space(card))
    page = " ".join((Path(__file__).parents[2] / "docs/operator.md").read_text("utf-8").split())

    def cosine(people: int, photos: int) -> str:
        size = GallerySize(people, ((photos, people),), 3)
        return f"{curve.threshold(0.01, size):.2f}"

    two, one = ([cosine(people, each) for people in (5, 60, 600)] for each in (2, 1))
    assert f"two photos of each person it is {two[0]} with 5 people, {two[1]} with 60" in page
    assert f"{two[2]} with 600; with a single photo of each {', '.join(one)}." in page
    at_two = curve.fpir(curve.threshold(0.01, GallerySize(5, ((2, 5),), 3)),
                        GallerySize(2, ((2, 2),), 3))  # fmt: skip
    assert f"({100 * at_two:.2g} % with 2 people)" in page
