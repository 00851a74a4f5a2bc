"""tools/bench_against.py: a tree beside itself takes as long, and --set is of ours alone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_it_takes_turns_and_says_how_many_times_as_long_the_other_took() -> None:
    pytest.importorskip("skimage")
    command = [sys.executable, "tools/bench_against.py", str(REPO), "--rounds", "2"]
    command += ["--set", "fusion.embed_interval=1"]
    done = subprocess.run(
        command, cwd=REPO, capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 0, done.stderr
    ours, other = (float(ms) for ms in re.findall(r"([\d.]+) ms of processor", done.stdout))
    assert ours > 1.1 * other  # ours alone embeds in every frame
    found = re.search(r"^processor: ([\d.]+) times", done.stdout, re.MULTILINE)
    assert found is not None
    assert float(found[1]) < 1
