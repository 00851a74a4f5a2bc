"""A site's centre: learned from people, taken from all vectors, kept with its threshold."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jetson_face.calibration.fpir import threshold_for
from jetson_face.calibration.impostors import Impostors
from jetson_face.calibration.operating_point import CalibrationTrial, CentredTrial
from jetson_face.calibration.site_centre import learn_centre, strangers_without_themselves
from jetson_face.calibration.stored import Calibration, read_calibration, write_calibration
from jetson_face.config import load_config
from jetson_face.core.errors import CalibrationError
from jetson_face.core.types import F32, Embeddings, EmbeddingSpace, Person
from jetson_face.factory.parts import build_matcher, open_gallery
from jetson_face.factory.threshold import (
    calibrated,
    centre_of,
    curve_of,
    threshold_in_force,
    thresholds_for,
)
from jetson_face.gallery.matcher import GallerySnapshot, Matcher, centred
from jetson_face.models.cards import embedding_space, load_card
from tests.calibration.test_calibration import calibration

SPACE = EmbeddingSpace("site", "0" * 64, 16)


def site(
    people: int, faces: int = 2, *, seed: int = 1, shared: float = 1.0, noise: float = 0.5
) -> tuple[F32, np.ndarray[Any, np.dtype[np.int64]]]:
    """Faces of people of one camera, which moves all vectors one way."""
    rng = np.random.default_rng(seed)
    common = np.eye(SPACE.dim)[0] * shared * np.sqrt(SPACE.dim)
    who = np.repeat(np.arange(people), faces)
    vectors = rng.normal(size=(people, SPACE.dim))[who] + common
    vectors += noise * rng.normal(size=vectors.shape)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(unit, np.float32), who


def gallery(people: int = 10, **more: Any) -> GallerySnapshot:
    vectors, who = site(people, **more)
    known = tuple(Person(f"p{n}", f"P{n}") for n in range(people))
    return GallerySnapshot(SPACE, vectors, who, known)


def impostors(people: int, **more: Any) -> Impostors:
    vectors, who = site(people, **{"seed": 2, **more})
    return Impostors(Embeddings(vectors, SPACE), who, who, ("x.jpg",) * len(who))


def test_the_matcher_compares_without_the_centre() -> None:
    centre = np.array([0.5, *[0.0] * 15], np.float32)
    snapshot, probes = gallery(), Embeddings(site(4, seed=9)[0], SPACE)
    plain, other = Matcher(snapshot, top_k=1), Matcher(snapshot, top_k=1, centre=centre)
    templates, asked = centred(snapshot.vectors, centre), centred(probes.vectors, centre)
    np.testing.assert_allclose(np.linalg.norm(templates, axis=1), 1, atol=1e-6)
    best = (asked @ templates.T).reshape(len(asked), 10, 2).max(axis=2)
    np.testing.assert_allclose(other.scores(probes), best, atol=1e-5)
    assert not np.allclose(plain.scores(probes), best, atol=0.05)
    np.testing.assert_array_equal(snapshot.vectors, gallery().vectors)


def test_every_person_counts_once() -> None:
    vectors, who = site(100, faces=1)
    many = np.concatenate([vectors, np.repeat(vectors[:1], 500, axis=0)])
    owner = np.concatenate([who, np.zeros(500, np.int64)])
    order = np.argsort(owner, kind="stable")
    faces = Impostors(
        Embeddings(many[order], SPACE), owner[order], owner[order], ("x.jpg",) * len(order)
    )
    empty = GallerySnapshot.empty(SPACE)
    np.testing.assert_allclose(learn_centre(empty, faces), vectors.mean(axis=0), atol=1e-5)
    with pytest.raises(CalibrationError, match="99 people, enrolled and not"):
        learn_centre(gallery(9), impostors(90))


def test_nobody_is_asked_with_a_centre_that_has_them() -> None:
    faces, asked = impostors(20), []

    def enrol(centre: F32) -> Callable[[GallerySnapshot], Matcher]:
        asked.append(centre)
        return lambda people: Matcher(people, centre=centre)

    scores = strangers_without_themselves(gallery(), faces, enrol)
    assert sorted(scores.person.tolist()) == faces.person.tolist()
    known = [gallery().vectors[row : row + 2].mean(axis=0) for row in range(0, 20, 2)]
    known += [faces.faces.vectors[faces.person == who].mean(axis=0)
              for who in range(20) if who % 5]  # fmt: skip
    mean = np.mean([one / np.linalg.norm(one) for one in known], axis=0)
    np.testing.assert_allclose(asked[0], mean, atol=1e-5)
    assert len(asked) == 5


def test_people_of_a_camera_are_told_apart_better_and_no_more_strangers_get_a_name() -> None:
    """A threshold of FPIR 2 %, asked of people who were in neither centre nor calibration."""
    snapshot, outside = gallery(20), impostors(400)
    later = Embeddings(site(2000, faces=1, seed=5)[0], SPACE)
    own = np.random.default_rng(6)
    noisy = snapshot.vectors + 0.1 * own.normal(size=snapshot.vectors.shape)
    genuine = Embeddings(
        np.asarray(noisy / np.linalg.norm(noisy, axis=1, keepdims=True), np.float32), SPACE
    )
    found = []
    for trial in (
        CalibrationTrial(snapshot, Matcher, outside),
        CentredTrial(snapshot, lambda c: lambda people: Matcher(people, centre=c), outside),
    ):
        centre = None if trial.centre is None else np.array(trial.centre, np.float32)
        least = threshold_for(trial.strangers(), 0.02)
        matcher = Matcher(snapshot, centre=centre)
        named = np.mean([m.similarity >= least for m in matcher.match(later)])
        right = np.mean(
            [
                m.similarity >= least and m.person == snapshot.people[who]
                for m, who in zip(matcher.match(genuine), snapshot.person_index, strict=True)
            ]
        )
        found.append((named, right))
    (plain, before), (site_s, after) = found
    assert 0.01 < plain < 0.035
    assert 0.01 < site_s < 0.035
    assert after > before + 0.05


NETWORK = embedding_space(load_card("squeezenet_face"))


def with_centre(centre: tuple[float, ...] | None) -> Calibration:
    return Calibration.from_json(
        json.dumps(json.loads(calibration(NETWORK).as_json()) | {"centre": centre})
    )  # type: ignore[return-value]


def test_it_is_kept_with_the_threshold_that_belongs_to_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = load_config(None, [f"state_dir={tmp_path}"])
    centre = tuple(float(x) for x in np.linspace(0, 0.1, NETWORK.dim))
    with open_gallery(config, NETWORK, create=True) as store:
        write_calibration(store, with_centre(centre))
        assert read_calibration(store) == with_centre(centre)
        site_config = calibrated(config, store)
        found = centre_of(site_config)
        assert found is not None
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, np.array(centre), atol=1e-7)
        assert site_config.matching.similarity_min == 0.47
        snapshot = store.snapshot()
        assert thresholds_for(site_config, snapshot) is None
        assert curve_of(config, NETWORK) is not None
        assert curve_of(site_config, NETWORK) is None, "it is measured without a centre"
        force = threshold_in_force(config, site_config, snapshot, 0.42)
        assert str(force).endswith("site calibration, centred on the site)")
        assert force.as_json()["centred"] is True
        matcher = build_matcher(site_config, snapshot, 0.42)
        assert matcher._centre is not None
        by_hand = load_config(None, ["matching.similarity_min=0.3"])
        assert centre_of(calibrated(by_hand, store)) is None, "a cosine by hand is of plain vectors"
        write_calibration(store, with_centre(centre[:5]))
        assert calibrated(config, store) is config
        assert "its centre is damaged" in caplog.text
        write_calibration(store, None)
        assert centre_of(calibrated(config, store)) is None
        write_calibration(store, with_centre(None))
        assert centre_of(calibrated(config, store)) is None
