"""What lets INT8 lose less: channels of equal range, and biases that make up for the rounding.

Both leave the fp32 network what it is. Measured in engines/README.md, "INT8".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jetson_face.core.types import F32
from jetson_face.inference.backend import Array
from jetson_face.inference.onnxruntime import OnnxBackend

FACES = 200
"""Of the calibration faces: enough for a channel's range and mean."""
HIGHEST = 0.999
SMALLEST = 1e-3

Batches = Sequence[Mapping[str, Array]]


def equalised(module: Any, model: Any, feeds: Batches) -> Any:
    """The same fp32 network, with channels between ReLU and convolutions nearer to one range.

    One scale rounds all channels of a tensor, so the small ones lose most. ReLU keeps factors: a
    channel is made larger before it, and smaller by as much in the kernels that read it. By the
    root of the way, since the kernels are rounded as well. Nagel et al., "Data-free quantization
    through weight equalization and bias correction", 2019, section 4.1.
    """
    out = module.ModelProto()
    out.CopyFrom(model)
    weights = {tensor.name: tensor for tensor in out.graph.initializer}
    between = list(_between(out.graph, weights))
    tops = _tops(module, model, [node.output[0] for _, node, _ in between], feeds)
    for maker, relu, readers in between:
        top = tops[relu.output[0]]
        share = np.sqrt(np.maximum(top / max(float(top.max()), 1e-12), SMALLEST))
        for name in maker.input[1:]:
            _scale(module, weights[name], (1 / share).astype(np.float32), 0)
        for reader in readers:
            _scale(module, weights[reader.input[1]], share.astype(np.float32), 1)
    return out


def _between(graph: Any, weights: Mapping[str, Any]) -> Iterator[tuple[Any, Any, list[Any]]]:
    """Convolution, ReLU, and the convolutions that alone read it, each with kernels of its own."""
    makers = {output: node for node in graph.node for output in node.output}
    shown = {value.name for value in graph.output}
    used = [name for node in graph.node for name in node.input]
    for node in graph.node:
        maker = makers.get(node.input[0]) if node.op_type == "Relu" else None
        if maker is None or maker.op_type != "Conv":
            continue
        readers = [reader for reader in graph.node if node.output[0] in reader.input]
        names = [*maker.input[1:], *(r.input[1] for r in readers if r.op_type == "Conv")]
        if (
            readers
            and all(r.op_type == "Conv" and _groups(r) == 1 for r in readers)
            and all(name in weights and used.count(name) == 1 for name in names)
            and used.count(maker.output[0]) == 1
            and not shown & {maker.output[0], node.output[0]}
        ):
            yield maker, node, readers


def _groups(node: Any) -> int:
    return next((int(a.i) for a in node.attribute if a.name == "group"), 1)


def _scale(module: Any, tensor: Any, by: F32, axis: int) -> None:
    values = module.numpy_helper.to_array(tensor)
    shape = [1] * values.ndim
    shape[axis] = -1
    tensor.CopyFrom(module.numpy_helper.from_array(values * by.reshape(shape), tensor.name))


def _tops(module: Any, model: Any, names: Sequence[str], feeds: Batches) -> dict[str, F32]:
    """Nearly the highest value of every channel of each tensor (N, C, ...), over all feeds."""
    tops: dict[str, F32] = {}
    for seen in _shown(module, model, names, feeds):
        for name in names:
            high = np.quantile(seen[name], HIGHEST, axis=_but_channels(seen[name]))
            high = high.astype(np.float32)
            tops[name] = np.maximum(tops.get(name, high), high)
    return tops


def correct_biases(module: Any, model: Any, quantised: Any, feeds: Batches) -> None:
    """Change the biases of ``quantised`` until every convolution's channels have the means that
    they have in ``model``; from the first to the last, each with those before put right.

    Rounding moves means, and what is read by a threshold at 0 does not average that out. Nagel et
    al., 2019, section 4.2, from faces instead of batch-norms.
    """
    weights = {tensor.name: tensor for tensor in quantised.graph.initializer}
    biases = {
        node.output[0]: bias
        for node in quantised.graph.node
        if node.op_type == "Conv" and node.input[1] not in weights and len(node.input) == 3
        if (bias := _own_bias(quantised.graph, node, weights)) is not None
    }
    wanted = _means(module, model, list(biases), feeds)
    for name, bias in biases.items():
        off = wanted[name] - _means(module, quantised, [name], feeds)[name]
        values = module.numpy_helper.to_array(bias) + off
        bias.CopyFrom(module.numpy_helper.from_array(values.astype(np.float32), bias.name))


def _own_bias(graph: Any, node: Any, weights: Mapping[str, Any]) -> Any | None:
    """The bias of a convolution as a tensor of its own: exporters let equal ones be one, behind an
    Identity. None where it is computed."""
    makers = {output: other for other in graph.node for output in other.output}
    name = node.input[2]
    while name in makers and makers[name].op_type == "Identity":
        name = makers[name].input[0]
    if name not in weights:
        return None
    used = sum(node.input[2] in other.input for other in graph.node)
    if name == node.input[2] and used == 1:
        return weights[name]
    own = graph.initializer.add()
    own.CopyFrom(weights[name])
    own.name = node.input[2] = f"{node.output[0]}_bias"
    return own


def _means(module: Any, model: Any, names: Sequence[str], feeds: Batches) -> dict[str, F32]:
    """Of every channel of each tensor (N, C, ...), over all feeds."""
    sums: dict[str, Any] = dict.fromkeys(names, 0.0)
    places = dict.fromkeys(names, 0)
    for seen in _shown(module, model, names, feeds):
        for name in names:
            sums[name] = sums[name] + seen[name].sum(_but_channels(seen[name]), dtype=np.float64)
            places[name] += seen[name].size // seen[name].shape[1]
    return {name: (sums[name] / places[name]).astype(np.float32) for name in names}


def _but_channels(values: Array) -> tuple[int, ...]:
    return (0, *range(2, values.ndim))


def _shown(
    module: Any, model: Any, names: Sequence[str], feeds: Batches
) -> Iterator[dict[str, Array]]:
    """What the tensors are at each feed."""
    probe = module.ModelProto()
    probe.CopyFrom(model)
    outputs = {value.name for value in probe.graph.output}
    probe.graph.output.extend(
        module.helper.make_tensor_value_info(name, module.TensorProto.FLOAT, None)
        for name in names
        if name not in outputs
    )
    backend = OnnxBackend(probe.SerializeToString())
    try:
        for feed in feeds:
            yield backend.run(feed)
    finally:
        backend.close()


def first_faces(feeds: Batches, most: int = FACES) -> Batches:
    """As many whole feeds as hold ``most`` faces, at least one."""
    out: list[Mapping[str, Array]] = []
    faces = 0
    for feed in feeds:
        if out and faces >= most:
            break
        out.append(feed)
        faces += len(next(iter(feed.values())))
    return out
