"""What ships computes what was trained: folded, any batch, three precisions, card, golden."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the extra 'train' (PyTorch)")
pytest.importorskip("onnx", reason="export needs the extra 'train' (onnx)")
pytest.importorskip("onnxruntime", reason="checks need the extra 'pc' (onnxruntime)")

import torch
from onnx import TensorProto, numpy_helper

from jetson_face.inference import int8
from jetson_face.training import export
from jetson_face.training.net import SqueezeNetFace, count_parameters
from jetson_face.training.settings import CardSettings


@pytest.fixture(scope="module")
def net() -> SqueezeNetFace:
    """A network with lived-in statistics, so that folding them matters."""
    torch.manual_seed(0)
    made = SqueezeNetFace(act="prelu")
    for name, value in made.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.2)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 2.0)
    made.eval()
    return made


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    """(6, 3, 112, 112) float32."""
    return np.concatenate([export.golden_input(4), -export.golden_input(2)])


@pytest.fixture(scope="module")
def expected(net: SqueezeNetFace, faces: np.ndarray) -> np.ndarray:
    """What PyTorch says."""
    with torch.no_grad():
        return np.asarray(net(torch.from_numpy(faces)).numpy())


def test_the_default_network_keeps_the_promised_size() -> None:
    assert count_parameters(SqueezeNetFace()) <= 1_000_000


@pytest.mark.parametrize("stem", ["pool", "conv", "patch"])
@pytest.mark.parametrize("pools", [(4, 6), (4,), (6,), (4, 8)])
def test_every_shape_gives_unit_vectors(stem: str, pools: tuple[int, ...]) -> None:
    made = SqueezeNetFace(dim=32, act="leaky", stem=stem, pool_before=pools).eval()
    with torch.no_grad():
        out = made(torch.randn(2, 3, 112, 112))
    assert out.shape == (2, 32)
    assert out.norm(dim=1).tolist() == pytest.approx([1, 1], abs=1e-5)


def test_a_head_that_cannot_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="head needs 7 or 14"):
        SqueezeNetFace(pool_before=())


def test_onnx_equals_torch_and_has_no_batch_norm(
    net: SqueezeNetFace, faces: np.ndarray, expected: np.ndarray
) -> None:
    model = export.to_onnx(net)
    assert not [n for n in model.graph.node if n.op_type == "BatchNormalization"]
    assert np.abs(export.run_onnx(model.SerializeToString(), faces) - expected).max() < 1e-4


def test_a_face_has_the_same_vector_alone_and_in_company(
    net: SqueezeNetFace, faces: np.ndarray
) -> None:
    model = export.to_onnx(net).SerializeToString()
    together, alone = (export.run_onnx(model, faces, batch=n) for n in (6, 1))
    assert np.abs(together - alone).max() < 1e-5


def test_half_precision_stays_close_and_halves_the_file(
    net: SqueezeNetFace, faces: np.ndarray, expected: np.ndarray
) -> None:
    full = export.to_onnx(net)
    half = export.to_fp16(full).SerializeToString()
    assert len(half) < 0.55 * len(full.SerializeToString())
    vectors = export.run_onnx(half, faces)
    assert vectors.dtype == np.float32
    assert (vectors * expected).sum(1).min() > 0.9995


def test_int8_rounds_the_inputs_of_convolutions_symmetrically(
    net: SqueezeNetFace, faces: np.ndarray
) -> None:
    model, count = int8.quantise(export.to_onnx(net), [{export.INPUT: faces}], "test")
    assert count == len(faces)
    nodes = list(model.graph.node)
    quantised = [n for n in nodes if n.op_type == "QuantizeLinear"]
    # Squeeze and both expansions of eight fires; the expansions share their input. The stem's two,
    # the first fire and the second squeeze are left as they are.
    assert len([n for n in nodes if n.op_type == "Conv"]) == 2 + 8 * 3 + 1
    assert len(quantised) == 8 * 2 - 3
    for tensor in model.graph.initializer:
        if tensor.name.endswith("_zero"):
            assert not numpy_helper.to_array(tensor).any()
    biases = [n.input[2] for n in nodes if n.op_type == "Conv" and len(n.input) > 2]
    kinds = {t.name: t.data_type for t in model.graph.initializer}
    assert {kinds[b] for b in biases} == {TensorProto.FLOAT}


def test_export_writes_all_that_the_card_names(
    net: SqueezeNetFace, faces: np.ndarray, expected: np.ndarray, tmp_path: Path
) -> None:
    from jetson_face.models.cards import load_card

    told = CardSettings(licence="none", similarity_min=0.3, notes="toy")
    card = load_card(export.export_run(net, tmp_path, "toy", faces, told))
    assert set(card.files) == {"fp32", "fp16", "int8"}
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["toy.yaml", "toy.golden.npz", "toy.onnx", "toy_fp16.onnx", "toy_int8.onnx"]
    )
    golden = np.load(tmp_path / "toy.golden.npz", allow_pickle=False)
    full = (tmp_path / "toy.onnx").read_bytes()
    assert np.abs(export.run_onnx(full, golden["input"]) - golden["output"]).max() < 1e-5
    eight = (tmp_path / "toy_int8.onnx").read_bytes()
    assert (export.run_onnx(eight, faces) * expected).sum(1).min() > 0.95
    assert len(eight) < 0.45 * len(full)


def test_a_network_with_relu_has_int8_for_processors_too(faces: np.ndarray, tmp_path: Path) -> None:
    from jetson_face.models.cards import load_card, resolve

    torch.manual_seed(0)
    made = SqueezeNetFace(act="relu").eval()
    told = CardSettings(licence="none", similarity_min=0.3, notes="toy")
    card = load_card(export.export_run(made, tmp_path, "toy", faces, told))
    assert set(card.files) == {"fp32", "fp16", "int8", "u8s8"}
    path = resolve(card, "u8s8")
    assert path == tmp_path / "toy_u8s8.onnx"
    assert path.stat().st_size < 0.45 * resolve(card).stat().st_size
