"""ONNX Runtime against the contract of all back ends, and its own refusals."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jetson_face.core.errors import InputMissingError, ModelError
from jetson_face.inference.backend import Backend
from jetson_face.inference.onnxruntime import OnnxBackend, check_providers
from tests.inference.backend_contract import BackendContract, contract_model


@pytest.fixture(scope="module")
def model() -> bytes:
    return contract_model()


@pytest.fixture
def opened(model: bytes) -> Iterator[Callable[[], Backend]]:
    made: list[OnnxBackend] = []

    def _open() -> Backend:
        made.append(OnnxBackend(model, threads=1))
        return made[-1]

    yield _open
    for backend in made:
        backend.close()


class TestOnnxBackend(BackendContract):
    """ONNX Runtime on the CPU."""


def test_a_path_works_as_bytes_do(model: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(model)
    assert set(OnnxBackend(path, threads=1).inputs) == {"x"}


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match=r"none\.onnx"):
        OnnxBackend(tmp_path / "none.onnx")


@pytest.mark.parametrize("data", [b"", b"not a model", b"\x08\x07"], ids=["empty", "text", "cut"])
def test_a_file_that_is_no_model(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"bad\.onnx") as caught:
        OnnxBackend(path)
    assert "\n" not in str(caught.value)


def test_a_provider_that_is_not_installed_is_named(model: bytes) -> None:
    with pytest.raises(ModelError, match="NoSuchProvider"):
        OnnxBackend(model, providers=("NoSuchProvider",))


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        (["CUDAExecutionProvider"], ["CPUExecutionProvider"]),
        (["CUDAExecutionProvider", "CPUExecutionProvider"], ["CPUExecutionProvider"]),
        (["CPUExecutionProvider"], ["CUDAExecutionProvider", "CPUExecutionProvider"]),
    ],
)
def test_a_silent_fall_back_is_an_error(asked: list[str], got: list[str]) -> None:
    with pytest.raises(ModelError, match="would run it on"):
        check_providers(asked, got, "net.onnx")


def test_providers_as_asked_pass() -> None:
    check_providers(
        ["CUDAExecutionProvider"], ["CUDAExecutionProvider", "CPUExecutionProvider"], "net.onnx"
    )


def test_nothing_is_told_to_the_makers_of_onnx_runtime(tmp_path: Path) -> None:
    network = Path(__file__).resolve().parents[2] / "engines" / "squeezenet_face.onnx"
    code = (
        "from jetson_face.inference.onnxruntime import OnnxBackend; "
        f"OnnxBackend({str(network)!r}, threads=1).close()"
    )
    environ = {k: v for k, v in os.environ.items() if "TELEMETRY" not in k and "XDG" not in k}
    environ |= {"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=environ, check=True, timeout=120)
    assert list(tmp_path.rglob("*")) == []
