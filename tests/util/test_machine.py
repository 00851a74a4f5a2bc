"""Facts of a machine, read from a made /proc and /sys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jetson_face import __version__
from jetson_face.util.machine import (
    byte_maths,
    facts_that_differ,
    machine_facts,
    memory_mb,
    peak_memory_mb,
    reset_peak_memory,
)


def jetson(root: Path) -> Path:
    files = {
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: ARMv8 Processor rev 1 (v8l)\n",
        "proc/meminfo": "MemTotal:        7802432 kB\nMemFree: 1 kB\n",
        "proc/loadavg": "0.52 0.58 0.59 1/467 12345\n",
        "proc/self/status": "Name:\tx\nVmHWM:\t  204800 kB\nVmRSS:\t  102400 kB\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "729600\n",
        "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "1510400\n",
        "var/lib/nvpmodel/status": "pmode:0001",
        "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=7W >\n",
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.0\nsecond line\n",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_jetson_tells_board_mode_and_clocks(tmp_path: Path) -> None:
    facts = machine_facts(jetson(tmp_path))
    assert facts["board"] == "NVIDIA Jetson Orin Nano Developer Kit"
    assert facts["power_mode"] == "1 (7W)"
    assert facts["governor"] == "schedutil"
    assert (facts["clock_mhz"], facts["clock_max_mhz"]) == (729.6, 1510.4)
    assert facts["memory_mb"] == 7619
    assert facts["load_1min"] == 0.52
    assert facts["l4t"].startswith("# R36")
    assert facts["jetson_face"] == __version__


def test_a_machine_that_tells_nothing_is_no_error(tmp_path: Path) -> None:
    facts = machine_facts(tmp_path)
    assert facts["board"] is facts["power_mode"] is facts["clock_mhz"] is facts["memory_mb"] is None
    assert peak_memory_mb(tmp_path) is None
    assert not reset_peak_memory(tmp_path)
    json.dumps(facts)


@pytest.mark.parametrize(
    ("flags", "by"),
    [
        ("fpu avx2 avx512f avx512_vnni avx512_bf16", "VNNI"),
        ("fpu avx2 avx_vnni", "VNNI"),
        ("fpu avx2 avx512f avx512_vnni_of_another_name", None),
        ("fpu avx2", "AVX2"),
        ("fpu avx", None),
        (None, None),
    ],
)
def test_what_bytes_are_multiplied_with_is_read_from_the_processors_flags(
    tmp_path: Path, flags: str | None, by: str | None
) -> None:
    path = jetson(tmp_path) / "proc/cpuinfo"
    if flags is not None:
        path.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t:\n")
    assert byte_maths(tmp_path) == by


def test_memory_is_in_mebibytes(tmp_path: Path) -> None:
    root = jetson(tmp_path)
    assert peak_memory_mb(root) == 200
    assert memory_mb(root) == 100


def test_this_machine_has_facts_and_packages() -> None:
    facts = machine_facts()
    assert facts["cores_usable"] >= 1
    assert "numpy" in facts["packages"]
    json.dumps(facts)


def test_load_and_clock_make_no_difference() -> None:
    old = {"board": "a", "load_1min": 1, "clock_mhz": 5, "gone": 1}
    new = {"board": "b", "load_1min": 2, "clock_mhz": 6}
    assert facts_that_differ(old, new) == ["board: a -> b", "gone: 1 -> None"]
