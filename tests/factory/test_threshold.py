"""Which threshold is in force, in the order of precedence, and what FPIR it is said to have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jetson_face.calibration.fpir import Scores
from jetson_face.calibration.impostor_curve import GallerySize, ImpostorCurve
from jetson_face.calibration.site_shift import site_shift
from jetson_face.calibration.stored import Calibration, write_calibration
from jetson_face.config import Config, PluginEmbedderConfig, load_config
from jetson_face.core.types import EmbeddingSpace, Person
from jetson_face.factory.threshold import (
    ThresholdInForce,
    calibrated,
    curve_of,
    engine,
    moved_for_site,
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
from tests.factory.small_embedder import small_card

SPACE = embedding_space(load_card("squeezenet_face"))


def configured(**matching: object) -> Config:
    told = {"matching": matching, "embedder": {"precision": "fp32"}}
    return Config.model_validate(told)


DEFAULT = configured()


def people(count: int, space: EmbeddingSpace = SPACE) -> GallerySnapshot:
    return with_templates(*[1] * count, space=space)


def with_templates(*counts: int, space: EmbeddingSpace = SPACE) -> GallerySnapshot:
    """Somebody with each number of templates."""
    known = tuple(Person(str(n), str(n)) for n in range(len(counts)))
    vectors = np.eye(sum(counts), space.dim, dtype=np.float32)
    return GallerySnapshot(space, vectors, np.repeat(np.arange(len(counts)), counts), known)


def site_gallery(tmp_path: Path, people: int, templates: int = 1) -> GalleryStore:
    gallery = GalleryStore.open(tmp_path / "gallery.db", SPACE, create=True)
    picture, marks = np.zeros((8, 8, 3), np.uint8), np.zeros((5, 2), np.float32)
    with gallery.transaction():
        for number in range(people * templates):
            who = number // templates
            if number % templates == 0:
                person = gallery.add_person(str(who))
            vector = np.eye(1, SPACE.dim, number, dtype=np.float32)[0]
            new = NewTemplate(vector, 0.5, f"{number:064x}", picture, marks, f"{number}.jpg")
            gallery.add_template(person, new)
    return gallery


def with_embedder(embedder: object) -> Config:
    return DEFAULT.model_copy(update={"embedder": embedder})


def the_curve() -> ImpostorCurve:
    curve = curve_of(DEFAULT, SPACE)
    assert curve is not None
    return curve


def strangers(people: int, cosine: float = 0.45) -> Scores:
    """Two faces of each, between 0.1 below and 0.1 above."""
    score = np.linspace(cosine - 0.1, cosine + 0.1, 2 * people)
    return Scores(score, np.zeros(2 * people, np.bool_), np.repeat(np.arange(people), 2))


def test_the_curve_sets_the_cosine_and_the_rate_is_the_stated_one() -> None:
    force = threshold_in_force(DEFAULT, DEFAULT, people(60), 0.42)
    assert force.source == "impostor curve"
    assert force.fpir == pytest.approx(0.01, rel=1e-6)
    known = thresholds_for(DEFAULT, people(60))
    assert known is not None
    assert force.similarity_min == known[0] < known[1]
    assert str(force).startswith("expected FPIR 1 % with 60 people enrolled (similarity 0.4")
    assert (
        force.similarity_min > threshold_in_force(DEFAULT, DEFAULT, people(6), 0.42).similarity_min
    )


def test_fewer_than_five_people_are_taken_for_five() -> None:
    assert thresholds_for(DEFAULT, people(1)) == thresholds_for(DEFAULT, people(5))
    force = threshold_in_force(DEFAULT, DEFAULT, people(1), 0.42)
    assert force.fpir is not None
    assert force.fpir < 0.005


def test_a_small_gallery_counts_as_five_people_with_as_many_templates_each() -> None:
    for top_k in (1, 3):
        config = configured(top_k=top_k)
        five = GallerySize(5, ((1, 3), (4, 2)), top_k)
        found = thresholds_for(config, with_templates(1, 1, 4))
        assert found == the_curve().by_frames(0.01, five)
        larger = GallerySize(6, ((1, 4), (4, 2)), top_k)
        found = thresholds_for(config, with_templates(1, 1, 1, 1, 4, 4))
        assert found == the_curve().by_frames(0.01, larger)
        force = threshold_in_force(config, config, with_templates(*[4] * 6), 0.42)
        assert force.fpir == pytest.approx(0.01, rel=1e-6)


@pytest.mark.parametrize(
    ("templates", "as_five"),
    [
        ((2, 2, 3, 3), ((2, 2), (3, 3))),
        ((1, 2, 3, 4), ((1, 1), (2, 1), (3, 1), (4, 2))),
        ((1, 2), ((1, 2), (2, 3))),
        ((1, 2, 3), ((1, 1), (2, 2), (3, 2))),
    ],
)
def test_it_is_five_people_whatever_their_templates(
    templates: tuple[int, ...], as_five: tuple[tuple[int, int], ...]
) -> None:
    found = thresholds_for(DEFAULT, with_templates(*templates))
    five = GallerySize(5, as_five, DEFAULT.matching.top_k)
    assert found == the_curve().by_frames(0.01, five)


def test_with_nobody_enrolled_nobody_gets_a_name() -> None:
    force = threshold_in_force(DEFAULT, DEFAULT, people(0), 0.42)
    assert force == ThresholdInForce(0.42, "model card", 0.0, 0)


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
    handed = with_embedder(DEFAULT.embedder.model_copy(update={"model": "nobody_has_its_card"}))
    assert thresholds_for(handed, people(60)) is None
    svm = configured(method="svm")
    assert threshold_in_force(svm, svm, people(60), 0.42) == ThresholdInForce(
        0.0, "model card", None, 60
    )
    assert own_threshold(handed) == 0
    plugin = PluginEmbedderConfig.model_construct(type="plugin", name="theirs", options={})
    assert own_threshold(with_embedder(plugin)) == 0
    detector = with_embedder(DEFAULT.embedder.model_copy(update={"model": "yunet"}))
    assert (own_threshold(detector), curve_of(detector, SPACE)) == (0, None)
    assert own_threshold(DEFAULT) == load_card("squeezenet_face").similarity_min


def test_a_network_that_was_added_has_the_threshold_of_its_card(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "small"
    folder.mkdir(parents=True)
    small_card(folder)
    assert (
        own_threshold(load_config(None, [f"state_dir={tmp_path}", "embedder.model=small"])) == 0.5
    )


def test_a_sites_calibration_moves_with_the_gallery_and_the_stated_rate(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with GalleryStore.open(tmp_path / "gallery.db", SPACE, create=True) as gallery:
        for number in range(20):
            vector = np.eye(1, SPACE.dim, number, dtype=np.float32)[0]
            picture, marks = np.zeros((8, 8, 3), np.uint8), np.zeros((5, 2), np.float32)
            new = NewTemplate(vector, 0.5, f"{number:064x}", picture, marks, f"{number}.jpg")
            gallery.add_template(gallery.add_person(str(number)), new)
            if number == 9:
                text = scoring(DEFAULT), SPACE.full_name, engine(DEFAULT)
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
        strict = calibrated(configured(fpir=0.001), gallery).matching
        assert strict.fpir == 0.001
        assert strict.similarity_min is not None
        assert strict.similarity_min > 0.47 + by + 0.02
        by_hand = configured(similarity_min=0.3)
        assert calibrated(by_hand, gallery) is by_hand
    assert not caplog.records  # the curve knows what growth does


@pytest.mark.parametrize("top_k", [1, 3])
def test_a_calibration_moves_as_the_curve_does_for_this_way_of_matching(
    tmp_path: Path, top_k: int
) -> None:
    config = configured(top_k=top_k)
    with site_gallery(tmp_path, 6, templates=5) as gallery:
        text = scoring(config), SPACE.full_name, engine(config)
        write_calibration(gallery, Calibration(0.47, 0.01, 0.0, 0.02, 500, 200, *text, 6, 6, 0.0))
        found = calibrated(config, gallery).matching.similarity_min
    then, now = (GallerySize(6, ((each, 6),), top_k) for each in (1, 5))
    by = the_curve().threshold(0.01, now) - the_curve().threshold(0.01, then)
    assert found == pytest.approx(0.47 + by)
    assert by > 0.04 or top_k == 3


def test_a_calibration_that_moves_beyond_1_stays_there(tmp_path: Path) -> None:
    with site_gallery(tmp_path, 20) as gallery:
        text = scoring(DEFAULT), SPACE.full_name, engine(DEFAULT)
        write_calibration(gallery, Calibration(0.999, 0.01, 0.0, 0.02, 500, 200, *text, 2, 2, 0.0))
        assert calibrated(DEFAULT, gallery).matching.similarity_min == 1.0


def test_the_rate_shown_is_that_of_the_calibration_where_no_curve_can_move_it(
    tmp_path: Path,
) -> None:
    """`calibrate --fpir 0.05 --write`, with `matching.fpir` as it is."""
    svm = configured(method="svm")
    centre = tuple([0.01] * SPACE.dim)
    with site_gallery(tmp_path, 6) as gallery:
        for config, common in ((svm, None), (DEFAULT, centre)):
            text = scoring(config), SPACE.full_name, engine(config)
            found = Calibration(0.3, 0.05, 0.0, 0.1, 500, 200, *text, 6, 6, 0.0, common)
            write_calibration(gallery, found)
            site = calibrated(config, gallery)
            force = threshold_in_force(config, site, gallery.snapshot(), 0.42)
            assert force == ThresholdInForce(
                0.3, "site calibration", 0.05, 6, centred=common is not None
            )


def test_a_calibration_says_what_is_wrong_with_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with site_gallery(tmp_path, 6) as gallery:
        svm = configured(method="svm")
        text = scoring(svm), SPACE.full_name, "tensorrt fp16"
        write_calibration(gallery, Calibration(0.3, 0.05, 0.0, 0.1, 9, 9, *text, 2, 2, 0.0))
        assert calibrated(DEFAULT, gallery) is DEFAULT
        calibrated(svm, gallery)
    again = "; run: jetson-face calibrate --write"
    assert caplog.messages == [
        "calibration_unfit goes_on_with=default why=matching was svm margin_min=0.03 and is "
        f"cosine top_k=3 margin_min=0.03{again}",
        "calibration_old why=the gallery grew from 2 to 6 people: about 3.0 times as many "
        f"strangers get a name{again}",
        f"calibration_old why=the network ran on tensorrt fp16 and runs on onnxruntime fp32{again}",
    ]


def test_a_way_of_matching_is_told_with_what_changes_its_scores() -> None:
    assert [scoring(configured(method=method, top_k=2, neighbours=7, margin_min=0.1))
            for method in ("cosine", "knn", "siamese", "svm", "softmax")] == [
        "cosine top_k=2 margin_min=0.1",
        "knn neighbours=7 margin_min=0.1",
        "siamese top_k=2 margin_min=0.1",
        "svm margin_min=0.1",
        "softmax margin_min=0.1",
    ]  # fmt: skip


def test_what_runs_the_network_is_told_with_its_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = {"type": "tensorrt", "precision": "int8"}
    assert engine(Config.model_validate({"backend": backend})) == "tensorrt int8"
    half = Config.model_validate({"embedder": {"precision": "fp16"}})
    assert engine(half) == "onnxruntime fp16"
    for by, precision in (("VNNI", "int8"), (None, "fp32")):
        monkeypatch.setattr("jetson_face.factory.choice._byte_maths", lambda by=by: by)
        assert engine(Config()) == f"onnxruntime {precision}"
    nobodys = Config().embedder.model_copy(update={"model": "nobody_has_its_card"})
    assert engine(Config().model_copy(update={"embedder": nobodys})) == "onnxruntime fp32"


@pytest.mark.parametrize("frames", [1, 2])
def test_few_strangers_move_the_networks_curve(frames: int) -> None:
    config, gallery = configured(top_k=1), with_templates(4, 4, 4)
    found = moved_for_site(config, gallery, strangers(10), 0.02, frames)
    by = site_shift(strangers(10), the_curve(), GallerySize(3, ((4, 3),), 1), frames)
    curve = the_curve().threshold(0.02, GallerySize(5, ((4, 5),), 1), frames)
    assert found is not None
    assert found[0] == pytest.approx(curve + by)
    assert found[1] == by
    assert by != 0
    if frames == 1:
        assert moved_for_site(config, gallery, strangers(10), 0.02) == found


def test_without_a_curve_or_with_nearly_nobody_it_is_not_moved() -> None:
    assert moved_for_site(DEFAULT, people(60), strangers(9), 0.02) is None
    svm = configured(method="svm")
    assert moved_for_site(svm, people(60), strangers(10), 0.02) is None
    extreme = moved_for_site(DEFAULT, people(60), strangers(500, 3.0), 1e-9)
    assert extreme is not None
    assert extreme[0] == 1.0


def test_a_threshold_is_told_as_plain_numbers() -> None:
    told = ThresholdInForce(0.412345, "impostor curve", 0.05423456, 1)
    assert told.as_json() == {
        "similarity_min": 0.4123,
        "source": "impostor curve",
        "expected_fpir": 0.05423,
    }
    assert (
        str(told) == "expected FPIR 5.4 % with 1 person enrolled (similarity 0.412, impostor curve)"
    )
    unknown = ThresholdInForce(0.5, "impostor curve", None, 2)
    assert unknown.as_json()["expected_fpir"] is None
    assert str(unknown).startswith("expected FPIR not known with 2 people enrolled")


def test_unknown_people_are_matched_as_strictly_as_the_site_needs() -> None:
    """By the curve; moved as far as the site's calibration moved the gallery's threshold."""
    enrolled, unknowns = people(20), people(60)
    plain = unknown_thresholds(DEFAULT, DEFAULT, enrolled, unknowns, 0.42)
    assert plain == thresholds_for(DEFAULT, unknowns)
    lax = Config.model_validate({"unknown": {"fpir": 0.1}})
    assert unknown_thresholds(lax, lax, enrolled, unknowns, 0.42) == the_curve().by_frames(
        0.1, GallerySize(60, ((1, 60),))
    )
    by_hand = configured(similarity_min=0.9)
    assert unknown_thresholds(by_hand, by_hand, enrolled, unknowns, 0.42) == plain
    own = thresholds_for(DEFAULT, enrolled)
    assert own is not None
    site = configured(similarity_min=own[0] + 0.05)
    moved = unknown_thresholds(DEFAULT, site, enrolled, unknowns, 0.42)
    assert moved == pytest.approx([least + 0.05 for least in plain])
    strictest = configured(similarity_min=1.0)
    assert set(unknown_thresholds(DEFAULT, strictest, enrolled, unknowns, 0.42)) == {1.0}
    svm = configured(method="svm")
    assert unknown_thresholds(svm, svm, enrolled, unknowns, 0.42) == plain
    other = people(60, EmbeddingSpace("other", "0" * 64, 64))
    assert unknown_thresholds(DEFAULT, DEFAULT, enrolled, other, 0.42) == (0.42,)
