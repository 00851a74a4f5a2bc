"""The back-end seam: named arrays in, named arrays out, whatever runs the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from jetson_face.core.errors import ModelError

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor's element type and shape; None is a dimension that may vary."""

    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """What ran: goes into every benchmark and report. precision: fp32, fp16, int8."""

    name: str
    version: str
    device: str
    precision: str


class Backend(Protocol):
    """Runs one network.

    `run` takes arrays of any strides, writeable or not, with exactly the names in `inputs`, and
    may return views of buffers that the next `run` overwrites: a caller that keeps a result
    copies it. A batch of 0 returns empty outputs. One thread at a time; any thread.
    Raises ModelError on a wrong name, dtype or shape, and after `close`.
    """

    @property
    def inputs(self) -> Mapping[str, TensorSpec]: ...
    @property
    def outputs(self) -> Mapping[str, TensorSpec]: ...
    @property
    def info(self) -> BackendInfo: ...
    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]: ...
    def close(self) -> None: ...


def check_feeds(inputs: Mapping[str, TensorSpec], feeds: Mapping[str, Array]) -> None:
    """Refuse feeds that do not fit the network's inputs, naming the tensor and what it wants.

    Raises ModelError.
    """
    if feeds.keys() != inputs.keys():
        raise ModelError(f"inputs are {sorted(inputs)}, got {sorted(feeds)}")
    for name, spec in inputs.items():
        array = feeds[name]
        fits = len(array.shape) == len(spec.shape) and all(
            want is None or want == have for want, have in zip(spec.shape, array.shape, strict=True)
        )
        if array.dtype != spec.dtype or not fits:
            raise ModelError(
                f"input {name!r} wants {spec.dtype} {spec.shape}, got {array.dtype} {array.shape}"
            )
