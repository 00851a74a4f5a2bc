"""INT8 by calibration: Q/DQ pairs in the ONNX file, from the user's own pictures."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jetson_face.backends.base import Array
from jetson_face.engine.precision import read_model
from jetson_face.errors import EngineError, MissingDependencyError

OPERATORS = ("Conv",)
"""The dense head and the normalisation stay fp32: they cost nothing and carry all the error."""


def calibrate(
    onnx: bytes, feeds: Iterable[Mapping[str, Array]], what: str, *, faces_min: int = 16
) -> tuple[bytes, int]:
    """The fp32 graph with Q/DQ pairs, and how many faces the ranges come from.

    feeds: batches of the network's input, as they are when it runs. Symmetric int8, weights by
    output channel, zero points 0 and biases left in fp32: what TensorRT takes.
    Raises EngineError on fewer than `faces_min` faces or a graph that cannot be quantised,
    MissingDependencyError.
    """
    quantization = _import_quantization()
    model = read_model(onnx, what)
    reader = _reader(quantization, feeds)
    with tempfile.TemporaryDirectory(prefix="jetson-face-") as scratch:
        target = Path(scratch) / "int8.onnx"
        try:
            quantization.quantize_static(
                model,
                str(target),
                reader,
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=list(OPERATORS),
                per_channel=True,
                activation_type=quantization.QuantType.QInt8,
                weight_type=quantization.QuantType.QInt8,
                calibrate_method=quantization.CalibrationMethod.MinMax,
                extra_options={
                    "ActivationSymmetric": True,
                    "WeightSymmetric": True,
                    "QuantizeBias": False,
                },
            )
        except Exception as exc:  # it has no error class of its own
            if reader.faces < faces_min:
                raise EngineError(_too_few(what, reader.faces, faces_min)) from exc
            text = " ".join(str(exc).split())[:200]
            raise EngineError(f"{what}: cannot be quantised: {text}") from exc
        if reader.faces < faces_min:
            raise EngineError(_too_few(what, reader.faces, faces_min))
        return target.read_bytes(), reader.faces


def _too_few(what: str, faces: int, faces_min: int) -> str:
    return (
        f"{what}: {faces} faces are too few to calibrate on, {faces_min} are needed: give more "
        "pictures, of different people and light"
    )


def _reader(quantization: Any, feeds: Iterable[Mapping[str, Array]]) -> Any:
    base: Any = quantization.CalibrationDataReader

    class Reader(base):  # type: ignore[misc]
        faces = 0

        def __init__(self) -> None:
            self._feeds = iter(feeds)

        def get_next(self) -> dict[str, Array] | None:
            feed = next(self._feeds, None)
            if feed is None:
                return None
            self.faces += len(next(iter(feed.values())))
            return dict(feed)

    return Reader()


def _import_quantization() -> Any:
    try:
        from onnxruntime import quantization
    except ImportError as exc:
        raise MissingDependencyError(
            f"calibration needs {exc.name}: pip install 'jetson-face[pc]'"
        ) from exc
    return quantization
