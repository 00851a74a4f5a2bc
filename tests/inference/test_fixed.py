"""One shape written into a network's file."""

from __future__ import annotations

import pytest

from jetson_face.core.errors import EngineError
from jetson_face.inference.fixed import with_fixed_input
from jetson_face.inference.onnxruntime import OnnxBackend
from tests.inference.graphs import tiny_conv


def test_inputs_and_outputs_have_numbers_for_sizes() -> None:
    backend = OnnxBackend(with_fixed_input(tiny_conv(), (1, 3, 12, 22), "tiny"))
    assert backend.inputs["x"].shape == (1, 3, 12, 22)
    assert backend.outputs["y"].shape == (1, 4, 10, 20)


@pytest.mark.parametrize("shape", [(1, 5, 12, 22), (3, 12, 22)])
def test_a_shape_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(EngineError, match="tiny: "):
        with_fixed_input(tiny_conv(), shape, "tiny")
