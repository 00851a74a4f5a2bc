"""Calibration from a camera, down to the graph: real frames, real faces, a network of one layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jetson_face.capture.source import OpenOptions
from jetson_face.config import load_config
from jetson_face.core.errors import UsageError
from jetson_face.embedding.onnx import OnnxEmbedder
from jetson_face.factory.golden import golden_crops, golden_pictures
from jetson_face.factory.int8_faces import calibrate_embedder
from jetson_face.factory.plan_networks import embedder_card, networks_of
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.inference.precision import has_quantisation
from jetson_face.util.images import write_picture
from tests.factory.small_embedder import small_card


def test_a_camera_with_broken_frames_calibrates_the_configured_network(tmp_path: Path) -> None:
    faces = tmp_path / "faces"
    faces.mkdir()
    write_picture(faces / "face.png", golden_pictures()[0][50:190, 85:225])
    config = load_config(
        None,
        [
            f"engines.cache={tmp_path / 'engines'}",
            f"embedder.model={small_card(tmp_path)}",
            "backend={type: tensorrt, precision: int8}",
            "detector={type: mtcnn, min_face_px: 40}",
        ],
    )
    camera = f"test://?width=320&height=240&frames=20&faces={faces}&faults=broken@3:2"
    path, count = calibrate_embedder(config, pictures=None, source=camera, faces_max=17)
    assert count == 17
    graph = path.read_bytes()
    assert has_quantisation(graph, "small")
    card, crops = embedder_card(config), golden_crops("arcface112")
    assert card is not None
    network = networks_of(config)["embed"]
    assert network.spec.onnx == graph  # what the user calibrated is what is built
    assert network.reference != graph
    wanted, got = (
        OnnxEmbedder(card, OnnxBackend(onnx)).embed(crops).vectors
        for onnx in (network.reference, graph)
    )
    assert np.sum(wanted * got, axis=1).min() > 0.98


def test_the_camera_is_opened_as_it_is_configured(tmp_path: Path) -> None:
    config = load_config(None, [f"engines.cache={tmp_path / 'engines'}", "detector.type=mtcnn"])
    options = OpenOptions(sensor_mode=1)
    with pytest.raises(UsageError, match="sensor_mode"):
        calibrate_embedder(config, pictures=None, source="test://", faces_max=1, options=options)
