"""From a trained run to what ships: ONNX in three precisions (INT8 twice: for TensorRT and for
processors), golden tensors and the model card."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import yaml
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from jetson_face.core.types import F32, I64
from jetson_face.inference.int8 import quantise
from jetson_face.inference.int8_unsigned import quantise_unsigned
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.models.cards import UNSIGNED
from jetson_face.training.net import INPUT_SIZE, ConvNorm, Head, SqueezeNetFace
from jetson_face.training.settings import CardSettings
from jetson_face.util.files import write_file

OPSET = 17
INPUT, OUTPUT = "input", "embedding"


def fold(net: SqueezeNetFace) -> SqueezeNetFace:
    """A copy with every batch-norm folded into the layer before it; same outputs to rounding."""
    out: SqueezeNetFace = copy.deepcopy(net).eval()
    for module in out.modules():
        if isinstance(module, ConvNorm):
            module[0], module[1] = fuse_conv_bn_eval(module[0], module[1]), nn.Identity()
        elif isinstance(module, Head):
            module.place = fuse_conv_bn_eval(module.place, module.place_norm)
            module.linear = fuse_linear_bn_eval(module.linear, module.norm)
            module.place_norm, module.norm = nn.Identity(), nn.Identity()
    return out


def exported(net: nn.Module, side: int) -> bytes:
    """ONNX, FP32: ``input`` (N, 3, side, side) to unit ``embedding`` (N, dim), any N."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs no further package is "legacy"
        torch.onnx.export(
            net.to(memory_format=torch.contiguous_format),
            (torch.zeros(2, 3, side, side),),
            buffer,
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: "N"}, OUTPUT: {0: "N"}},
        )
    return buffer.getvalue()


def to_onnx(net: SqueezeNetFace) -> onnx.ModelProto:
    """FP32 graph of a folded network."""
    model = onnx.load_model_from_string(exported(fold(net), INPUT_SIZE))
    for value in model.graph.output:
        value.type.tensor_type.shape.dim[1].dim_value = net.dim
    model.producer_name, model.producer_version = "jetson_face", ""
    onnx.checker.check_model(model)
    return model


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Half-precision weights and activations, float32 at both ends and in the final normalisation.

    Strongly typed: a Cast stands wherever the type changes, so TensorRT and ONNX Runtime compute
    alike.
    """
    out = onnx.ModelProto()
    out.CopyFrom(model)
    graph = out.graph
    gemm = max(i for i, n in enumerate(graph.node) if n.op_type in ("Gemm", "MatMul"))
    half = [n for i, n in enumerate(graph.node) if i <= gemm]
    used = {name for n in half for name in n.input}
    for tensor in graph.initializer:
        if tensor.name in used and tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    raw = graph.node[gemm].output[0]
    for node in half:
        node.input[:] = [f"{INPUT}_half" if n == INPUT else n for n in node.input]
        node.output[:] = [f"{raw}_half" if n == raw else n for n in node.output]
    rest = list(graph.node)[gemm + 1 :]
    enter = helper.make_node("Cast", [INPUT], [f"{INPUT}_half"], to=TensorProto.FLOAT16)
    leave = helper.make_node("Cast", [f"{raw}_half"], [raw], to=TensorProto.FLOAT)
    del graph.node[:]
    graph.node.extend([enter, *half, leave, *rest])
    del graph.value_info[:]
    onnx.checker.check_model(out, full_check=True)
    return out


def golden_input(count: int = 4) -> F32:
    """Made-up "faces" (count, 3, 112, 112) in [-1, 1]: smooth blobs, nobody's picture.

    Always the same.
    """
    rows, columns = np.mgrid[0:INPUT_SIZE, 0:INPUT_SIZE].astype(np.float64) / (INPUT_SIZE - 1)
    out = np.empty((count, 3, INPUT_SIZE, INPUT_SIZE), np.float32)
    for n in range(count):
        for c in range(3):
            wave = np.sin((3 + n) * rows + c) * np.cos((2 + c) * columns - n)
            eyes = sum(
                np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (0.004 + 0.001 * n))
                for x, y in ((0.34, 0.46), (0.66, 0.46), (0.5, 0.64), (0.37, 0.82), (0.63, 0.82))
            )
            out[n, c] = np.clip(0.6 * wave - 0.5 * eyes, -1, 1)
    return out


def run_onnx(model: bytes, faces: F32, batch: int = 64) -> F32:
    """Embeddings (N, dim) of network input (N, 3, 112, 112) through ONNX Runtime on the CPU."""
    backend = OnnxBackend(model)
    parts = [
        backend.run({INPUT: faces[i : i + batch]})[OUTPUT].copy()
        for i in range(0, len(faces), batch)
    ]
    backend.close()
    return np.concatenate(parts).astype(np.float32, copy=False)


def spread(total: int, count: int, seed: int) -> I64:
    """``count`` different numbers below ``total`` (all of them if fewer), rising, by ``seed``."""
    rng = np.random.default_rng((seed, 3))
    return np.sort(rng.permutation(total)[:count]).astype(np.int64)


def export_run(
    net: SqueezeNetFace,
    folder: Path,
    name: str,
    calibration: F32 | None,
    card: CardSettings,
) -> Path:
    """Write ``NAME.onnx``, ``_fp16``, ``_int8`` and, of a network with ReLU, ``_u8s8`` (both with
    calibration faces), golden tensors and the card; returns the card's path."""
    fp32 = to_onnx(net)
    models = {"fp32": fp32, "fp16": to_fp16(fp32)}
    if calibration is not None:
        feeds = [{INPUT: calibration[i : i + 50]} for i in range(0, len(calibration), 50)]
        models["int8"], _ = quantise(fp32, feeds, name)
    contents = {precision: bytes(model.SerializeToString()) for precision, model in models.items()}
    if calibration is not None and (unsigned := quantise_unsigned(fp32, feeds)) is not None:
        contents[UNSIGNED] = unsigned
    files: dict[str, dict[str, str]] = {}
    for precision, content in contents.items():
        file = f"{name}.onnx" if precision == "fp32" else f"{name}_{precision}.onnx"
        write_file(folder / file, content)
        digest = sha256(content).hexdigest()
        files[precision] = {"path": file, "sha256": digest}
    given = golden_input()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, input=given, output=run_onnx(fp32.SerializeToString(), given))
    golden = f"{name}.golden.npz"
    write_file(folder / golden, buffer.getvalue())
    told = card_of(name, files, INPUT_SIZE, net.dim, "arcface112", card, golden)
    path = folder / f"{name}.yaml"
    write_card(path, told)
    return path


def write_card(path: Path, told: Mapping[str, Any]) -> None:
    """Write a card's keys in the order given."""
    write_file(path, yaml.dump(dict(told), Dumper=_CardDumper, sort_keys=False))


class _CardDumper(yaml.SafeDumper):
    """Writes texts of several lines as YAML blocks, for people to read."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_CardDumper.add_representer(str, _text)


def card_of(
    name: str,
    files: dict[str, dict[str, str]],
    side: int,
    dim: int,
    alignment: str,
    told: CardSettings,
    golden: str | None = None,
) -> dict[str, Any]:
    """The model card of an embedder. side: of its pictures, pixels. golden: file of its vectors."""
    return {
        "name": name,
        "kind": "embedder",
        "files": files,
        "licence": told.licence,
        "source": told.source,
        "input": {
            "name": INPUT,
            "size": [side, side],
            "colour": "RGB",
            "layout": "NCHW",
            "mean": [127.5] * 3,
            "std": [127.5] * 3,
        },
        "output": {"name": OUTPUT, "dim": dim},
        "alignment": alignment,
        "similarity_min": told.similarity_min,
        **({} if golden is None else {"golden": golden}),
        "notes": told.notes,
    }
