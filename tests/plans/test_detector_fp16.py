"""MTCNN in FP16 as it is configured unless told otherwise: the gate passes with room to spare."""

from __future__ import annotations

from pathlib import Path

import pytest

from jetson_face.assemble import assemble_mtcnn
from jetson_face.backends.onnx import OnnxBackend
from jetson_face.config import load_config
from jetson_face.engine.parity import detection_parity
from jetson_face.engine.precision import prepare
from jetson_face.gate import golden_pictures
from jetson_face.plans import networks_of


@pytest.mark.parametrize("name", ["pnet", "rnet", "onet"])
def test_each_network_in_fp16_moves_no_box_by_half_a_pixel(name: str, tmp_path: Path) -> None:
    """ONNX Runtime rounds each tensor to fp16, as TensorRT does; the sums are in fp32."""
    config = load_config(None, [f"engines.cache={tmp_path}", "backend.type=tensorrt"])
    networks = {k: v for k, v in networks_of(config).items() if k != "embed"}
    full = {k: OnnxBackend(v.reference, threads=1) for k, v in networks.items()}
    spec = networks[name].spec
    half = OnnxBackend(prepare(spec.onnx, name, "fp16", fp32_ops=spec.fp32_ops), threads=1)
    wanted = assemble_mtcnn(config, full)
    got = assemble_mtcnn(config, {**full, name: half})
    rows = detection_parity(wanted.detect, got.detect, golden_pictures()[4:7]).rows
    assert [row.measured for row in rows[:1]] == [0]
    assert max(row.measured for row in rows[1:]) < 0.5
