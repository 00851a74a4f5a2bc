"""`bench`, `clips` and `tune` with the real networks, as small as it goes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from jetson_face.benchmark.ground_truth import read_ground_truth
from jetson_face.cli.main import main

# Looked for, not imported: importing mtcnn takes TensorFlow, which is not needed.
MISSING = [
    name
    for name in ("skimage", "matplotlib", "dlib", "mtcnn", "onnxruntime")
    if importlib.util.find_spec(name) is None
]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}")

CPU = ["--set", "backend.type=onnxruntime"]


def test_a_benchmark_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "--frames", "12", "--frame-size", "320x240", "--sampling", "1,4"]
    files = ["--json", str(tmp_path / "r.json"), "--csv", str(tmp_path / "r.csv")]
    assert main([*words, "--repeats", "1", *files, "--plots", str(tmp_path / "plots"), *CPU]) == 0
    out = capsys.readouterr().out
    assert "accuracy is flattered" in out
    result = json.loads((tmp_path / "r.json").read_text())
    often, seldom = result["points"]
    assert (often["setting"]["every"], seldom["setting"]["every"]) == (1, 4)
    assert often["median"]["detection_fps"] == pytest.approx(often["median"]["decision_fps"])
    assert seldom["median"]["detection_fps"] < seldom["median"]["decision_fps"]
    assert often["median"]["found"] > 0.5
    assert often["median"]["named"] > 0.5
    assert often["median"]["false_names"] == 0
    # A still background spares no search here, unless that is asked for.
    assert main([*words, "--repeats", "1", *files, *CPU, "--set", "sampling.motion=true"]) == 0
    seen = json.loads((tmp_path / "r.json").read_text())["points"][0]["median"]
    assert seen["detection_fps"] < seen["decision_fps"]
    told = result["configs"]["default"]
    assert told["backend"]["type"] == "onnxruntime"
    assert told["embedder"]["precision"] in ("fp32", "int8")  # what `auto` is here
    assert result["machine"]["packages"]["onnxruntime"]
    assert (tmp_path / "plots" / "fps_by_sampling.png").exists()
    assert main(["bench", "compare", str(tmp_path / "r.json"), str(tmp_path / "r.json")]) == 0
    assert "nothing changed" in capsys.readouterr().out


def test_a_made_clip_is_benched_with_its_ground_truth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = tmp_path / "clip.avi"
    words = ["clips", "make", "--out", str(video), "--size", "320x240", "--seconds", "0.4"]
    assert main([*words, "--faces", "2", "--difficulty", "easy"]) == 0
    assert read_ground_truth(tmp_path / "clip.json").size == (320, 240)
    words = ["bench", "--clip", str(video), "--repeats", "1", "--mode", "file"]
    assert main([*words, "--json", str(tmp_path / "r.json"), *CPU]) == 0
    (point,) = json.loads((tmp_path / "r.json").read_text())["points"]
    assert point["median"]["found"] > 0.4
    assert 0 < point["median"]["efficiency"] <= 1
    assert point["median"]["capture_fps"] > 0
