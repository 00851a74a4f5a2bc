"""The paper plan counts what the literature counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from roofline import (
    BOARDS,
    PUBLISHED,
    Work,
    expected,
    resnet_18,
    rows_of,
    squeezenet_1_1,
    stages,
    table,
    total,
    work_of,
)

from tests.inference.graphs import tiny_conv

REPO = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("network", "gmacs", "weights"),
    # Multiply-adds and parameters as torchvision's documentation gives them.
    [(squeezenet_1_1, 0.349, 1.235e6), (resnet_18, 1.814, 11.69e6)],
)
def test_published_networks(network: object, gmacs: float, weights: float) -> None:
    assert callable(network)
    layers = network()
    assert sum(layer.macs for layer in layers) / 1e9 == pytest.approx(gmacs, rel=0.03)
    assert sum(layer.weights for layer in layers) == pytest.approx(weights, rel=0.02)


def test_an_onnx_file_is_counted_for_the_shape_that_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_conv())
    (small,) = work_of(path, (1, 3, 12, 22))
    assert small.macs == 4 * 10 * 20 * 27
    assert small.weights == 4 * 27
    assert small.activations == 3 * 12 * 22 + 4 * 10 * 20
    (large,) = work_of(path, (2, 3, 12, 22))
    assert large.macs == 2 * small.macs


def test_the_slower_of_arithmetic_and_memory_counts() -> None:
    board = BOARDS[0]
    busy, full = Work(1e9, 0, 0), Work(0, 0, 1e9)
    assert busy.seconds(board) == pytest.approx(2e9 / (0.3 * board.fp16 * 1e12) + 1e-5)
    assert full.seconds(board) == pytest.approx(2e9 / (0.6 * board.bandwidth * 1e9) + 1e-5)
    assert full.seconds(board, "int8") < full.seconds(board) < full.seconds(board, "fp32")


def test_published_times_are_met_within_a_factor() -> None:
    for name, network, board, measured in PUBLISHED:
        assert 0.5 < total(network(), board) / measured < 1.6, (name, board.name)


def test_a_range_counts_what_may_run_apart_and_doubles() -> None:
    board = BOARDS[0]
    fused, apart = Work(1e9, 0, 0), Work(0, 0, 1e6, apart=True)
    low, high = expected([fused, apart], board)
    assert low == total([fused, apart], board) == pytest.approx(1e3 * fused.seconds(board))
    assert high == pytest.approx(2e3 * (fused.seconds(board) + apart.seconds(board)))
    (row,) = rows_of({"stage": [fused, apart]})
    assert (row["layers"], row["layers_max"]) == (1, 2)
    assert f"{low:.1f}–{high:.1f}" in table([row], "fp16")


def test_the_page_of_boards_shows_what_the_plan_says_now(tmp_path: Path) -> None:
    """A network that is built otherwise changes its rows."""
    page = (REPO / "engines/JETSON.md").read_text("utf-8")
    rows = rows_of(stages(REPO / "engines/squeezenet_face.onnx", (1280, 720), 40, tmp_path))
    for precision in ("fp16", "int8"):
        assert table(rows, precision) in page
