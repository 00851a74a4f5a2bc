"""The canary's own face, and a TensorRT plan that answers it wrong from the start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jetson_face.config import Config, load_config
from jetson_face.core.errors import EngineError
from jetson_face.core.types import Embeddings, ImageU8
from jetson_face.embedding.align import Aligner
from jetson_face.factory.golden import (
    CANARY_POINTS,
    golden_face,
    golden_pictures,
    golden_points,
    on_frame,
)
from jetson_face.factory.gpu import Gpu
from jetson_face.factory.mtcnn import assemble_mtcnn
from jetson_face.factory.networks import build_embedder
from jetson_face.factory.parts import Parts, build_canary
from jetson_face.factory.plan_networks import networks_of
from jetson_face.factory.plans import plans_here
from jetson_face.inference.onnxruntime import OnnxBackend
from tests.inference.fake_gpu import FakeModule, fake_gpu
from tests.waiting import not_by_emulation


def config_with(tmp_path: Path, *words: str) -> Config:
    return load_config(None, [f"engines.cache={tmp_path / 'engines'}", *words])


def parts_of(config: Config, embedder: Any) -> Parts:
    nothing: Any = None
    return Parts(nothing, None, Aligner(embedder.alignment), nothing, embedder)


def test_its_points_are_where_mtcnn_finds_them(tmp_path: Path) -> None:
    config = config_with(tmp_path, "detector.type=mtcnn")
    nets = {
        name: OnnxBackend(network.reference, threads=1)
        for name, network in networks_of(config).items()
        if name != "embed"
    }
    detector = assemble_mtcnn(config, nets)
    found = [detector.detect(picture).landmarks[0] for picture in golden_pictures()]
    detector.close()
    np.testing.assert_allclose(found[4], CANARY_POINTS, atol=1)
    np.testing.assert_allclose(found, golden_points(), atol=7.5)  # a mirrored mouth
    assert golden_points().dtype == np.float32
    for picture, plain, mirrored in zip(
        golden_pictures()[::4], golden_points()[::4], golden_points()[1::4], strict=True
    ):
        across = plain[[1, 0, 2, 4, 3], 0] + mirrored[:, 0]
        np.testing.assert_allclose(across, picture.shape[1] - 1, rtol=1e-6)
    aligner = Aligner("arcface112")
    wanted = aligner.crop(golden_pictures()[4], np.array([CANARY_POINTS], np.float32))
    np.testing.assert_array_equal(golden_face(aligner), wanted)


def test_the_configured_embedder_answers_its_canary(tmp_path: Path) -> None:
    config = config_with(tmp_path, "engines.canary_every_s=60")
    embedder = build_embedder(config)
    canary = build_canary(config, parts_of(config, embedder))
    assert canary.poll(1) is None
    assert canary.last_cosine == pytest.approx(1, abs=1e-6)
    assert not canary.due(60_000_000_000)
    assert canary.due(60_000_000_001)
    embedder.close()


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModule]:
    not_by_emulation("whole networks on the simulated GPU take an hour by emulation")
    trt, cuda, module = fake_gpu()
    gpu = Gpu(trt, cuda)
    monkeypatch.setattr("jetson_face.factory.gpu.this_gpu", lambda: gpu)
    monkeypatch.setattr("jetson_face.factory.plans.golden_pictures", lambda: golden_pictures()[:3])
    yield module
    assert cuda.gpu.clean


def test_a_plan_that_is_wrong_from_the_start_is_refused(tmp_path: Path, module: FakeModule) -> None:
    """Found good when it was built, on a GPU that answers wrong now."""
    config = config_with(tmp_path, "backend.type=tensorrt", "engines.canary_every_s=60")
    embedder = build_embedder(config)
    parts = parts_of(config, embedder)
    assert build_canary(config, parts).poll(1) is None

    class Wrong:
        alignment, space = embedder.alignment, embedder.space

        def embed(self, crops: Any) -> Embeddings:
            return Embeddings(-embedder.embed(crops).vectors, embedder.space)

    with pytest.raises(EngineError, match=r"answers a golden face wrong \(cosine -.*engines check"):
        build_canary(config, parts_of(config, Wrong()))
    embedder.close()
    assert plans_here(config).fitting()


def test_a_picture_is_made_smaller_where_it_must_be_and_lies_in_the_corner() -> None:
    high: ImageU8 = np.full((20, 10, 3), 200, np.uint8)
    wide = np.ascontiguousarray(high.transpose(1, 0, 2))
    for picture, size, width, height in (
        (high, (30, 10), 5, 10),
        (wide, (10, 30), 10, 5),
        (high, (40, 50), 10, 20),
    ):
        frame = on_frame(picture, size)
        assert frame.shape == (size[1], size[0], 3)
        assert (frame[:height, :width] == 200).all()
        assert (frame[height:] == 127).all()
        assert (frame[:, width:] == 127).all()
    thin: ImageU8 = np.full((40, 1, 3), 200, np.uint8)
    frame = on_frame(thin, (10, 10))
    assert (frame[:, 0] == 200).all()
    assert (frame[:, 1:] == 127).all()
    # Every pixel of a larger one counts.
    lines: ImageU8 = np.zeros((8, 8, 3), np.uint8)
    lines[:, 3::4] = 200
    assert (on_frame(lines, (2, 2)) == 50).all()
