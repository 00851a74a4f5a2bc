"""The whole pyramid as one network: what it gives is what the CPU's resizing and P-Net give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetson_face.core.errors import ModelError
from jetson_face.detection.mtcnn.detector import Mtcnn, search_levels
from jetson_face.detection.mtcnn.graph import ensure_mtcnn
from jetson_face.detection.mtcnn.layers import NETS
from jetson_face.detection.mtcnn.pyramid import area_weights, build_pyramid, pyramid_levels
from jetson_face.detection.mtcnn.search import ensure_search, search_graph
from jetson_face.factory.golden import golden_pictures, on_frame
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.models.cards import load_card


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("mtcnn")
    return {str(net): path for net, path in ensure_mtcnn(load_card("mtcnn"), folder).items()}


def nets(graphs: dict[str, Path]) -> list[OnnxBackend]:
    return [OnnxBackend(graphs[net], threads=1) for net in NETS]


def search_for(
    graphs: dict[str, Path], size: tuple[int, int], min_face: float, max_side: int | None = None
) -> OnnxBackend:
    small, levels = search_levels(size, min_face, 0.709, max_side_px=max_side)
    return OnnxBackend(search_graph(graphs["pnet"].read_bytes(), *small, levels), threads=1)


@settings(max_examples=150, deadline=None)
@given(
    source=st.tuples(st.integers(1, 700), st.integers(1, 700)),
    share=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)),
    seed=st.integers(0, 99),
)
def test_two_matrices_average_areas_as_opencv_does(
    source: tuple[int, int], share: tuple[float, float], seed: int
) -> None:
    rows, columns = source
    height, width = (max(1, int(s * p)) for s, p in zip(source, share, strict=True))
    image = np.random.default_rng(seed).integers(0, 256, (rows, columns)).astype(np.float32)
    wanted = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    down = area_weights(rows, height).astype(np.float64)
    across = area_weights(columns, width).astype(np.float64)
    np.testing.assert_allclose(down @ image @ across.T, wanted, atol=1e-3)


@pytest.mark.parametrize("size", [(1920, 1080), (640, 480), (333, 251), (1250, 703)])
def test_the_pyramid_is_what_opencv_makes_of_areas(size: tuple[int, int]) -> None:
    width, height = size
    image = np.random.default_rng(3).integers(0, 256, (height, width, 3)).astype(np.uint8)
    levels = search_levels(size, 40, 0.709, max_side_px=None)[1]
    base, halved = image.astype(np.float32), 0
    for level, made in zip(levels, build_pyramid(image, levels), strict=True):
        while halved < level.halvings:
            half = (base.shape[1] // 2, base.shape[0] // 2)
            base, halved = (
                np.asarray(cv2.resize(base, half, interpolation=cv2.INTER_AREA)),
                halved + 1,
            )
        wanted = cv2.resize(base, (level.width, level.height), interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(made, wanted, atol=1e-3)


@pytest.mark.parametrize("sides", [(5, 6), (3, 0)])
def test_areas_are_only_averaged(sides: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="from more pixels to fewer"):
        area_weights(*sides)


@pytest.mark.parametrize(
    ("width", "height", "halved"), [(640, 360, 0), (333, 251, 0), (1280, 720, 8), (1250, 703, 0)]
)
def test_the_maps_are_those_of_each_level_on_the_cpu(
    graphs: dict[str, Path], width: int, height: int, halved: int
) -> None:
    frame = on_frame(golden_pictures()[4], (width, height))
    _, levels = search_levels((width, height), 40, 0.709, max_side_px=None)
    assert sum(level.halvings > 0 for level in levels) == halved
    found = search_for(graphs, (width, height), 40).run({"picture": frame[None]})
    pnet = OnnxBackend(graphs["pnet"], threads=1)
    assert len(found) == 2 * len(levels)
    for i, pixels in enumerate(build_pyramid(frame, levels)):
        assert pixels.shape == (levels[i].height, levels[i].width, 3)
        for name, value in pnet.run({"image": cv2.dnn.blobFromImage(pixels)}).items():
            np.testing.assert_allclose(found[f"{name}_{i}"], value, atol=2e-4)


class Refusing:
    """A P-Net that must not be asked."""

    def __init__(self, inner: Any) -> None:
        self.inputs, self.outputs, self.info = inner.inputs, inner.outputs, inner.info

    def run(self, feeds: Any) -> Any:
        raise AssertionError("P-Net was run level by level")

    def close(self) -> None:
        pass


@pytest.mark.parametrize("max_side", [None, 640])
def test_frames_of_that_size_are_searched_in_one_run_and_others_as_before(
    graphs: dict[str, Path], max_side: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    size = (1280, 720)
    frame, other = on_frame(golden_pictures()[0], size), golden_pictures()[0]
    searches = {size: search_for(graphs, size, 60, max_side)}
    plain = Mtcnn(*nets(graphs), min_face_px=60, max_side_px=max_side)
    pnet, rnet, onet = nets(graphs)
    fast = Mtcnn(
        Refusing(pnet), rnet, onet, min_face_px=60, max_side_px=max_side, searches=searches
    )
    wanted, got = plain.detect(frame), fast.detect(frame)
    assert len(wanted) == len(got) == 1
    assert [each.takes_areas(size) for each in (plain, fast)] == [True, False]
    np.testing.assert_allclose(got.boxes, wanted.boxes, atol=0.02)
    np.testing.assert_allclose(got.landmarks, wanted.landmarks, atol=0.02)
    for _ in range(2):
        with caplog.at_level("INFO"), pytest.raises(AssertionError, match="level by level"):
            fast.detect(other)
    assert caplog.text.count("engines.frame_size is for 1280x720") == 1
    fast.close()
    with pytest.raises(ModelError, match="close"):
        searches[size].run({"picture": frame[None]})


@pytest.mark.parametrize(("min_face", "size"), [(40, (1280, 720)), (60, (1280, 736))])
def test_a_search_for_other_settings_is_refused(
    graphs: dict[str, Path], min_face: float, size: tuple[int, int]
) -> None:
    made = search_for(graphs, (1280, 720), 60)
    with pytest.raises(ModelError, match=r"the search for 1280x7.. takes .* these settings want"):
        Mtcnn(*nets(graphs), min_face_px=min_face, searches={size: made})


def test_a_frame_smaller_than_a_face_has_no_search(graphs: dict[str, Path]) -> None:
    with pytest.raises(ModelError, match="frames of 30x30 have no pyramid level"):
        search_for(graphs, (30, 30), 40)


def test_the_file_is_kept_until_anything_about_it_changes(
    graphs: dict[str, Path], tmp_path: Path
) -> None:
    small, levels = search_levels((320, 240), 40, 0.709, max_side_px=None)
    path = ensure_search(graphs["pnet"], tmp_path, *small, levels)
    before = path.stat().st_mtime_ns
    assert ensure_search(graphs["pnet"], tmp_path, *small, levels) == path
    assert path.stat().st_mtime_ns == before
    assert ensure_search(graphs["pnet"], tmp_path, *small, levels[:-1]) != path
    path.write_bytes(path.read_bytes()[:-1])
    assert ensure_search(graphs["pnet"], tmp_path, *small, levels) == path
    onnx.checker.check_model(onnx.load_model_from_string(path.read_bytes()))


def test_an_odd_side_is_not_halved() -> None:
    even = pyramid_levels(1920, 1080, [0.3, 0.08, 0.04, 0.02])
    assert [level.halvings for level in even] == [0, 1, 1, 1]  # its half is small
    large = pyramid_levels(3840, 2160, [0.3, 0.08, 0.04, 0.02])
    assert [level.halvings for level in large] == [0, 2, 2, 2]
    assert [level.halvings for level in pyramid_levels(1921, 1080, [0.3, 0.04])] == [0, 0]
    assert [level.halvings for level in pyramid_levels(1199, 800, [0.3, 0.04])] == [0, 0]
