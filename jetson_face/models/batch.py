"""Networks that were exported for one picture at a time, made to take any number of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jetson_face.core.errors import InputBrokenError
from jetson_face.util.optional import needs, pip_install

if TYPE_CHECKING:
    import onnx

BUILDER = 1
"""Counted up when a rewritten network changes; a part of the cache's key."""


def any_batch(content: bytes) -> bytes:
    """The ONNX file with a free first axis on every input and output.

    Shapes that its Reshape nodes are given, and that say 1 for the picture, take the number of
    pictures as it comes. That the answers are those of one picture at a time is for the caller to
    see: an operation may mix pictures in other ways.

    Raises:
        InputBrokenError: not an ONNX file, or one that takes several pictures at once.
        MissingDependencyError: the onnx package is not installed.
    """
    with needs(f"freeing a network's batch needs the onnx package: {pip_install('pc')}"):
        import onnx
    try:
        model = onnx.load_model_from_string(content)
    except Exception as exc:  # protobuf's own kind, which comes with no types
        raise InputBrokenError(f"not an ONNX file: {exc}") from exc
    _free_axes(model.graph)
    _free_reshapes(model.graph)
    del model.graph.value_info[:]  # they say one picture
    if model.ir_version < 4:  # where every weight must be an input, too
        model.ir_version = 4
    model.producer_name = "jetson_face"
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as exc:
        raise InputBrokenError(
            f"the network does not hold with any number of pictures: {exc}"
        ) from exc
    return bytes(model.SerializeToString())


def _free_axes(graph: onnx.GraphProto) -> None:
    """The first axis of what goes in and out."""
    held = {tensor.name for tensor in graph.initializer}
    for value in (value for value in [*graph.input, *graph.output] if value.name not in held):
        shape = value.type.tensor_type.shape
        if not shape.dim:
            raise InputBrokenError(f"{value.name!r} has no axis for the pictures")
        if shape.dim[0].dim_value > 1:
            raise InputBrokenError(
                f"{value.name!r} takes exactly {shape.dim[0].dim_value} pictures at once: export "
                "the network for one, or with a free batch"
            )
        shape.dim[0].ClearField("dim_value")
        shape.dim[0].dim_param = "N"


def _free_reshapes(graph: onnx.GraphProto) -> None:
    """Shapes that say 1 for the picture say "as it comes"; those of weights stay."""
    from onnx import numpy_helper

    held = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            held.update((node.output[0], a.t) for a in node.attribute if a.name == "value")
    for number, node in enumerate(graph.node):
        if node.op_type != "Reshape" or node.input[0] in held or node.input[1] not in held:
            continue
        wanted = numpy_helper.to_array(held[node.input[1]]).copy()
        if len(wanted) and wanted[0] == 1:
            wanted[0] = 0
            graph.initializer.append(numpy_helper.from_array(wanted, f"free_batch_{number}"))
            node.input[1] = f"free_batch_{number}"
