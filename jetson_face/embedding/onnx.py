"""Any network with a model card: one input of images, one output of vectors."""

from __future__ import annotations

import numpy as np

from jetson_face.core.errors import ModelError
from jetson_face.core.types import F32, ImageU8
from jetson_face.embedding.card import CardEmbedder
from jetson_face.inference.backend import Backend
from jetson_face.models.cards import InputSpec, ModelCard

_ONE_PICTURE = (
    ": it takes one picture at a time: add `fold: batch` to the card, or let `jetson-face models "
    "add` make it"
)


class OnnxEmbedder(CardEmbedder):
    """Embeds crops with whatever back end runs the card's network; preprocessing is the card's.

    max_batch: crops for one run; more are split. The embedder closes the back end.
    Raises ModelError where card, template and network do not fit together.
    """

    def __init__(self, card: ModelCard, backend: Backend, *, max_batch: int = 16) -> None:
        super().__init__(card)
        if card.input is None or card.output is None:
            raise ModelError(f"model {card.name!r}: its card names no input and output tensors")
        if card.input.size != (self._size, self._size):
            raise ModelError(
                f"model {card.name!r} takes {card.input.size} but its alignment "
                f"{card.alignment!r} gives {self._size}x{self._size} crops"
            )
        _check_network(card, card.input, backend, self._size)
        self._input, self._backend = card.input, backend
        self._output, self._dim = card.output.name, card.output.dim
        self._dtype = backend.inputs[card.input.name].dtype
        self._max_batch = max_batch

    def _vectors(self, crops: ImageU8) -> F32:
        out = np.empty((len(crops), self._dim), np.float32)
        for first in range(0, len(crops), self._max_batch):
            part = slice(first, first + self._max_batch)
            feed = preprocess(crops[part], self._input).astype(self._dtype, copy=False)
            out[part] = self._backend.run({self._input.name: feed})[self._output]
        return out

    def close(self) -> None:
        """Close the back end."""
        self._backend.close()


def preprocess(crops: ImageU8, spec: InputSpec) -> F32:
    """Crops (N, S, S, 3) uint8 BGR as the card's input: (x - mean) / std of pixels 0 to 255."""
    out = np.empty((len(crops), 3, *crops.shape[1:3]), np.float32)
    for channel in range(3):
        source = 2 - channel if spec.colour == "RGB" else channel
        plane = out[:, channel]
        plane[...] = crops[..., source]
        plane -= np.float32(spec.mean[channel])
        plane *= np.float32(1 / spec.std[channel])
    return out if spec.layout == "NCHW" else np.ascontiguousarray(out.transpose(0, 2, 3, 1))


def _check_network(card: ModelCard, spec: InputSpec, backend: Backend, size: int) -> None:
    if card.output is None or set(backend.inputs) != {spec.name}:
        raise ModelError(
            f"model {card.name!r}: the card names input {spec.name!r}, the network has "
            f"{sorted(backend.inputs)}"
        )
    if card.output.name not in backend.outputs:
        raise ModelError(
            f"model {card.name!r}: the card names output {card.output.name!r}, the network has "
            f"{sorted(backend.outputs)}"
        )
    image = (3, size, size) if spec.layout == "NCHW" else (size, size, 3)
    wants = backend.inputs[spec.name].shape
    gives = backend.outputs[card.output.name].shape
    if wants != (None, *image) or gives[-1] not in (None, card.output.dim) or len(gives) != 2:
        raise ModelError(
            f"model {card.name!r}: the card says (N, {', '.join(map(str, image))}) -> "
            f"(N, {card.output.dim}), the network has {wants} -> {gives}"
            + (_ONE_PICTURE if wants == (1, *image) else "")
        )
