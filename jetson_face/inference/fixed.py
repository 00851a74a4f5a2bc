"""A network of varying shape, with one shape written into its file."""

from __future__ import annotations

from collections.abc import Sequence

from jetson_face.core.errors import EngineError
from jetson_face.inference.precision import read_model
from jetson_face.util.optional import needs, pip_install


def with_fixed_input(onnx: bytes, shape: Sequence[int], what: str) -> bytes:
    """The graph of one input for this shape alone: its outputs' shapes are numbers then, too.

    TensorRT captures such a plan into a CUDA graph. Raises EngineError where the shape does not
    fit, MissingDependencyError.
    """
    with needs(f"building engines needs the onnx package: {pip_install('pc')}"):
        from onnx import shape_inference
    model = read_model(onnx, what)
    (given,) = model.graph.input
    dims = given.type.tensor_type.shape.dim
    have = [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]
    if len(have) != len(shape) or any(h not in (None, s) for h, s in zip(have, shape, strict=True)):
        raise EngineError(f"{what}: its input is {have}, which is not {list(shape)}")
    for dim, size in zip(dims, shape, strict=True):
        dim.dim_value = size
    for output in model.graph.output:  # names of sizes would contradict the numbers
        output.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    try:
        inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except shape_inference.InferenceError as exc:
        raise EngineError(f"{what}: does not take {list(shape)}: {exc}") from exc
    for output, typed in zip(model.graph.output, inferred.graph.output, strict=True):
        output.CopyFrom(typed)
    return bytes(model.SerializeToString())
