"""What every back end must do. A test module makes the fixture `opened` and takes the class in:

class TestMyBackend(BackendContract): ...

`opened(model)` opens the bytes of an ONNX model whose input `x` (N, 3, H, W) and outputs
`y` = 2 x + 1 and `total` (N, 1), the sum of x, are float32.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jetson_face.core.errors import ModelError
from jetson_face.inference.backend import Backend

Open = Callable[[], Backend]
SIDE = 4


def contract_model() -> bytes:
    """The network of the suite."""
    from onnx import TensorProto, helper, numpy_helper

    def value(name: str, dims: list[Any]) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)

    def constant(name: str, array: Any) -> Any:
        return numpy_helper.from_array(array, name)

    nodes = [
        helper.make_node("Mul", ["x", "two"], ["doubled"]),
        helper.make_node("Add", ["doubled", "one"], ["y"]),
        helper.make_node("Flatten", ["x"], ["flat"], axis=1),
        helper.make_node("ReduceSum", ["flat", "axes"], ["total"], keepdims=1),
    ]
    graph = helper.make_graph(
        nodes,
        "contract",
        [value("x", ["N", 3, SIDE, SIDE])],
        [value("y", ["N", 3, SIDE, SIDE]), value("total", ["N", 1])],
        [
            constant("two", np.full(1, 2, np.float32)),
            constant("one", np.ones(1, np.float32)),
            constant("axes", np.array([1], np.int64)),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return bytes(model.SerializeToString())


def batch(count: int) -> Any:
    values = np.arange(count * 3 * SIDE * SIDE, dtype=np.float32)
    return values.reshape(count, 3, SIDE, SIDE) / 7


class BackendContract:
    """The suite."""

    def test_specs_name_type_and_shape(self, opened: Open) -> None:
        backend = opened()
        assert set(backend.inputs) == {"x"}
        assert set(backend.outputs) == {"y", "total"}
        assert backend.inputs["x"].dtype == np.float32
        assert backend.inputs["x"].shape == (None, 3, SIDE, SIDE)
        assert backend.outputs["total"].shape == (None, 1)

    def test_info_says_what_runs(self, opened: Open) -> None:
        info = opened().info
        assert info.name
        assert info.version[0].isdigit()
        assert info.device
        assert info.precision == "fp32"

    @pytest.mark.parametrize("count", [1, 2, 7])
    def test_any_batch_gives_the_exact_values(self, opened: Open, count: int) -> None:
        x = batch(count)
        result = opened().run({"x": x})
        np.testing.assert_allclose(result["y"], 2 * x + 1, rtol=1e-6)
        np.testing.assert_allclose(result["total"][:, 0], x.sum(axis=(1, 2, 3)), rtol=1e-5)

    def test_batches_of_changing_size_on_one_backend(self, opened: Open) -> None:
        backend = opened()
        for count in (3, 1, 5, 0, 2):
            x = batch(count)
            np.testing.assert_allclose(backend.run({"x": x})["y"], 2 * x + 1, rtol=1e-6)

    def test_empty_batch_gives_empty_outputs(self, opened: Open) -> None:
        result = opened().run({"x": batch(0)})
        assert result["y"].shape == (0, 3, SIDE, SIDE)
        assert result["total"].shape == (0, 1)
        assert result["y"].dtype == np.float32

    @pytest.mark.parametrize(
        ("feeds", "said"),
        [
            ({"x": batch(1).astype(np.float64)}, "float64"),
            ({"x": batch(1)[:, :2]}, r"\(1, 2, 4, 4\)"),
            ({"x": batch(1)[0]}, r"\(3, 4, 4\)"),
            ({"z": batch(1)}, "z"),
            ({}, "x"),
            ({"x": batch(1), "z": batch(1)}, "z"),
        ],
        ids=["dtype", "channels", "rank", "name", "missing", "extra"],
    )
    def test_feeds_that_do_not_fit_are_named(
        self, opened: Open, feeds: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(ModelError, match=said):
            opened().run(feeds)

    @pytest.mark.parametrize("layout", ["strided", "transposed", "reversed", "fortran"])
    def test_any_strides(self, opened: Open, layout: str) -> None:
        whole = batch(6)
        x = {
            "strided": whole[::2],
            "transposed": whole.transpose(0, 1, 3, 2),
            "reversed": whole[:, ::-1],
            "fortran": np.asfortranarray(whole),
        }[layout]
        assert not x.flags.c_contiguous
        np.testing.assert_allclose(opened().run({"x": x})["y"], 2 * x + 1, rtol=1e-6)

    def test_read_only_input_is_taken_and_not_changed(self, opened: Open) -> None:
        x = batch(2)
        kept = x.copy()
        x.flags.writeable = False
        np.testing.assert_allclose(opened().run({"x": x})["y"], 2 * kept + 1, rtol=1e-6)
        np.testing.assert_array_equal(x, kept)

    def test_use_after_close_is_refused_and_close_may_repeat(self, opened: Open) -> None:
        backend = opened()
        backend.close()
        backend.close()
        with pytest.raises(ModelError, match="close"):
            backend.run({"x": batch(1)})

    def test_two_instances_do_not_share_results(self, opened: Open) -> None:
        first, second = opened(), opened()
        a = {k: v.copy() for k, v in first.run({"x": batch(2)}).items()}
        second.run({"x": batch(2) + 1})
        first.close()
        b = second.run({"x": batch(2)})
        np.testing.assert_array_equal(a["y"], b["y"])

    def test_another_thread_may_run_it(self, opened: Open) -> None:
        backend = opened()
        results: list[Any] = []
        worker = threading.Thread(
            target=lambda: results.append(backend.run({"x": batch(2)})["total"].copy())
        )
        worker.start()
        worker.join()
        np.testing.assert_array_equal(results[0], backend.run({"x": batch(2)})["total"])

    def test_memory_is_flat_over_many_runs(self, opened: Open) -> None:
        backend = opened()
        x = np.zeros((64, 3, SIDE, SIDE), np.float32)
        for _ in range(200):
            backend.run({"x": x})
        gc.collect()
        process = psutil.Process()
        before = process.memory_info().rss
        for _ in range(3000):
            backend.run({"x": x})
        gc.collect()
        # 3000 leaked outputs of 12 KiB would be 36 MiB.
        assert process.memory_info().rss - before < 8 << 20

    @settings(
        max_examples=20,
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
        ],
    )
    @given(
        x=hnp.arrays(
            np.float32,
            st.tuples(st.integers(0, 4), st.just(3), st.just(SIDE), st.just(SIDE)),
            elements=st.floats(-100, 100, width=32),
        )
    )
    def test_values_for_any_input(self, opened: Open, x: Any) -> None:
        np.testing.assert_allclose(opened().run({"x": x})["y"], 2 * x + 1, rtol=1e-5, atol=1e-5)
