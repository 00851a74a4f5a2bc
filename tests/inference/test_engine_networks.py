"""Plans of the networks that the program runs, from the files that ship, with no GPU."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from jetson_face.config import Config, load_config
from jetson_face.core.errors import ModelError
from jetson_face.factory.plans import Plans
from jetson_face.inference.precision import prepare
from jetson_face.inference.tensorrt.bindings import TensorRT
from jetson_face.inference.tensorrt.cache import SideCar
from jetson_face.inference.tensorrt.key import NetworkSpec, key_of
from jetson_face.models.cards import load_card, resolve

NETWORKS = {
    "mtcnn": ("pnet", "rnet", "onet", "search", "embed"),
    "yunet": ("yunet", "yunet_tiles", "yunet_frame", "embed"),
}
EACH = [
    (kind, name)
    for kind, names in NETWORKS.items()
    for name in names
    if (kind, name) != ("yunet", "embed")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines")


def plans_for(trt: TensorRT, folder: Path, precision: str, detector: str = "mtcnn") -> Plans:
    words = ["backend.type=tensorrt", f"backend.precision={precision}", f"detector.type={detector}"]
    config: Config = load_config(
        None, [*words, f"engines.cache={folder}", "engines.frame_size=[1280, 720]"]
    )
    return Plans(config, trt, None, compute_capability="8.6")


def prepare_spec(spec: NetworkSpec) -> bytes:
    return prepare(spec.onnx, spec.name, spec.precision, fp32_ops=spec.fp32_ops)


def weight_types(spec: NetworkSpec) -> set[str]:
    """Types of the weights that TensorRT is given, but for single numbers."""
    graph = onnx.load_model_from_string(prepare_spec(spec)).graph
    kinds = {t.data_type for t in graph.initializer if len(t.dims) > 1}
    return {onnx.TensorProto.DataType.Name(kind) for kind in kinds}


@pytest.mark.parametrize(("detector", "name"), EACH)
def test_each_network_builds_in_fp16(detector: str, name: str, trt: TensorRT, folder: Path) -> None:
    plans = plans_for(trt, folder, "fp16", detector)
    assert tuple(plans.networks) == NETWORKS[detector]
    (spec,) = plans.specs([name])
    with plans.cache.lock():
        result = plans.build(spec)
    assert result.built
    side_car = SideCar.read(result.path.with_suffix(".json"))
    assert side_car.key == result.side_car.key
    assert side_car.key.precision == "fp16"
    assert side_car.key == key_of(spec, plans.machine)
    # MTCNN's first convolutions take pixels of 0 to 255.
    kept = {"FLOAT"} if name in NETWORKS["mtcnn"][:4] else set[str]()
    assert weight_types(spec) == {"FLOAT16"} | kept
    weights = sum(len(t.raw_data) for t in onnx.load_model_from_string(spec.onnx).graph.initializer)
    assert side_car.plan_bytes > weights / 2
    assert result.path in plans.fitting()
    (ranges,) = side_car.key.profiles.values()
    wanted = {
        "pnet": ((1, 3, 12, 12), (1, 3, 768, 768)),
        "rnet": ((1, 3, 24, 24), (256, 3, 24, 24)),
        "onet": ((1, 3, 48, 48), (64, 3, 48, 48)),
        "search": ((1, 720, 1280, 3), (1, 720, 1280, 3)),
        "yunet": ((1, 3, 32, 32), (1, 3, 1536, 1536)),
        "yunet_tiles": ((1, 3, 96, 64), (32, 3, 128, 128)),
        "yunet_frame": ((1, 720, 1280, 4), (1, 720, 1280, 4)),
        "embed": ((1, 3, 112, 112), (16, 3, 112, 112)),
    }[name]
    assert (ranges["min"], ranges["max"]) == wanted


def test_the_shipped_int8_embedding_builds(trt: TensorRT, folder: Path) -> None:
    card = load_card("squeezenet_face")
    if "int8" not in card.parts:
        pytest.skip("no int8 network ships")
    plans = plans_for(trt, folder, "int8")
    (spec,) = plans.specs(["embed"])
    assert spec.onnx == resolve(card, "int8").read_bytes()
    assert plans.specs(["onet"])[0].precision == "fp16", "boxes must stay within a pixel"
    assert "INT8" in weight_types(spec)
    with plans.cache.lock():
        assert plans.build(spec).side_car.key.precision == "int8"


def test_a_shipped_file_that_was_changed_is_not_built(tmp_path: Path) -> None:
    """The card's SHA-256 stands before the build."""
    card = load_card("squeezenet_face")
    path = resolve(card)
    (tmp_path / "squeezenet_face.yaml").write_bytes(
        (path.parent / "squeezenet_face.yaml").read_bytes()
    )
    (tmp_path / path.name).write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelError, match="SHA-256"):
        resolve(load_card(str(tmp_path / "squeezenet_face.yaml")))
