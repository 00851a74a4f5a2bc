"""The sampling rate holds on real people who cross and leave: `run` on the crowd clip."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


@pytest.mark.parametrize(
    ("every", "on_loss", "least", "most"), [(10, False, 4, 4), (10, True, 5, 11), (5, False, 8, 8)]
)
def test_searches_of_the_crowd_clip(
    cli: Command,
    shared_data: Path,
    tmp_path: Path,
    every: int,
    on_loss: bool,
    least: int,
    most: int,
) -> None:
    crowd, out = shared_data / "clips" / "crowd_1080p.mp4", tmp_path / "r.json"
    keys = (f"sampling.interval={every}", f"sampling.on_loss={on_loss}", "detector.max_side_px=640")
    settings = [word for key in keys for word in ("--set", key)]
    done = cli("run", "--source", crowd, "--frames", 40, "--quiet", "--report", out, *settings)
    assert done.code == 0
    (source,) = json.loads(out.read_text("utf-8"))["sources"]
    assert source["processed"] == 40
    assert least <= source["searched"] <= most
