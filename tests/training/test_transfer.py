"""The tables' networks: their sizes, that they learn, and that what they leave behind runs."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from jetson_face.cli.main import main  # noqa: E402
from jetson_face.cli.train_export import card_files  # noqa: E402
from jetson_face.core.errors import InputBrokenError, UsageError  # noqa: E402
from jetson_face.embedding.align import TEMPLATES, Aligner, eyes_and_nose  # noqa: E402
from jetson_face.embedding.onnx import OnnxEmbedder  # noqa: E402
from jetson_face.inference.onnxruntime import OnnxBackend  # noqa: E402
from jetson_face.models.cards import load_card, resolve  # noqa: E402
from jetson_face.training.net import count_parameters  # noqa: E402
from jetson_face.training.networks import TRUNKS, FeatureNet  # noqa: E402
from jetson_face.training.small import SmallSet  # noqa: E402
from jetson_face.training.transfer import features, train_network  # noqa: E402
from jetson_face.training.transfer_export import save  # noqa: E402
from jetson_face.training.transfer_settings import TransferConfig  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def people(count: int, photos: int, side: int = 96) -> SmallSet:
    """Everybody has a colour and a place of a blob; photos differ by noise."""
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 90, (count * photos, side, side, 3))
    labels = np.repeat(np.arange(count), photos)
    for row, who in enumerate(labels):
        top, left = 10 + 12 * (who % 3), 10 + 12 * (who // 3)
        faces[row, top : top + 24, left : left + 24, who % 3] += 130
    return SmallSet(faces.astype(np.uint8), labels, "made up")


@pytest.mark.parametrize("name", list(TRUNKS))
def test_every_network_gives_unit_vectors_for_any_side(name: str) -> None:
    net = FeatureNet(name).eval()
    with torch.no_grad():
        for side in (64, 112):
            out = net(torch.randn(2, 3, side, side))
            assert out.shape == (2, 128)
            np.testing.assert_allclose(out.norm(dim=1).numpy(), 1, atol=1e-5)


def test_openface_is_as_large_as_published() -> None:
    """3,733,968 in OpenFace's table of models, whose convolutions have biases of no effect."""
    assert count_parameters(FeatureNet("openface")) == pytest.approx(3_733_968, rel=0.002)


def test_layers_say_what_is_trained() -> None:
    net = FeatureNet("resnet10")

    def trained(layers: str) -> int:
        net.freeze(layers)
        return sum(p.numel() for p in net.parameters() if p.requires_grad)

    assert trained("last") == 512 * 128 + 128
    assert trained("last") < trained("1") < trained("3") < trained("all")
    assert trained("all") == count_parameters(net)
    for wrong in ("none", "0.5", "99"):
        with pytest.raises(ValueError, match="layers is"):
            net.freeze(wrong)


@pytest.mark.parametrize(("name", "loss"), [("openface", "triplet"), ("squeezenet", "softmax")])
def test_it_learns_and_what_it_leaves_runs(name: str, loss: str, tmp_path: Path) -> None:
    given = people(4, 8)
    ticks = count(0, 0.1)  # ten steps to a second
    config = TransferConfig.model_validate(
        {
            "architecture": name,
            "loss": loss,
            "alignment": "openface96",
            "seconds": 1,
            "people_each": 4,
            "photos_each": 3,
            "rate": 2e-3,
            "threads": 1,
        }
    )
    net, outcome = train_network(config, given, clock=lambda: next(ticks))
    assert outcome.loss_last < outcome.loss_first
    assert outcome.accuracy_nearest >= max(outcome.accuracy_before, 0.8)
    assert (outcome.accuracy_softmax is None) == (loss == "triplet")
    path = save(net, outcome, config, tmp_path)
    assert path.name == ("openface.yaml" if loss == "triplet" else "transfer_squeezenet.yaml")
    assert sorted(left.name for left in tmp_path.iterdir()) == sorted(card_files(config))
    card = load_card(path)
    assert "24 faces of 4 people of made up" in card.source
    report = json.loads((tmp_path / f"{path.stem}.report.json").read_text())
    assert report["parameters"] == count_parameters(net)
    embedder = OnnxEmbedder(card, OnnxBackend(resolve(card), threads=1))
    bgr = np.ascontiguousarray(given.faces[:3, :, :, ::-1])
    np.testing.assert_allclose(
        embedder.embed(bgr).vectors, features(net, given.faces[:3]), atol=2e-4
    )


def test_a_set_or_a_choice_that_cannot_be_trained_is_refused() -> None:
    config = TransferConfig(architecture="resnet10", layers="many")
    with pytest.raises(UsageError, match="layers is"):
        train_network(config, people(2, 4))
    with pytest.raises(InputBrokenError, match="two people"):
        train_network(config, people(1, 4))


def test_the_command_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train"]) == 2
    assert main(["train", "--finetune", str(tmp_path)]) == 2
    assert main(["train", "--finetune", str(tmp_path), "--net", "lenet"]) == 2
    asked = ["train", "--finetune", str(tmp_path), "--net"]
    assert main([*asked, "alexnet"]) == 2
    assert main([*asked, "all", "--weights", str(tmp_path)]) == 2
    assert main(["train", "--pairs", "x.tsv"]) == 2
    said = capsys.readouterr().err
    assert "--net resnet10" in said
    assert "there are openface" in said
    assert "random weights learns next to nothing" in said
    assert "no transfer_NAME.weights.npz in it" in said


def test_openface_alignment_pins_eyes_and_nose_whatever_the_face() -> None:
    points = np.array([[[80, 90], [150, 100], [112, 150], [85, 170], [140, 180]]], np.float32)
    image = np.zeros((256, 256, 3), np.uint8)
    for x, y in eyes_and_nose(points)[0]:
        cv2.circle(image, (int(x), int(y)), 6, (255, 255, 255), -1)
    crop = Aligner("openface96").crop(image, points)[0]
    assert crop.shape == (96, 96, 3)
    for x, y in TEMPLATES["openface96"].triple or ():
        assert crop[round(y), round(x)].min() > 200
    line = points.copy()
    line[0, 2:] = points[0, :2].mean(axis=0)  # no plane map: as a similarity
    assert Aligner("openface96").crop(image, line).shape == (1, 96, 96, 3)
