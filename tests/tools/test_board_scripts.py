"""The scripts for a board, and for a board's emulation: what they say that they would do."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]


def told(
    script: str, *arguments: str, code: int = 0, env: dict[str, str] | None = None
) -> tuple[str, str]:
    """What a script writes to standard output and error."""
    done = subprocess.run(
        ["bash", str(REPO / "tools" / script), *arguments],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def test_the_emulation_tests_every_folder_that_it_can(tmp_path: Path) -> None:
    out, _ = told("test_jetson.sh", "--dry-run", str(tmp_path / "box"))
    assert "for arm64 in" in out
    assert not (tmp_path / "box").exists()
    (line,) = [line for line in out.splitlines() if "unit tests" in line]
    named = {word.strip(",") for word in line.split() if word.startswith("tests/")}
    folders = {f"tests/{f.parent.name}" for f in (REPO / "tests").glob("*/test_*.py")}
    left_out = {"web", "archive", "fleet", "training", "house", "fuzz"}
    assert named == folders - {f"tests/{name}" for name in left_out}


def test_the_emulation_names_what_is_missing(tmp_path: Path) -> None:
    words = {"TESTS": "tests/core tests/nothing", "ARCH": "amd64"}
    _, err = told("test_jetson.sh", "--dry-run", str(tmp_path), code=1, env=words)
    assert "there is no tests/nothing" in err
    out, _ = told("test_jetson.sh", "--dry-run", str(tmp_path), env={"TESTS": "none"})
    assert "unit tests   none" in out


@pytest.mark.parametrize("dry", [False, True])
def test_the_board_check_lists_its_commands(dry: bool, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    words = ["--list", "--out", str(folder), "--rtsp", "rtsp://cam/1"]
    out, _ = told("board_check.sh", *words, *(["--dry-run"] if dry else []))
    commands = [line for line in out.splitlines() if line.startswith("would run: ")]
    for part in ("doctor -c", "gpu_check.sh", "run rtsp://cam/1", "roofline.py", "board_table.py"):
        assert sum(part in line for line in commands) == 1, part
    config = "demo" if dry else "jetson-orin"
    assert f"-c configs/{config}.yaml" in commands[0]
    assert ("--dry-run" in commands[1]) == dry
    assert f"--run rtsp={folder}/rtsp.json" in commands[-1]
    assert not folder.exists()


@pytest.mark.parametrize(
    ("words", "said"), [(["--out"], "--out needs a value"), (["--loud"], "unknown argument --loud")]
)
def test_the_board_check_refuses_what_it_does_not_know(words: list[str], said: str) -> None:
    assert said in told("board_check.sh", *words, code=2)[1]
