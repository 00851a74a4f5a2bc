"""ONNX Runtime back end."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import numpy as np

from jetson_face.core.errors import InputMissingError, ModelError
from jetson_face.inference.backend import Array, BackendInfo, TensorSpec, check_feeds
from jetson_face.util.optional import needs, pip_install

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}
_PRECISION_BY_BYTES = {2: "fp16", 4: "fp32", 8: "fp64"}


class OnnxBackend:
    """Runs an ONNX file with ONNX Runtime on exactly the providers that were asked for.

    model: a path, or the bytes of an ONNX file. providers: execution providers, best first; with an
    accelerator named, falling back to the CPU is an error, not a slow surprise. threads: operators'
    threads, None for one per core. what: what errors call the model, None for its path. Outputs are
    fresh arrays on every run.
    Raises ModelError, InputMissingError, MissingDependencyError.
    """

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes,
        *,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        threads: int | None = None,
        precision: str | None = None,
        what: str | None = None,
    ) -> None:
        self._what = what or ("<bytes>" if isinstance(model, bytes) else os.fspath(model))
        without_telemetry()
        with needs(f"ONNX Runtime is not installed: {pip_install('pc')}"):
            import onnxruntime as ort
        self._session: Any = _open_session(ort, model, self._what, list(providers), threads)
        self.inputs = MappingProxyType({n.name: _spec(n) for n in self._session.get_inputs()})
        self.outputs = MappingProxyType({n.name: _spec(n) for n in self._session.get_outputs()})
        first = next(iter(self.inputs.values()))
        self.info = BackendInfo(
            name="onnxruntime",
            version=str(ort.__version__),
            device=self._session.get_providers()[0].removesuffix("ExecutionProvider").lower(),
            precision=precision or _PRECISION_BY_BYTES.get(first.dtype.itemsize, str(first.dtype)),
        )

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The network's outputs for these inputs. Raises ModelError."""
        if self._session is None:
            raise ModelError(f"{self._what}: used after close()")
        check_feeds(self.inputs, feeds)
        if any(0 in array.shape for array in feeds.values()):
            return self._run_empty(feeds)
        # The Python binding needs C order; a view of a larger array is copied here.
        contiguous = {name: np.ascontiguousarray(array) for name, array in feeds.items()}
        try:
            values = self._session.run(None, contiguous)  # all outputs, in their order
        except Exception as exc:  # its exceptions have no common base but Exception
            raise ModelError(f"{self._what}: inference failed: {_one_line(exc)}") from exc
        return dict(zip(self.outputs, values, strict=True))

    def close(self) -> None:
        """Free the session; harmless a second time."""
        self._session = None

    def _run_empty(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs of an empty batch; many operators refuse a dimension of 0, so none is run."""
        for name, array in feeds.items():
            if array.shape[0] != 0 or 0 in array.shape[1:]:
                raise ModelError(
                    f"{self._what}: input {name!r} is empty {array.shape}: only the batch may be 0"
                )
        return {
            name: np.zeros((0, *(d or 0 for d in spec.shape[1:])), spec.dtype)
            for name, spec in self.outputs.items()
        }


def without_telemetry() -> None:
    """Keep ONNX Runtime from sending what it ran to its makers, and from keeping a number of this
    machine for that; where ORT_DISABLE_TELEMETRY is set already it holds. Before its import."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def fused(model: bytes) -> bytes:
    """An ONNX file with its operators joined as ONNX Runtime joins them on any machine, for ONNX
    Runtime alone: it need not be done at each start. Raises ModelError."""
    without_telemetry()
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 3
    with TemporaryDirectory() as folder:
        path = Path(folder) / "fused.onnx"
        options.optimized_model_filepath = str(path)
        try:
            ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as exc:  # its exceptions have no common base but Exception
            raise ModelError(f"<bytes>: cannot be loaded: {_one_line(exc)}") from exc
        return path.read_bytes()


def _open_session(
    ort: Any,
    model: str | os.PathLike[str] | bytes,
    what: str,
    providers: list[str],
    threads: int | None,
) -> Any:
    if not providers:
        raise ModelError("no execution provider named; CPUExecutionProvider always exists")
    unknown = [p for p in providers if p not in ort.get_available_providers()]
    if unknown:
        raise ModelError(
            f"ONNX Runtime {ort.__version__} has no {', '.join(unknown)} here; it has "
            f"{', '.join(ort.get_available_providers())}"
        )
    if not isinstance(model, bytes) and not Path(model).is_file():
        raise InputMissingError(f"{what}: no such model file")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    # Spinning workers keep a core at 100 % between frames; this program is never alone on it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(
            model if isinstance(model, bytes) else os.fspath(model), options, providers=providers
        )
    except Exception as exc:  # its exceptions have no common base but Exception
        raise ModelError(f"{what}: not a model this runtime can run: {_one_line(exc)}") from exc
    check_providers(providers, session.get_providers(), what)
    return session


def check_providers(asked: Sequence[str], got: Sequence[str], what: str) -> None:
    """Raise ModelError where a provider that was asked for was silently dropped."""
    dropped = [p for p in asked if p not in got]
    if dropped or got[0] != asked[0]:
        raise ModelError(
            f"{what}: asked for {', '.join(asked)}, but ONNX Runtime would run it on "
            f"{', '.join(got)}; repair the accelerator's installation or name another provider"
        )


def _spec(node: Any) -> TensorSpec:
    if node.type not in _DTYPES:
        raise ModelError(f"tensor {node.name!r} has type {node.type}, which is not supported")
    shape = tuple(d if isinstance(d, int) and d >= 0 else None for d in node.shape)
    return TensorSpec(np.dtype(_DTYPES[node.type]), shape)


def _one_line(exc: Exception) -> str:
    return " ".join(str(exc).split())[:300]
