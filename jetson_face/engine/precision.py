"""Precision lives in the ONNX file: strongly typed TensorRT does what the graph says."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from jetson_face.errors import EngineError, MissingDependencyError


def to_fp16(onnx: bytes, what: str, *, fp32_ops: Sequence[str] = ()) -> bytes:
    """The graph with fp16 weights and arithmetic; its inputs and outputs stay fp32.

    fp32_ops: operator types left in fp32. A graph that already holds fp16 weights is returned as
    it is. Raises EngineError, MissingDependencyError.
    """
    onnx_module, float16 = _modules()
    model = read_model(onnx, what)
    if any(weight.data_type == onnx_module.TensorProto.FLOAT16 for weight in _weights(model)):
        return onnx  # converted by whoever made it, who knew what must stay fp32
    try:
        with warnings.catch_warnings():
            # It warns once for each weight below fp16's smallest number, which becomes that number.
            warnings.simplefilter("ignore")
            converted = float16.convert_float_to_float16(
                onnx_module.shape_inference.infer_shapes(model),
                keep_io_types=True,
                op_block_list=[*float16.DEFAULT_OP_BLOCK_LIST, *fp32_ops],
            )
    except Exception as exc:  # the converter has no error class of its own
        raise EngineError(f"{what}: cannot be converted to fp16: {_short(exc)}") from exc
    return bytes(converted.SerializeToString())


def read_model(onnx: bytes, what: str) -> Any:
    """The parsed and checked ONNX model. Raises EngineError where it is not one."""
    onnx_module, _ = _modules()
    try:
        model = onnx_module.load_model_from_string(onnx)
        onnx_module.checker.check_model(model)
    except Exception as exc:  # protobuf and the checker raise their own, unrelated classes
        raise EngineError(
            f"{what}: not a valid ONNX file ({_short(exc)}): export or fetch it again"
        ) from exc
    return model


def has_quantisation(onnx: bytes, what: str) -> bool:
    """Does the graph hold Q/DQ pairs? Raises EngineError."""
    return any(node.op_type == "QuantizeLinear" for node in read_model(onnx, what).graph.node)


def prepare(onnx: bytes, what: str, precision: str, *, fp32_ops: Sequence[str] = ()) -> bytes:
    """What TensorRT is to read for this precision. Raises EngineError."""
    if precision == "fp16":
        return to_fp16(onnx, what, fp32_ops=fp32_ops)
    quantised = has_quantisation(onnx, what)
    if precision == "int8" and not quantised:
        raise EngineError(
            f"{what}: an int8 plan needs calibrated numbers: run jetson-face engines calibrate"
        )
    if precision == "fp32" and quantised:
        raise EngineError(f"{what}: an fp32 plan was asked for, but the graph is quantised")
    if precision not in ("fp32", "int8"):
        raise EngineError(f"{what}: unknown precision {precision!r}: fp32, fp16 or int8")
    return onnx


def _weights(model: Any) -> list[Any]:
    constants = [a.t for n in model.graph.node if n.op_type == "Constant" for a in n.attribute]
    return [*model.graph.initializer, *constants]


def _modules() -> tuple[Any, Any]:
    try:
        import onnx
        from onnxconverter_common import float16
    except ImportError as exc:
        raise MissingDependencyError(
            f"building engines needs {exc.name}: pip install 'jetson-face[engines]'"
        ) from exc
    return onnx, float16


def _short(exc: Exception) -> str:
    return " ".join(str(exc).split())[:200]
