"""What was predicted for a board beside what was measured on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from board_table import board_name, main, verdict

PREDICTED = [
    {"stage": "P-Net, 9 levels of 1280x720", "fp16_ms": {"AGX Orin 64GB": [1.0, 2.0]}},
    {"stage": "The same with its pyramid, one plan", "fp16_ms": {"AGX Orin 64GB": [3.0, 8.0]}},
    {"stage": "O-Net, 4 faces followed", "fp16_ms": {"AGX Orin 64GB": [0.2, 0.5]}},
]
TIMINGS = [
    {"network": "pnet", "batch": 1, "runner": "tensorrt", "precision": "fp16", "median_ms": 9},
    {
        "network": "search", "batch": 1, "runner": "onnxruntime", "precision": "fp32",
        "median_ms": 99,
    },
    {
        "network": "search", "batch": 1, "runner": "tensorrt", "precision": "fp16",
        "median_ms": 5.5, "bare_ms": 4.0,
    },
    {"network": "onet", "batch": 4, "runner": "tensorrt", "precision": "fp16", "median_ms": 1.0},
]  # fmt: skip
REPORT = {
    "stages": [{"name": "detect", "p50_ms": 12.0}, {"name": "process", "p50_ms": 13.0}],
    "sources": [{"decision_fps": 29.97, "dropped": {"newer": 3}, "age_p50_ms": 21.5}],
}


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (
            "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
            "Orin Nano 8GB (25 W)",
        ),
        ("NVIDIA Jetson AGX Orin Developer Kit", "AGX Orin 64GB"),
        ("NVIDIA Jetson AGX Thor Developer Kit", "AGX Thor (T5000)"),
    ],
)
def test_a_board_is_known_by_what_it_calls_itself(model: str, name: str) -> None:
    assert board_name(model) == name


def test_a_board_without_a_prediction_is_named() -> None:
    with pytest.raises(ValueError, match="no prediction for a toaster"):
        board_name("a toaster\n")


def test_the_verdict() -> None:
    assert verdict(1, 2, 1.5) == "as expected"
    assert verdict(1, 2, 3.0) == "slower, 1.5 x the high end"
    assert verdict(1, 2, 0.5) == "faster, 0.50 of the low end"


def test_predicted_and_measured_stand_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predicted, measured, run = (tmp_path / name for name in ("p.json", "m.json", "r.json"))
    predicted.write_text(json.dumps(PREDICTED))
    measured.write_text(json.dumps({"dry_run": False, "timings": TIMINGS}))
    run.write_text(json.dumps(REPORT))
    words = ["--predicted", str(predicted), "--measured", str(measured), "--board", "AGX Orin 64GB"]
    assert main([*words, "--run", f"csi={run}"]) == 0
    said = capsys.readouterr().out
    assert (
        "| The same with its pyramid, one plan | fp16 | 3.00–8.00 | 4.00 | 5.50 | as expected |"
        in said
    )
    assert "| O-Net, 4 faces followed | fp16 | 0.20–0.50 | 1.00 | 1.00 | slower, 2.0 x" in said
    assert "| csi | 0.1–0.4 | 21.5 | 12.0 | 30.0 | 3 |" in said
    assert "P-Net" not in said  # one level is no frame
    assert "99" not in said
    measured.write_text(json.dumps({"dry_run": True, "timings": []}))
    assert main(words) == 1
    assert "figures mean nothing" in capsys.readouterr().out
