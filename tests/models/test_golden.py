"""Known answers: those of the pip package's own files; a network that says else is found."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import make_golden
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from jetson_face.config import load_config
from jetson_face.core.errors import ModelError
from jetson_face.factory.files import network_file
from jetson_face.factory.model_check import APART, check_model, difference
from jetson_face.models.cards import load_card
from jetson_face.models.golden import drawn, read_golden


def test_the_drawing_is_always_the_same() -> None:
    picture = drawn((2, 3, 112, 112))
    assert (picture.min(), picture.max()) == (0, 255)
    digest = hashlib.sha256(picture.astype(np.uint8).tobytes()).hexdigest()
    assert digest[:16] == "56c12bc0d6c88059"


@pytest.mark.parametrize("model", ["sface", "yunet"])
def test_the_answers_kept_are_those_of_the_package_run_as_it_is(model: str) -> None:
    card = load_card(model)
    assert card.golden is not None
    kept = read_golden(card.folder / card.golden)
    answers = make_golden.answers(model)
    assert kept.outputs.keys() == answers.keys()
    assert kept.difference(answers) < 1e-5


@pytest.mark.parametrize("model", ["sface", "yunet", "squeezenet_face"])
def test_our_networks_answer_so(model: str) -> None:
    config = load_config(None)
    found = list(check_model(config, load_card(model)))
    assert {one.state for one in found} == {"good"}, found
    assert any("answers" in one.what for one in found)


@pytest.mark.parametrize("model", ["sface", "yunet"])
def test_a_network_with_one_changed_layer_is_found(model: str, tmp_path: Path) -> None:
    card = load_card(model)
    assert card.golden is not None
    network = onnx.load(str(network_file(load_config(None), card)))
    weight = max(network.graph.initializer, key=lambda tensor: len(tensor.dims))
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1.02, weight.name))
    onnx.save(network, str(tmp_path / "net.onnx"))
    golden = read_golden(card.folder / card.golden)
    assert difference(tmp_path / "net.onnx", golden) > APART["fp32"]


def test_answers_of_another_network_are_refused(tmp_path: Path) -> None:
    golden = read_golden(load_card("sface").folder / "sface.golden.npz")
    with pytest.raises(ModelError, match="no output 'fc1' of 256 numbers"):
        golden.difference({"other": np.zeros(256, np.float32)})
    assert golden.difference({"fc1": np.full(256, np.nan, np.float32)}) == np.inf


@pytest.mark.parametrize("content", [b"", b"PK nothing", None])
def test_a_file_without_answers_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "net.golden.npz"
    if content is None:
        out = io.BytesIO()
        np.savez(out, other=np.zeros(3))
        content = out.getvalue()
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"net\.golden\.npz: no answers"):
        read_golden(path)
