"""The parts of a search, measured apart."""

from __future__ import annotations

import bench_detectors
import pytest

from jetson_face.factory.golden import golden_pictures
from jetson_face.inference.onnxruntime import OnnxBackend


@pytest.mark.parametrize(
    ("detector", "parts"),
    [
        ("mtcnn", {"pnet", "rnet", "onet", "pyramid", "crops", "proposals", "suppression"}),
        ("yunet", {"yunet", "shrink", "crops", "decode", "suppression"}),
    ],
)
def test_the_parts_are_all_there_and_add_up(detector: str, parts: set[str]) -> None:
    run = OnnxBackend.run
    picture = golden_pictures()[0]
    found = bench_detectors.measure(detector, [picture], [])
    assert OnnxBackend.run is run
    search = found["search"]
    times = {name[:-3] for name in search if name.endswith("_ms")}
    assert times == parts | {"whole", "rest"}
    assert sum(search[f"{p}_ms"] for p in parts | {"rest"}) == pytest.approx(
        search["whole_ms"], abs=0.1
    )
    assert search["crops_items"] >= 1
    assert "search: " in bench_detectors.table(found)
    assert found["follow"]["whole_ms"] > 0


def test_pictures_of_several_cameras_are_timed_in_one_run_and_in_several() -> None:
    once, apart = bench_detectors.together((64, 96), 2, 3, ["backend.threads=1"])
    assert len(once) == len(apart) == 3
    assert min(once) > 0
    assert min(apart) > 0
