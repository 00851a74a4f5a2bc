"""Which threshold is in force, in the order of precedence, and what FPIR it is said to have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jetson_face.calibration.impostor_curve import GallerySize
from jetson_face.calibration.stored import Calibration, full_name, write_calibration
from jetson_face.config import Config
from jetson_face.core.types import EmbeddingSpace, Person
from jetson_face.factory.threshold import (
    ThresholdInForce,
    calibrated,
    curve_of,
    engine,
    own_threshold,
    scoring,
    threshold_in_force,
    thresholds_for,
    unknown_thresholds,
)
from jetson_face.gallery.matcher import GallerySnapshot
from jetson_face.gallery.records import NewTemplate
from jetson_face.gallery.store import GalleryStore
from jetson_face.models.cards import embedding_space, load_card

SPACE = embedding_space(load_card("squeezenet_face"))
DEFAULT = Config()


def configured(**matching: object) -> Config:
    return Config.model_validate({"matching": matching})


def people(count: int, space: EmbeddingSpace = SPACE) -> GallerySnapshot:
    known = tuple(Person(str(n), str(n)) for n in range(count))
    vectors = np.eye(count, space.dim, dtype=np.float32)
    return GallerySnapshot(space, vectors, np.arange(count), known)


def test_the_curve_sets_the_cosine_and_the_rate_is_the_stated_one() -> None:
    force = threshold_in_force(DEFAULT, DEFAULT, people(60), 0.42)
    assert force.source == "impostor curve"
    assert force.fpir == pytest.approx(0.01, rel=1e-6)
    assert str(force).startswith("expected FPIR 1 % with 60 people enrolled (similarity 0.4")
    assert (
        force.similarity_min > threshold_in_force(DEFAULT, DEFAULT, people(6), 0.42).similarity_min
    )


def test_fewer_than_five_people_are_taken_for_five() -> None:
    assert thresholds_for(DEFAULT, people(1)) == thresholds_for(DEFAULT, people(5))
    force = threshold_in_force(DEFAULT, DEFAULT, people(1), 0.42)
    assert force.fpir is not None
    assert force.fpir < 0.005


def test_a_cosine_by_hand_is_used_and_shown_with_the_rate_that_it_means() -> None:
    config = configured(similarity_min=0.35)
    assert thresholds_for(config, people(60)) is None
    force = threshold_in_force(config, config, people(60), 0.42)
    assert (force.source, force.similarity_min) == ("configuration", 0.35)
    assert force.fpir is not None
    assert 0.05 < force.fpir < 0.5


def test_a_network_or_a_method_without_a_curve_keeps_its_own() -> None:
    other = people(60, EmbeddingSpace("other", "0" * 64, 64))
    force = threshold_in_force(DEFAULT, DEFAULT, other, 0.42)
    assert (force.source, force.similarity_min, force.fpir) == ("model card", 0.42, None)
    handed = DEFAULT.model_copy(
        update={"embedder": DEFAULT.embedder.model_copy(update={"model": "nobody_has_its_card"})}
    )
    assert thresholds_for(handed, people(60)) is None
    svm = configured(method="svm")
    assert threshold_in_force(svm, svm, people(60), 0.42).similarity_min == 0.0
    assert own_threshold(DEFAULT) == load_card("squeezenet_face").similarity_min


def test_a_sites_calibration_moves_with_the_gallery_and_the_stated_rate(tmp_path: Path) -> None:
    with GalleryStore.open(tmp_path / "gallery.db", SPACE, create=True) as gallery:
        for number in range(20):
            vector = np.eye(1, SPACE.dim, number, dtype=np.float32)[0]
            picture, marks = np.zeros((8, 8, 3), np.uint8), np.zeros((5, 2), np.float32)
            new = NewTemplate(vector, 0.5, f"{number:064x}", picture, marks, f"{number}.jpg")
            gallery.add_template(gallery.add_person(str(number)), new)
            if number == 9:
                text = scoring(DEFAULT), full_name(SPACE), engine(DEFAULT)
                found = Calibration(0.47, 0.01, 0.0, 0.02, 500, 200, *text, 10, 10, 0.0)
                write_calibration(gallery, found)
                assert calibrated(DEFAULT, gallery).matching.similarity_min == 0.47
        curve = curve_of(DEFAULT, SPACE)
        assert curve is not None
        sizes = [GallerySize(n, ((1, n),)) for n in (10, 20)]
        grown = calibrated(DEFAULT, gallery)
        by = curve.threshold(0.01, sizes[1]) - curve.threshold(0.01, sizes[0])
        assert by > 0.01
        assert grown.matching.similarity_min == pytest.approx(0.47 + by)
        force = threshold_in_force(DEFAULT, grown, gallery.snapshot(), 0.42)
        assert (force.source, force.fpir) == ("site calibration", 0.01)
        strict = calibrated(configured(fpir=0.001), gallery).matching.similarity_min
        assert strict is not None
        assert strict > 0.47 + by + 0.02
        by_hand = configured(similarity_min=0.3)
        assert calibrated(by_hand, gallery) is by_hand


def test_a_threshold_is_told_as_plain_numbers() -> None:
    told = ThresholdInForce(0.412345, "impostor curve", 0.01234567, 1)
    assert told.as_json() == {
        "similarity_min": 0.4123,
        "source": "impostor curve",
        "expected_fpir": 0.01235,
    }
    assert (
        str(told) == "expected FPIR 1.2 % with 1 person enrolled (similarity 0.412, impostor curve)"
    )
    unknown = ThresholdInForce(0.5, "impostor curve", None, 2)
    assert unknown.as_json()["expected_fpir"] is None
    assert str(unknown).startswith("expected FPIR not known with 2 people enrolled")


def test_unknown_people_are_matched_as_strictly_as_the_site_needs() -> None:
    """By the curve; moved as far as the site's calibration moved the gallery's threshold."""
    enrolled, unknowns = people(20), people(60)
    plain = unknown_thresholds(DEFAULT, DEFAULT, enrolled, unknowns, 0.42)
    assert plain == thresholds_for(DEFAULT, unknowns)
    by_hand = configured(similarity_min=0.9)
    assert unknown_thresholds(by_hand, by_hand, enrolled, unknowns, 0.42) == plain
    own = thresholds_for(DEFAULT, enrolled)
    assert own is not None
    site = configured(similarity_min=own[0] + 0.05)
    moved = unknown_thresholds(DEFAULT, site, enrolled, unknowns, 0.42)
    assert moved == pytest.approx([least + 0.05 for least in plain])
    other = people(60, EmbeddingSpace("other", "0" * 64, 64))
    assert unknown_thresholds(DEFAULT, DEFAULT, enrolled, other, 0.42) == (0.42,)
