"""`jetson-face run` whose canary is answered wrong: said at once, in the report, by the exit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jetson_face.cli.main import main
from jetson_face.factory.parts import build_canary
from jetson_face.inference.canary import Canary


@pytest.mark.parametrize("wrong", [False, True])
def test_drift_is_an_error_of_the_run(
    wrong: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def build(config: Any, parts: Any, *, drifted: bool) -> Canary:
        good = build_canary(config, parts, drifted=drifted)
        if wrong:
            good._wanted = np.roll(good._wanted, 1)
        return good

    monkeypatch.setattr("jetson_face.cli.run.build_canary", build)
    report = tmp_path / "report.json"
    words = ["run", "--source", "test://?width=160&height=120&frames=4", "--report", str(report)]
    settings = [f"state_dir={tmp_path}", "detector.min_face_px=40", "engines.canary_every_s=60"]
    code = main([*words, *(x for s in settings for x in ("--set", s))])
    said = json.loads(report.read_text("utf-8"))["facts"]["more"]["canary"]
    assert said.startswith(("drifted" if wrong else "ok") + ", asked 1 times, last cosine")
    out = capsys.readouterr()
    assert "canary" in out.out
    assert code == (11 if wrong else 0)
    assert ("names are not to be trusted" in out.err) is wrong
    assert any("golden face is answered wrong" in m for m in caplog.messages) is wrong
