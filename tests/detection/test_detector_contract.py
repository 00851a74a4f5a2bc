"""Every detector keeps the same promises, and finds the same face."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest

from jetson_face.config import AutoDetectorConfig, HaarConfig, MtcnnConfig, load_config
from jetson_face.core.errors import ConfigError, InputMissingError, ModelError
from jetson_face.core.types import ImageU8
from jetson_face.detection.detector import AreaSearch, Detector, SearchMany, SecondLook
from jetson_face.detection.dlib import upsampling
from jetson_face.detection.haar import turning, turns
from jetson_face.detection.landmarks import face_from, five_of_5, five_of_68
from jetson_face.detection.yunet import YuNet, searched_side
from jetson_face.detection.yunet_decode import STRIDES, decode
from jetson_face.factory.networks import build_detector

EYES = np.array([[204, 101], [246, 103]])
SETTINGS = {
    "mtcnn": "{type: mtcnn}",
    "haar": "{type: haar, turn_step_deg: 60}",
    "haar_eyes": "{type: haar, points: eyes, turn_max_deg: 0}",
    "dlib": "{type: dlib}",
    "dlib5": "{type: dlib, points: dlib5}",
    "yunet": "{type: yunet}",
}


@pytest.fixture(scope="module")
def portrait() -> ImageU8:
    file = importlib.metadata.distribution("scikit-image").locate_file("skimage/data/astronaut.png")
    image = cv2.imread(str(file))
    assert image is not None
    return np.ascontiguousarray(image[:300, 100:400], np.uint8)


@pytest.fixture(scope="module", params=list(SETTINGS))
def detector(request: pytest.FixtureRequest) -> Iterator[Detector]:
    config = load_config(None, [f"detector={SETTINGS[request.param]}"])
    built = build_detector(config)
    yield built
    built.close()


def test_it_finds_the_face_and_its_eyes(detector: Detector, portrait: ImageU8) -> None:
    found = detector.detect(portrait)
    assert len(found) >= 1
    np.testing.assert_allclose(found.landmarks[0, :2], EYES - [100, 0], atol=6)
    left, right, nose, mouth_left, mouth_right = found.landmarks[0]
    assert left[0] < nose[0] < right[0]
    assert mouth_left[0] < mouth_right[0]
    assert left[1] < nose[1] < mouth_left[1]


def test_shapes_order_and_bounds(detector: Detector, portrait: ImageU8) -> None:
    cut = np.ascontiguousarray(portrait[75:200, 60:170])
    found = detector.detect(cut)
    assert found.landmarks.shape == (len(found), 5, 2)
    assert (np.diff(found.scores) <= 0).all()
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [110, 125, 110, 125]).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()


def test_nothing_to_find_keeps_the_shapes(detector: Detector) -> None:
    for shape in [(5, 5), (20, 90), (120, 120)]:
        found = detector.detect(np.full((*shape, 3), 120, np.uint8))
        assert found.landmarks.shape == (0, 5, 2)
        assert found.boxes.shape == (0, 4)


def test_strides_do_not_matter(detector: Detector, portrait: ImageU8) -> None:
    wide = np.zeros((300, 600, 3), np.uint8)
    wide[:, ::2] = portrait
    view = wide[:, ::2]
    view.flags.writeable = False
    np.testing.assert_array_equal(detector.detect(view).boxes, detector.detect(portrait).boxes)


def test_haar_finds_a_tilted_head_only_when_it_turns_the_picture(portrait: ImageU8) -> None:
    matrix, size = turning(300, 300, 50)
    tilted = np.asarray(cv2.warpAffine(portrait, matrix, size), np.uint8)
    points = matrix[:, :2] @ (EYES - [100, 0]).T + matrix[:, 2:]
    text = "detector={{type: haar, points: dlib5, turn_max_deg: {}, turn_step_deg: 50}}"
    still = build_detector(load_config(None, [text.format(0)])).detect(tilted)
    turned = build_detector(load_config(None, [text.format(50)])).detect(tilted)
    assert not any(np.abs(face[0] - points[:, 0]).max() < 12 for face in still.landmarks)
    np.testing.assert_allclose(turned.landmarks[0, :2], points.T, atol=8)


def test_angles_go_from_minus_to_plus() -> None:
    assert turns(60, 20) == (-60, -40, -20, 0, 20, 40, 60)
    assert turns(0, 20) == (0,)
    assert turns(60, 25) == (-50, -25, 0, 25, 50)
    with pytest.raises(ValueError, match="step"):
        turns(60, 0)


@pytest.mark.parametrize(("face", "times"), [(80, 0), (72, 0), (40, 1), (20, 2), (12, 2)])
def test_hog_doubles_the_picture_for_small_faces(face: float, times: int) -> None:
    assert upsampling(face) == times


def test_points_of_other_schemes_become_ours() -> None:
    shape = np.arange(136, dtype=np.float32).reshape(68, 2)
    ours = five_of_68(shape)
    np.testing.assert_array_equal(ours[2:], shape[[30, 48, 54]])
    np.testing.assert_allclose(ours[0], shape[36:42].mean(axis=0))
    corners = np.array([[80, 40], [60, 40], [20, 40], [40, 40], [50, 70.4]], np.float32)
    made = five_of_5(corners)
    np.testing.assert_allclose(made[:2], [[30, 40], [70, 40]])
    np.testing.assert_allclose(made[2], [50, 62.8], atol=0.5)
    eyes = np.array([[0, 0], [0, 10]], np.float32)  # a head lying on its side
    upright = np.array([[-0.5, 0], [0.5, 0]], np.float32)
    assert face_from(eyes, upright)[3][0] < -8


def test_yunet_decodes_cells() -> None:
    """Score, centre, size and points of one cell at stride 8, row 1, column 2 of 4 columns."""
    maps: dict[str, Any] = {}
    for stride, cells in ((8, 8), (16, 2), (32, 1)):  # of 32 x 16 pixels, and half a cell of 32
        for part, size in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            maps[f"{part}_{stride}"] = np.zeros((2, cells, size), np.float32)
    maps["cls_8"][1, 6], maps["obj_8"][1, 6] = 0.9, 0.4
    maps["bbox_8"][1, 6] = 0.5, 0.25, np.log(4), np.log(2)
    row, boxes, scores, points = decode(maps, 32, 0.59)
    assert row.tolist() == [1]
    assert scores[0] == pytest.approx(0.6)
    np.testing.assert_allclose(boxes[0], [20 - 16, 10 - 8, 20 + 16, 10 + 8])
    np.testing.assert_allclose(points[0], np.tile([16, 8], (5, 1)))
    assert len(decode(maps, 32, 0.61)[0]) == 0


@pytest.fixture(scope="module")
def yunet() -> Iterator[YuNet]:
    built = build_detector(load_config(None, ["detector={type: yunet}"]))
    assert isinstance(built, YuNet)
    yield built
    built.close()


def test_yunet_follows_each_face_by_itself(yunet: YuNet, portrait: ImageU8) -> None:
    (box,) = yunet.detect(portrait).boxes
    moved = np.roll(portrait, (4, 6), axis=(0, 1))
    empty = np.array([0, 200, 80, 290], np.float32)
    asked = np.stack([empty, box, box + 3])
    found = yunet.refine(moved, asked)
    assert (found.scores > 0).tolist() == [False, True, True]
    np.testing.assert_array_equal(found.boxes[0], empty)
    assert np.isnan(found.landmarks[0]).all()
    shifted = box + np.array([6, 4, 6, 4])
    np.testing.assert_allclose(found.boxes[1:], np.tile(shifted, (2, 1)), atol=6)
    np.testing.assert_allclose(found.landmarks[1:, :2], [EYES - [100, 0] + [6, 4]] * 2, atol=5)
    alone = yunet.refine(moved, asked[1:2])
    np.testing.assert_allclose(alone.boxes, found.boxes[1:2], atol=0.01)
    assert len(yunet.refine(moved, np.zeros((0, 4), np.float32))) == 0


def test_yunet_follows_a_face_at_the_edge_and_one_far_off_is_another(
    yunet: YuNet, portrait: ImageU8
) -> None:
    (box,) = yunet.detect(portrait).boxes
    width = int(box[2] - box[0])
    cut = np.ascontiguousarray(portrait[:, int(box[0]) + width // 8 :])
    (at_edge,) = yunet.refine(cut, box[None] - [box[0], 0, box[0], 0]).boxes
    assert at_edge[0] == 0
    assert at_edge[2] == pytest.approx(width * 7 / 8, abs=8)
    beside = yunet.refine(portrait, box[None] + [0.7 * width, 0, 0.7 * width, 0])
    assert beside.scores[0] == 0


def test_yunet_follows_roughly_and_looks_again(yunet: YuNet, portrait: ImageU8) -> None:
    (box,) = yunet.detect(portrait).boxes
    moved = np.roll(portrait, (4, 6), axis=(0, 1))
    asked = np.stack([box, np.array([0, 200, 80, 290], np.float32)])
    found = yunet.follow(moved, asked)
    assert (found.scores > 0).tolist() == [True, False]
    np.testing.assert_allclose(found.boxes[0], box + np.array([6, 4, 6, 4]), atol=6)
    sharp = yunet.sharpen(moved, asked)
    np.testing.assert_array_equal(sharp, yunet.refine(moved, asked).landmarks)
    np.testing.assert_allclose(sharp[0, :2], EYES - [100, 0] + [6, 4], atol=5)
    assert np.isnan(sharp[1]).all()


@pytest.mark.parametrize("large", [False, True])
def test_yunet_finds_in_several_pictures_at_once_what_it_finds_in_each(
    yunet: YuNet, portrait: ImageU8, large: bool
) -> None:
    turned = np.ascontiguousarray(portrait[:, ::-1])
    pictures = [portrait, np.zeros_like(portrait), turned, np.roll(portrait, 9, axis=1)]
    search = yunet.search_large if large else yunet.search
    alone = [search(picture) for picture in pictures]
    together = yunet.search_many(pictures, large=large)
    assert [len(found) for found in alone] == [1, 0, 1, 1]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(other.boxes, one.boxes, atol=0.01)
        np.testing.assert_allclose(other.scores, one.scores, atol=1e-4)
        np.testing.assert_allclose(other.landmarks, one.landmarks, atol=0.01)
    assert len(search(portrait)) == 1, "a run of one after a run of four"


def test_yunet_takes_as_many_pictures_as_it_is_told() -> None:
    built = build_detector(load_config(None, ["detector={type: yunet}", "sampling.together=3"]))
    assert isinstance(built, SearchMany)
    assert built.together((640, 480)) == 3
    built.close()


def test_yunets_search_for_large_faces_finds_those(portrait: ImageU8) -> None:
    built = build_detector(load_config(None, ["detector={type: yunet, min_face_px: 40}"]))
    assert isinstance(built, YuNet)
    (box,) = built.detect(portrait).boxes
    assert (box[2:] - box[:2]).max() > 100
    frame = np.zeros((720, 1280, 3), np.uint8)
    frame[: portrait.shape[0], : portrait.shape[1]] = portrait
    few = cv2.resize(portrait, None, fx=0.34, fy=0.34, interpolation=cv2.INTER_AREA)
    frame[400 : 400 + few.shape[0], 700 : 700 + few.shape[1]] = few
    assert len(built.detect(frame)) == 2
    assert [built.saves(size) for size in ((1280, 720), (1000, 700), (640, 480))] == [
        True,
        False,
        False,
    ]
    (again,) = built.search_large(frame).boxes
    np.testing.assert_allclose(again, box, atol=10)
    built.close()


@pytest.mark.parametrize(
    "settings",
    [
        "{type: mtcnn, min_face_px: 40}",
        "{type: mtcnn, min_face_px: 40, max_side_px: 960}",
        "{type: yunet, min_face_px: 40}",
        "{type: yunet, min_face_px: 20, max_side_px: 960}",
        "{type: yunet, min_face_px: 20}",
    ],
)
def test_a_part_is_searched_as_finely_as_the_whole_and_only_that(
    settings: str, portrait: ImageU8
) -> None:
    frame = np.full((720, 1280, 3), 90, np.uint8)
    frame[:300, :300] = portrait
    small = cv2.resize(portrait, (150, 150), interpolation=cv2.INTER_AREA)
    frame[400:550, 700:850] = small
    built = build_detector(load_config(None, [f"detector={settings}"]))
    assert isinstance(built, AreaSearch)
    assert built.takes_areas((1280, 720))
    search = built.search if isinstance(built, SecondLook) else built.detect
    whole = search(frame)
    (row,) = np.flatnonzero(whole.boxes[:, 0] > 600)
    part = built.search_area(frame, (640, 360, 960, 630))
    np.testing.assert_allclose(part.boxes, whole.boxes[row][None], atol=4)
    np.testing.assert_allclose(part.landmarks, whole.landmarks[row][None], atol=4)
    assert part.scores[0] == pytest.approx(whole.scores[row], abs=0.06)
    assert len(built.search_area(frame, (960, 0, 1280, 720))) == 0
    again = search(frame)  # the same, whatever was searched between
    np.testing.assert_array_equal(again.boxes, whole.boxes)
    bgrx = np.concatenate([frame, frame[..., :1]], axis=2)
    if settings.startswith("{type: yunet"):
        np.testing.assert_array_equal(
            built.search_area(bgrx, (640, 360, 960, 630)).boxes, part.boxes
        )
    built.close()


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ("min_face_px: 40", (1, 3, 192, 192)),
        ("min_face_px: 20, max_side_px: 960", (1, 3, 224, 256)),
        ("min_face_px: 20", (1, 3, 288, 320)),
    ],
)
def test_yunet_sees_a_part_in_as_few_pixels_as_in_the_whole(
    settings: str, shape: tuple[int, ...]
) -> None:
    built = build_detector(load_config(None, [f"detector={{type: yunet, {settings}}}"]))
    assert isinstance(built, YuNet)
    inner, seen = built._backend, list[tuple[int, ...]]()

    class Recording:
        def run(self, feeds: dict[str, Any]) -> Any:
            seen.extend(picture.shape for picture in feeds.values())
            return inner.run(feeds)

    built._backend = Recording()  # type: ignore[assignment]
    built.search_area(np.full((720, 1280, 3), 90, np.uint8), (640, 360, 960, 630))
    assert seen == [shape]
    inner.close()


@pytest.mark.parametrize(
    ("side", "min_face_px", "max_side_px", "searched"),
    [(1920, 40, None, 1152), (1920, 40, 640, 640), (640, 20, None, 640), (640, 12, 900, 640)],
)
def test_yunet_searches_at_what_the_smallest_face_needs(
    side: int, min_face_px: int, max_side_px: int | None, searched: int
) -> None:
    assert searched_side(side, min_face_px, max_side_px) == searched


class WrongGraph:
    def __init__(self) -> None:
        self.inputs = {"input": None}
        self.outputs = {f"cls_{stride}": None for stride in STRIDES}


def test_yunet_refuses_another_graph_and_a_file_that_was_not_fetched() -> None:
    with pytest.raises(ModelError, match="YuNet's graph"):
        YuNet(WrongGraph())  # type: ignore[arg-type]
    with pytest.raises((InputMissingError, ModelError), match="fetch"):
        build_detector(load_config(None, ["detector={type: yunet, model: yunet_n_dynamic}"]))


def test_the_type_may_be_left_out_and_must_exist() -> None:
    for text, kind in (
        ("{min_face_px: 30}", AutoDetectorConfig),
        ("{min_face_px: 30, pyramid_factor: 0.8}", MtcnnConfig),
    ):
        assert type(load_config(None, [f"detector={text}"]).detector) is kind
    haar = load_config(None, ["detector.type=haar", "detector.min_face_px=50"])
    assert isinstance(haar.detector, HaarConfig)
    assert haar.mtcnn.min_face_px == 50
    with pytest.raises(ConfigError, match="viola"):
        load_config(None, ["detector.type=viola"])
    with pytest.raises(ConfigError, match="unknown key"):
        load_config(None, ["detector={type: haar, pyramid_factor: 0.7}"])
