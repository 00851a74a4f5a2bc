"""Plans of the networks that the program runs, in FP16, with no GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from jetson_face.detect.mtcnn_graph import NETS, Net, ensure_mtcnn
from jetson_face.engine.build import EngineBuilder
from jetson_face.engine.cache import EngineCache
from jetson_face.engine.key import NetworkSpec
from jetson_face.engine.shapes import mtcnn_ranges
from jetson_face.models import load_card


@pytest.fixture(scope="session")
def mtcnn_files(tmp_path_factory: pytest.TempPathFactory) -> dict[Net, Path]:
    return ensure_mtcnn(load_card("mtcnn"), tmp_path_factory.mktemp("mtcnn"))


@pytest.mark.parametrize("net", NETS)
def test_mtcnn_builds_in_fp16(
    net: Net,
    mtcnn_files: dict[Net, Path],
    make_builder: Callable[..., EngineBuilder],
    cache: EngineCache,
) -> None:
    ranges = mtcnn_ranges((1920, 1080), min_face_px=40)[net]
    spec = NetworkSpec(net, mtcnn_files[net].read_bytes(), "fp16", {"image": ranges})
    with cache.lock():
        result = make_builder().build(spec)
    assert result.side_car.plan_bytes > 10_000
