"""What is found of a model: every file of its card, and its answers beside those kept."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from jetson_face.config import load_config
from jetson_face.factory.model_check import ModelFinding, check_model
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.models.cards import load_card
from tests.factory.small_embedder import small_card, small_network


def found(card: Path) -> list[ModelFinding]:
    return list(check_model(load_config(None), load_card(card)))


def change(card: Path, **more: object) -> None:
    card.write_text(yaml.safe_dump({**yaml.safe_load(card.read_text()), **more}))


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """Of a small network, with the answer that it gives."""
    path = small_card(tmp_path)
    picture = np.linspace(-1, 1, 3 * 112 * 112, dtype=np.float32).reshape(1, 3, 112, 112)
    backend = OnnxBackend(tmp_path / "small.onnx")
    (answer,) = backend.run({"input": picture}).values()
    backend.close()
    np.savez(tmp_path / "small.golden.npz", input=picture, output=answer)
    change(path, golden="small.golden.npz")
    return path


def test_a_model_that_is_as_its_card_says_is_good(card: Path, tmp_path: Path) -> None:
    files, answers = found(card)
    assert files == ModelFinding(
        "small", "fp32", "good", f"SHA-256 as the card says: {tmp_path / 'small.onnx'}"
    )
    assert (answers.model, answers.what, answers.state) == ("small", "fp32 answers", "good")
    assert answers.said.endswith(" of the largest number away from the answers kept, at most 0.001")
    assert float(answers.said.split()[0]) < 1e-5
    change(card, golden=None)
    assert found(card) == [files]


def test_int8_for_processors_answers_on_any(card: Path) -> None:
    files = yaml.safe_load(card.read_text())["files"]
    change(card, files={**files, "u8s8": files["fp32"]})
    answers = ["fp32 answers", "u8s8 answers"]
    assert [one.what for one in found(card)] == ["fp32", "u8s8", *answers]


def test_a_part_of_another_name_is_held_to_the_same_answers(card: Path) -> None:
    change(card, files={"net": yaml.safe_load(card.read_text())["files"]["fp32"]})
    assert [(one.what, one.state) for one in found(card)] == [
        ("net", "good"),
        ("net answers", "good"),
    ]


def test_a_file_that_is_missing_or_another_is_told_beside_the_good_one(
    card: Path, tmp_path: Path
) -> None:
    files: dict[str, Any] = yaml.safe_load(card.read_text())["files"]
    gone = {"path": "gone.onnx", "sha256": "0" * 64}
    other = {"path": "other.onnx", "sha256": "0" * 64}
    (tmp_path / "other.onnx").write_bytes(b"other")
    change(card, files={**files, "fp16": gone, "int8": other})
    missing, good, wrong, answers = found(card)
    assert (missing.model, missing.what, missing.state) == ("small", "fp16", "missing")
    assert str(tmp_path / "gone.onnx") in missing.said
    assert (wrong.model, wrong.what, wrong.state) == ("small", "int8", "wrong")
    assert str(tmp_path / "other.onnx") in wrong.said
    assert (good.what, good.state) == ("fp32", "good")
    assert (answers.what, answers.state) == ("fp32 answers", "good")


def test_other_answers_or_none_are_wrong(card: Path, tmp_path: Path) -> None:
    onnx = small_network(seed=1)
    (tmp_path / "small.onnx").write_bytes(onnx)
    digest = hashlib.sha256(onnx).hexdigest()
    change(card, files={"fp32": {"path": "small.onnx", "sha256": digest}})
    assert [one.state for one in found(card)] == ["good", "wrong"]
    (tmp_path / "small.golden.npz").unlink()
    answers = found(card)[1]
    assert (answers.model, answers.what, answers.state) == ("small", "fp32 answers", "wrong")
    assert answers.said.startswith(f"{tmp_path / 'small.golden.npz'}: no answers to compare with")
