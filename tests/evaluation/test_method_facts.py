"""What a report says that ran, and what faces from the disk depend on."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import onnx
import pytest
import yaml

from jetson_face.config import Config
from jetson_face.evaluation.method import build_method
from jetson_face.factory.plan_networks import plan_source
from jetson_face.factory.threshold import embedding_precision
from jetson_face.models.cards import card_dir, load_card


def network(folder: Path) -> Path:
    """The shipped network's card and files, to be changed; without its curves."""
    folder.mkdir()
    for path in card_dir().glob("squeezenet_face[._]*"):
        if "profile" not in path.name:
            shutil.copy(path, folder)
    return folder / "squeezenet_face.yaml"


def calibrate_again(card: Path) -> None:
    """Other INT8 files for the same network, for TensorRT and for processors."""
    told = yaml.safe_load(card.read_text("utf-8"))
    for part in ("int8", "u8s8"):
        path = card.parent / told["files"][part]["path"]
        model = onnx.load(path)
        model.doc_string = "calibrated again"
        path.write_bytes(model.SerializeToString())
        told["files"][part]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    card.write_text(yaml.safe_dump(told), "utf-8")


def config(card: Path, precision: str) -> Config:
    return Config.model_validate(
        {
            "detector": {"type": "haar"},
            "backend": {"type": "onnxruntime"},
            "embedder": {"model": str(card), "precision": precision},
        }
    )


@pytest.mark.parametrize(("precision", "changes"), [("int8", True), ("fp32", False)])
def test_faces_of_another_int8_file_are_not_taken_from_the_disk(
    precision: str, changes: bool, tmp_path: Path
) -> None:
    card = network(tmp_path / "card")
    before = build_method(config(card, precision), relaxed=False).facts
    calibrate_again(card)
    after = build_method(config(card, precision), relaxed=False).facts
    assert before["space"] == after["space"]
    assert (before["weights"] != after["weights"]) == changes
    assert before["precision"] == after["precision"] == precision


def test_on_tensorrt_the_plans_precision_and_the_calibrated_file_count(tmp_path: Path) -> None:
    told = Config.model_validate(
        {
            "backend": {"type": "tensorrt", "precision": "int8"},
            "engines": {"cache": str(tmp_path)},
        }
    )
    card = load_card(told.embedder.model)
    assert embedding_precision(told) == "int8"
    assert plan_source(told, card, "int8").name == "squeezenet_face_int8.onnx"
    (tmp_path / "squeezenet_face-int8.onnx").write_bytes(b"graph")
    assert plan_source(told, card, "int8").read_bytes() == b"graph"
    assert plan_source(told, card, "fp16").name == "squeezenet_face.onnx"
