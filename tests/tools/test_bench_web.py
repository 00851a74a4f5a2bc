"""tools/bench_web.py: it sees one per cent beside drift, gives the page its unit's priority, and
runs."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

pytest.importorskip("av", reason="the extra 'archive' (PyAV) is not installed")

import bench_web

REPO = Path(__file__).resolve().parents[2]


def test_one_per_cent_is_seen_beside_a_drift_of_twenty() -> None:
    order = []
    for i in range(97):
        case = (bench_web.BASE, "one", bench_web.BASE, "many")[i % 4]
        drift = 1 + 0.2 * math.sin(i / 15)
        order.append((case, 30 * drift * (0.99 if case == "one" else 1.0)))
    assert median(bench_web.against(order, "one")) == pytest.approx(-0.01, abs=0.002)
    assert median(bench_web.against(order, "many")) == pytest.approx(0, abs=0.002)
    assert median(bench_web.against(order, bench_web.BASE)) == pytest.approx(0, abs=0.004)


def test_the_interval_is_of_the_median() -> None:
    shown = bench_web.interval([-0.02, -0.01, 0.0, 0.01, 5.0])
    assert "+0.0 %" in shown
    assert "[ -2.0, +500.0]" in shown


def test_the_page_gets_its_units_priority() -> None:
    unit = bench_web.UNIT.read_text("utf-8")
    assert bench_web.priority(unit) == ["nice", "-n", "19", "chrt", "--other", "0"]
    said = "Nice=7\nCPUSchedulingPolicy=idle\n"
    assert bench_web.priority(said) == ["nice", "-n", "7", "chrt", "--idle", "0"]
    # Beside services of the usual weight, 100, about what nice 19 is beside nice 0.
    assert int(re.findall("^CPUWeight=(.*)$", unit, re.MULTILINE)[0]) <= 2


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("kind", ["page", "stream"])
def test_it_runs(kind: str) -> None:
    command = [
        sys.executable, "tools/bench_web.py",
        "--loops", "1", "--rounds", "2", "--viewers", "4", "--as", kind,
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=REPO, capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split()[0] for line in done.stdout.splitlines() if "decided/s" in line]
    assert rows == ["no", "nobody", "one", "many"]
    of_one, of_many = re.findall(r"pictures/s of a viewer ([\d.]+)", done.stdout)
    assert float(of_one) > 0.5
    assert float(of_many) > 0.5
