"""Precision lives in the ONNX file: strongly typed TensorRT does what the graph says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jetson_face.core.errors import EngineError
from jetson_face.util.optional import needs, pip_install

FP32_OPS = frozenset(
    {"Cast", "Clip", "Div", "Expand", "LpNormalization", "Pow", "ReduceL2", "ReduceMean"}
    | {"ReduceSum", "ReduceSumSquare", "Resize", "Shape", "Sqrt"}
)
"""Always fp32: the sum of squares under a normalisation leaves fp16's range, a Cast says itself
what it gives, and Resize takes its scales in fp32 only."""
_LARGEST = 65504.0


def to_fp16(onnx: bytes, what: str, *, fp32_ops: Sequence[str] = ()) -> bytes:
    """The graph with fp16 weights and arithmetic; its inputs and outputs stay fp32.

    fp32_ops: what is left in fp32 besides FP32_OPS: operator types, and outputs of single nodes. A
    graph that already holds fp16 weights is returned as it is.
    Raises EngineError, MissingDependencyError.
    """
    module = _onnx()
    model = read_model(onnx, what)
    if any(tensor.data_type == module.TensorProto.FLOAT16 for tensor in _constants(model)):
        return onnx  # converted by whoever made it, who knew what must stay fp32
    typed = module.shape_inference.infer_shapes(model)
    try:
        _Halver(module, typed, what, FP32_OPS | set(fp32_ops)).convert()
        module.checker.check_model(typed, full_check=True)
    except EngineError:
        raise
    except Exception as exc:  # the checker raises unrelated classes
        raise EngineError(f"{what}: cannot be converted to fp16: {_short(exc)}") from exc
    return bytes(typed.SerializeToString())


class _Halver:
    """Rewrites one graph in place, with a Cast wherever the type changes."""

    def __init__(self, module: Any, model: Any, what: str, keep: set[str] | frozenset[str]) -> None:
        self._onnx, self._what, self._keep = module, what, keep
        self._graph = model.graph
        self._float = module.TensorProto.FLOAT
        self._half_type = module.TensorProto.FLOAT16
        self._weights = {t.name: t for t in _constants(model) if t.data_type == self._float}
        values = [*self._graph.input, *self._graph.value_info, *self._graph.output]
        self._floats = {v.name for v in values if v.type.tensor_type.elem_type == self._float}
        self._half: set[str] = set()
        self._nodes: list[Any] = []
        self._made: dict[tuple[str, int], str] = {}
        self._new_weights: list[Any] = []

    def convert(self) -> None:
        """Do it."""
        for node in self._graph.node:
            if any(attribute.type in (5, 10) for attribute in node.attribute):  # graph(s)
                raise EngineError(
                    f"{self._what}: {node.op_type} holds a graph of its own, which cannot be "
                    "converted to fp16: set backend.precision to fp32"
                )
            if node.op_type in self._keep or node.output[0] in self._keep:
                self._keep_node(node)
            elif node.op_type != "Constant" or node.output[0] not in self._weights:
                self._halve_node(node)
            self._nodes.append(node)
        self._restore_outputs()
        used = {name for node in self._nodes for name in node.input}
        kept = [t for t in self._graph.initializer if t.name in used]
        nodes = [n for n in self._nodes if n.op_type != "Constant" or n.output[0] in used]
        for field, content in (("node", nodes), ("initializer", [*kept, *self._new_weights])):
            copies = [type(item).FromString(item.SerializeToString()) for item in content]
            del getattr(self._graph, field)[:]
            getattr(self._graph, field).extend(copies)
        del self._graph.value_info[:]

    def _keep_node(self, node: Any) -> None:
        for i, name in enumerate(node.input):
            if name in self._half:
                node.input[i] = self._cast(name, self._float)

    def _halve_node(self, node: Any) -> None:
        for i, name in enumerate(node.input):
            if name in self._weights:
                node.input[i] = self._halve_weight(name)
            elif name in self._floats and name not in self._half:
                node.input[i] = self._cast(name, self._half_type)
        self._half.update(name for name in node.output if name in self._floats)

    def _cast(self, name: str, to: int) -> str:
        key = (name, to)
        if key not in self._made:
            self._made[key] = f"{name}__{'fp16' if to == self._half_type else 'fp32'}"
            cast = self._onnx.helper.make_node(
                "Cast", [name], [self._made[key]], name=self._made[key], to=to
            )
            self._nodes.append(cast)
        return self._made[key]

    def _halve_weight(self, name: str) -> str:
        key = (name, self._half_type)
        if key not in self._made:
            self._made[key] = f"{name}__fp16"
            value = self._onnx.numpy_helper.to_array(self._weights[name])
            if float(np.abs(value).max(initial=0)) > _LARGEST:
                raise EngineError(
                    f"{self._what}: weight {name!r} is beyond fp16's largest number: set "
                    "backend.precision to fp32"
                )
            half = np.ascontiguousarray(value.astype(np.float16))
            self._new_weights.append(self._onnx.numpy_helper.from_array(half, self._made[key]))
        return self._made[key]

    def _restore_outputs(self) -> None:
        """A graph output that became fp16 is cast back under its own name."""
        for output in self._graph.output:
            if output.name not in self._half:
                continue
            inner = f"{output.name}__inner"
            for node in self._nodes:
                for names in (node.input, node.output):
                    for i, name in enumerate(names):
                        if name == output.name:
                            names[i] = inner
            cast = self._onnx.helper.make_node(
                "Cast", [inner], [output.name], name=f"{output.name}__out", to=self._float
            )
            self._nodes.append(cast)


def read_model(onnx: bytes, what: str) -> Any:
    """The parsed and checked ONNX model. Raises EngineError where it is not one."""
    module = _onnx()
    try:
        model = module.load_model_from_string(onnx)
        module.checker.check_model(model)
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
    if precision not in ("fp32", "fp16", "int8"):
        raise EngineError(f"{what}: unknown precision {precision!r}: fp32, fp16 or int8")
    quantised = has_quantisation(onnx, what)
    if precision == "int8" and not quantised:
        raise EngineError(
            f"{what}: an int8 plan needs calibrated numbers: run jetson-face engines calibrate"
        )
    if precision != "int8" and quantised:
        raise EngineError(f"{what}: {precision} was asked for, but the graph is quantised")
    return to_fp16(onnx, what, fp32_ops=fp32_ops) if precision == "fp16" else onnx


def _constants(model: Any) -> list[Any]:
    """Initialisers, and the tensors of Constant nodes under the node's output name."""
    found = list(model.graph.initializer)
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                tensor = type(attribute.t).FromString(attribute.t.SerializeToString())
                tensor.name = node.output[0]
                found.append(tensor)
    return found


def _onnx() -> Any:
    with needs(f"building engines needs the onnx package: {pip_install('pc')}"):
        import onnx
    return onnx


def _short(exc: Exception) -> str:
    return " ".join(str(exc).split())[:200]
