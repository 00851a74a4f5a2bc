"""What is easily left out where networks become detectors and embedders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jetson_face.config import Config, load_config
from jetson_face.core.errors import EngineError, ModelError
from jetson_face.core.types import F32, Embeddings, ImageU8
from jetson_face.embedding.onnx import OnnxEmbedder
from jetson_face.factory import networks, refiners
from jetson_face.factory.golden import golden_pictures
from jetson_face.factory.gpu import Gpu, find_gpu, open_plan
from jetson_face.factory.parity_gate import EMBEDDER, ParityGate, check_against_reference
from jetson_face.inference.backend import BackendInfo
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.inference.tensorrt.key import NetworkSpec
from jetson_face.inference.tensorrt.parity import COSINE_MIN
from jetson_face.models.cards import card_dir, load_card
from tests.factory.small_embedder import small_card, small_network
from tests.inference.fake_gpu import fake_gpu, make_plan
from tests.inference.graphs import tiny_conv
from tests.recognition.test_recognizer import SPACE, ColourEmbedder

CROPS: ImageU8 = np.zeros((3, 112, 112, 3), np.uint8)


class Fixed(ColourEmbedder):
    """Answers with these vectors, whatever is asked."""

    def __init__(self, *vectors: tuple[float, float, float]) -> None:
        super().__init__()
        self._vectors: F32 = np.array(vectors, np.float32)
        self.asked: list[ImageU8] = []

    def embed(self, crops: ImageU8) -> Embeddings:
        self.asked.append(crops)
        return Embeddings(self._vectors, SPACE)


X, Y = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)
TURNED = (0.0, 0.8, 0.6)


def test_one_golden_face_that_is_answered_otherwise_is_enough() -> None:
    reference = Fixed(X, Y, X)
    for precision in COSINE_MIN:
        check_against_reference(reference, Fixed(X, Y, X), CROPS, precision)
        with pytest.raises(EngineError, match=r"cosine 0\.8"):
            check_against_reference(reference, Fixed(X, TURNED, X), CROPS, precision)
        with pytest.raises(EngineError, match="cosine nan"):
            check_against_reference(
                reference, Fixed(X, Y, (float("nan"), 0.0, 0.0)), CROPS, precision
            )
    right = Fixed(X, Y, X)
    check_against_reference(reference, right, CROPS, "fp32")
    assert {id(crops) for crops in (*reference.asked, *right.asked)} == {id(CROPS)}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What MTCNN and its refiner are put together of; no network is opened."""
    made: list[tuple[Any, ...]] = []
    graphs = {net: Path(f"{net}.onnx") for net in ("pnet", "rnet", "onet")}
    monkeypatch.setattr(
        "jetson_face.detection.mtcnn.graph.ensure_mtcnn", lambda card, cache: graphs
    )
    for module in (networks, refiners):
        monkeypatch.setattr(module, "build_backend", lambda config, name, path: f"{name} {path}")
    monkeypatch.setattr(
        "jetson_face.factory.plans.open_network", lambda config, name: f"a plan of {name}"
    )

    def assemble(config: Config, nets: Any, *, relaxed: bool = False) -> str:
        made.append((sorted(nets.values()), relaxed))
        return "mtcnn"

    monkeypatch.setattr(networks, "assemble_mtcnn", assemble)
    monkeypatch.setattr(
        refiners, "OnetRefiner", lambda net, *, score_min=0.0: made.append((net, score_min))
    )
    return made


NETS = ["onet onet.onnx", "pnet pnet.onnx", "rnet rnet.onnx"]


@pytest.mark.parametrize(
    ("backend", "relaxed", "nets"),
    [
        ("onnxruntime", False, NETS),
        ("onnxruntime", True, NETS),
        ("tensorrt", False, ["a plan of search", *NETS]),
        ("tensorrt", True, NETS),
    ],
)
def test_only_plans_have_a_search_of_their_own_and_photos_none(
    asked: list[tuple[Any, ...]], backend: str, *, relaxed: bool, nets: list[str]
) -> None:
    config = load_config(
        None,
        ["detector.type=mtcnn", f"backend.type={backend}", "engines.frame_size=[640, 480]"],
    )
    networks.build_mtcnn(config, relaxed=relaxed)
    assert asked == [(nets, relaxed)]


def test_a_followed_face_must_be_as_sure_as_a_found_one(asked: list[tuple[Any, ...]]) -> None:
    config = load_config(None, ["detector.type=mtcnn", "detector.thresholds=[0.6, 0.7, 0.93]"])
    refiners._build_onet(config)
    assert asked == [("onet onet.onnx", 0.93)]


def test_a_plan_of_the_embedding_is_judged_by_its_reference(tmp_path: Path) -> None:
    card, right = load_card(small_card(tmp_path)), small_network()
    gate = ParityGate(
        {EMBEDDER: right},
        golden_pictures()[:1],
        open_plan=lambda spec, plan: OnnxBackend(plan),
        make_detector=None,
        make_embedder=lambda backend: OnnxEmbedder(card, backend),
    )
    spec = NetworkSpec(EMBEDDER, right, "fp32", {})
    assert gate(spec, right).passed
    assert not gate(spec, small_network(seed=1)).passed


def test_a_plan_says_what_it_is_and_in_which_precision() -> None:
    trt, cuda, _ = fake_gpu()
    onnx = tiny_conv(side=8)
    plan = make_plan(onnx, {"x": [(1, 3, 8, 8)] * 3})
    backend = open_plan(Gpu(trt, cuda), NetworkSpec("tiny", onnx, "int8", {}), plan)
    assert backend.info == BackendInfo("tensorrt", "10.3.0", cuda.device, "int8")
    backend.close()
    with pytest.raises(ModelError, match=r"^tiny: used after close"):
        backend.run({})


def test_there_is_a_gpu_or_why_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(*fake_gpu()[:2])
    monkeypatch.setattr("jetson_face.factory.gpu.this_gpu", lambda: gpu)
    assert find_gpu() == (gpu, "")

    def none() -> Gpu:
        raise EngineError("no GPU is seen")

    monkeypatch.setattr("jetson_face.factory.gpu.this_gpu", none)
    assert find_gpu() == (None, "no GPU is seen")


def test_yunets_card_is_looked_for_among_those_that_were_added(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "mine"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text((card_dir() / "yunet.yaml").read_text())
    detector = networks.build_detector(
        load_config(
            None,
            [
                f"state_dir={tmp_path}",
                f"engines.cache={tmp_path / 'engines'}",
                "backend.type=onnxruntime",
                "detector={type: yunet, model: mine}",
            ],
        )
    )
    assert len(detector.detect(golden_pictures()[0])) == 1
    detector.close()
