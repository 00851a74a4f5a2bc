"""docs/examples and README's "From Python" run as they stand, on real photos and a real clip."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

import jetson_face
from tests.waiting import PATIENCE, not_by_emulation

REPO = Path(__file__).resolve().parents[2]
EXAMPLES = REPO / "docs" / "examples"
Program = Callable[..., str]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Run a Python file with arguments in the test's folder; its standard output."""

    def run(path: Path, *words: object) -> str:
        package = str(Path(str(jetson_face.__file__)).parents[1])
        done = subprocess.run(
            [sys.executable, str(path), *map(str, words)],
            env={**os.environ, "PYTHONPATH": package, "XDG_STATE_HOME": str(tmp_path / "state")},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60 * PATIENCE,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_enrol_identify_and_watch(
    program: Program, collins: Path, hopper: Path, clip: Path
) -> None:
    out = program(EXAMPLES / "enroll.py", "Eileen Collins", collins, clip)
    assert "Eileen Collins: 1 added" in out
    assert f"refused {clip}: not a picture" in out
    assert "enrolled: Eileen Collins, 1 photos" in out
    out = program(EXAMPLES / "identify.py", collins, hopper)
    assert f"{collins}: Eileen Collins at [" in out
    assert f"{hopper}: unknown at [" in out
    out = program(EXAMPLES / "watch_file.py", clip)
    assert re.search(r"\d\.\d\d s  track 1  known  Eileen Collins", out)


def test_a_camera(program: Program, collins: Path, tmp_path: Path) -> None:
    not_by_emulation("at three seconds a frame nobody is in view for long enough")
    (tmp_path / "faces").mkdir()
    shutil.copy(collins, tmp_path / "faces")
    program(EXAMPLES / "enroll.py", "Eileen Collins", collins)
    camera = f"test://?live=1&fps=20&faces={tmp_path / 'faces'}"
    out = program(EXAMPLES / "watch_camera.py", camera, 1.5)
    assert "is Eileen Collins" in out
    decided = re.search(r"(\d+) frames decided, (\d+) dropped", out)
    assert decided is not None
    assert int(decided[1]) > 3


def test_an_own_detector(program: Program, collins: Path) -> None:
    assert re.search(
        r"unknown at \[\d+, \d+, \d+, \d+\]", program(EXAMPLES / "own_detector.py", collins)
    )


def test_an_own_embedder(program: Program, collins: Path, hopper: Path, tmp_path: Path) -> None:
    network = REPO / "engines" / "squeezenet_face.onnx"
    out = program(EXAMPLES / "own_embedder.py", network, collins, collins)
    assert out.startswith("similarity 1.00: the first")
    out = program(EXAMPLES / "own_embedder.py", network, collins, hopper)
    assert out.endswith("unknown\n")
    # Another network, whose vectors are others: it has a gallery of its own.
    model = onnx.load(network)
    model.doc_string = "another"
    onnx.save(model, tmp_path / "squeezenet_face.onnx")
    out = program(EXAMPLES / "own_embedder.py", "squeezenet_face.onnx", collins, collins)
    assert out.startswith("similarity 1.00: the first")


def test_an_own_sink(program: Program, clip: Path, tmp_path: Path) -> None:
    assert program(EXAMPLES / "own_sink.py", clip, "seen.csv") == "20 frames\n"
    head, *rows = (tmp_path / "seen.csv").read_text().splitlines()
    assert head == "source,frame,track,state,name"
    assert rows[-1].startswith("camera,")
    assert rows[-1].endswith(",1,unknown,")


def test_readme_from_python(
    program: Program, collins: Path, hopper: Path, clip: Path, tmp_path: Path
) -> None:
    section = (REPO / "README.md").read_text("utf-8").split("## From Python\n")[1]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert code is not None
    (tmp_path / "readme.py").write_text(code[1])
    for source, name in ((collins, "1.jpg"), (hopper, "party.jpg"), (clip, "film.mp4")):
        shutil.copy(source, tmp_path / name)
    (tmp_path / "2.jpg").write_text("no picture")
    lines = program(tmp_path / "readme.py").splitlines()
    assert lines[0].startswith("2.jpg not a picture")
    assert re.match(r"None -?0\.\d+ \(.*\) unknown", lines[1])
    assert any(re.match(r"\d+ 1 Ada Lovelace known \[\[", line) for line in lines)


def test_every_example_is_run_here() -> None:
    own = Path(__file__).read_text()
    assert [path.name for path in EXAMPLES.glob("*.py") if f'"{path.name}"' not in own] == []
