"""What an ONNX file says of itself: what an embedder's card can be asked of it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jetson_face.core.errors import InputBrokenError, ModelError
from jetson_face.inference.backend import TensorSpec
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.models.batch import any_batch
from jetson_face.models.cards import InputSpec, OutputSpec

Layout = Literal["NCHW", "NHWC"]


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """input, output: tensors. size: pixels of the square picture. dim: numbers of a vector.
    one_at_a_time: it was exported for one picture, and its card needs `fold: batch`."""

    input: str
    output: str
    size: int
    layout: Layout
    dim: int
    one_at_a_time: bool

    def specs(
        self, colour: Literal["RGB", "BGR"], mean: list[float], std: list[float]
    ) -> dict[str, InputSpec | OutputSpec]:
        """The card's `input` and `output`. mean, std: one number, or one for each channel."""
        three = [values * 3 if len(values) == 1 else values for values in (mean, std)]
        given = {"name": self.input, "size": (self.size, self.size), "colour": colour}
        return {
            "input": InputSpec.model_validate(
                {**given, "layout": self.layout, "mean": three[0], "std": three[1]}
            ),
            "output": OutputSpec(name=self.output, dim=self.dim),
        }

    def __str__(self) -> str:
        side = f"{self.size}×{self.size}"
        return f"takes {self.input!r} {side} {self.layout}, gives {self.output!r} of {self.dim}"


def ask(content: bytes, what: str, output: str | None = None) -> NetworkFacts:
    """What the network takes and gives, as it says and as a run shows.

    output: which, where it has several. Raises ModelError where it embeds no pictures.
    """
    with closing(OnnxBackend(content, what=what)) as backend:
        if len(backend.inputs) != 1:
            raise ModelError(
                f"{what}: has the inputs {', '.join(backend.inputs)}: one picture is wanted"
            )
        ((name, takes),) = backend.inputs.items()
        layout, size = _picture(takes, what)
        there = list(backend.outputs)
        output = there[0] if output is None and len(there) == 1 else output
        if output is None or output not in there:
            raise ModelError(
                f"{what}: has the outputs {', '.join(there)}: name one of them with --output"
            )
        gives = backend.outputs[output]
        one = takes.shape[0] is not None or gives.shape[0] is not None
        picture = (1, 3, size, size) if layout == "NCHW" else (1, size, size, 3)
        vector = backend.run({name: np.full(picture, 0.5, takes.dtype)})[output]
    if vector.ndim != 2 or vector.shape[0] != 1 or vector.shape[1] < 2:
        raise ModelError(
            f"{what}: {output!r} is {vector.shape} for one picture: (1, numbers) is wanted"
        )
    asked = NetworkFacts(name, output, size, layout, int(vector.shape[1]), one)
    if one:
        try:
            any_batch(content)
        except InputBrokenError as error:
            raise ModelError(f"{what}: {error}") from error
    return asked


def _picture(takes: TensorSpec, what: str) -> tuple[Layout, int]:
    shape = takes.shape
    layouts: dict[Layout, int] = {"NCHW": 1, "NHWC": 3}
    fits: list[Layout] = [n for n, at in layouts.items() if len(shape) == 4 and shape[at] == 3]
    if not np.issubdtype(takes.dtype, np.floating) or not fits or shape[0] not in (None, 1):
        raise ModelError(
            f"{what}: takes {takes.dtype} {shape}: (N or 1, 3, S, S) or (N or 1, S, S, 3) of "
            "floating-point numbers is wanted"
        )
    layout = fits[0]
    height, width = shape[2:] if layout == "NCHW" else shape[1:3]
    if height is None or height != width:
        raise ModelError(f"{what}: takes pictures {height}×{width}: export it for a square size")
    return layout, height
