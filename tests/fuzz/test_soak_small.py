"""A thousand frames of the soak: every kind of fault once, nothing missing, nothing left."""

from __future__ import annotations

from pathlib import Path

import pytest
from soak import Soak


@pytest.mark.slow
def test_a_short_soak_loses_nothing(tmp_path: Path) -> None:
    soak = Soak(21_100, tmp_path, stall_s=60)  # however busy the machine is
    soak.camera.n, soak.disk.writes, soak.sink.calls = 19_900, 1_977, 996
    try:
        decided = soak.run(60, lambda so_far: None)
        result = soak.result()
    finally:
        soak.close()
    faults = result["faults"]
    assert isinstance(faults, dict)
    assert decided == 1_200 - 3  # one frame broken, one not in time, one with the camera's end
    assert faults["lost"] == faults["reconnected"] == faults["broken"] == 1
    assert faults["refused"] == 3
    assert faults["size_changed"] == 1
    assert all(result[kind] for kind in ("disk_failures", "sink_failures", "gallery_changes"))
    assert result["missing"] == 0
