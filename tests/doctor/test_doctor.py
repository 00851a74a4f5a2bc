"""Machines that are played: what doctor finds on them, and the fix it gives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from jetson_face.cli.main import main
from jetson_face.core.errors import EngineError, MissingDependencyError
from jetson_face.doctor.checks import examine
from jetson_face.doctor.probe import Finding, Probe

GIB_KB = 1 << 20
PC_FILES = {"proc/meminfo": f"MemTotal: {16 * GIB_KB} kB\nMemAvailable: {8 * GIB_KB} kB\n"}
JETSON_FILES = {
    **PC_FILES,
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic",
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "usr/local/cuda/version.json": '{"cuda": {"name": "CUDA SDK", "version": "12.6.1"}}',
    "dev/video0": "",
    "sys/class/video4linux/video0/name": "vi-output, imx219 9-0010",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "729600",
    "sys/class/devfreq/17000000.gpu/cur_freq": "306000000",
    "sys/class/devfreq/17000000.gpu/max_freq": "1020000000",
    "sys/class/thermal/thermal_zone0/temp": "51250",
}


class Played(Probe):
    """A machine made of files, modules and command answers."""

    def __init__(
        self,
        root: Path,
        files: Mapping[str, str],
        *,
        gstreamer: bool = True,
        missing: tuple[str, ...] = (),
        broken: tuple[str, ...] = (),
        commands: Mapping[str, str] | None = None,
        wheels: tuple[str, ...] = (),
        trt: str | Exception = "tensorrt 10.3.0",
        gpu: str | Exception = "Orin, compute capability 8.7, by pycuda",
        cameras_readable: bool = True,
        free: int = 50 << 30,
    ) -> None:
        super().__init__(root)
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.missing, self.broken, self.free = missing, broken, free
        self.commands, self.wheels = dict(commands or {}), set(wheels)
        self._trt, self._gpu = trt, gpu
        self.cameras_readable = cameras_readable
        state = "YES (1.20.3)" if gstreamer else "NO"
        self.modules: dict[str, Any] = {
            "pycuda": ModuleType("pycuda"),
            "pycuda.driver": ModuleType("driver"),
            "gi": SimpleNamespace(__version__="3.42.1"),
            "cv2": SimpleNamespace(
                __version__="4.8.0",
                getBuildInformation=lambda: f"Video I/O:\n  GStreamer:   {state}\n",
            ),
            "onnxruntime": SimpleNamespace(
                __version__="1.23.2", get_available_providers=lambda: ["CPUExecutionProvider"]
            ),
        }

    def module(self, name: str) -> Any:
        if name in self.broken:
            return ImportError(f"lib{name}.so: cannot open shared object file")
        return None if name in self.missing else self.modules.get(name)

    def installed(self, name: str) -> bool:
        return name not in self.missing

    def command(self, *words: str) -> str | None:
        return self.commands.get(words[0])

    def distributions(self) -> set[str]:
        return self.wheels

    def readable(self, path: Path) -> bool:
        return self.cameras_readable

    def disk_free(self, path: Path) -> int:
        return self.free

    def tensorrt(self) -> str:
        if isinstance(self._trt, Exception):
            raise self._trt
        return self._trt

    def gpu(self) -> str:
        if isinstance(self._gpu, Exception):
            raise self._gpu
        return self._gpu


GOOD_COMMANDS = {"systemctl": "active\n", "nvpmodel": "NV Power Mode: 15W\n0\n"}


def by_topic(found: list[Finding], topic: str) -> Finding:
    return next(finding for finding in found if finding.topic == topic)


def problems(found: list[Finding]) -> list[tuple[str, str]]:
    return [(f.topic, f.fix or "") for f in found if f.state == "problem"]


def test_a_jetson_where_all_is_well(tmp_path: Path) -> None:
    probe = Played(tmp_path, JETSON_FILES, commands={**GOOD_COMMANDS, "dpkg-query": "6.2+b77"})
    found = examine(probe, [Path("/var/lib/jetson-face")])
    assert problems(found) == []
    texts = {f.topic: f.text for f in found}
    assert texts["board"] == "NVIDIA Jetson Orin Nano Developer Kit"
    assert texts["jetpack"] == "Jetson Linux 36.4.3, JetPack 6.2+b77"
    assert texts["cuda"] == "CUDA toolkit 12.6.1"
    assert texts["gpu"] == "Orin, compute capability 8.7, by pycuda"
    assert texts["pycuda"] == "pycuda"
    assert texts["opencv"] == "OpenCV 4.8.0 with GStreamer"
    assert texts["cameras"] == "/dev/video0: vi-output, imx219 9-0010"
    assert texts["power"] == "power mode 15W"
    assert "MAXN" in (by_topic(found, "power").fix or "")
    assert by_topic(found, "clocks").text == "CPU governor schedutil, now 729 MHz"
    assert texts["clocks"] == "GPU at 306 of 1020 MHz"
    assert texts["temperature"] == "hottest part 51 °C"
    assert texts["back ends"] == "working: onnxruntime, tensorrt"


@pytest.mark.parametrize(
    ("change", "topic", "fix"),
    [
        ({"missing": ("cv2",)}, "opencv", "sudo apt install python3-opencv"),
        ({"gstreamer": False, "wheels": ("opencv-python",)}, "opencv", "pip uninstall opencv-py"),
        ({"broken": ("cv2",)}, "opencv", "python3-opencv"),
        ({"broken": ("pycuda.driver",)}, "pycuda", "jetson-face[jetson]"),
        ({"gpu": EngineError("CUDA cannot start")}, "gpu", "groups video and render"),
        (
            {"trt": MissingDependencyError("TensorRT is not installed: run sudo apt")},
            "tensorrt",
            "run sudo apt",
        ),
        ({"missing": ("onnxruntime",)}, "onnxruntime", "jetson-face[jetson]"),
        (
            {"wheels": ("onnxruntime", "onnxruntime-gpu")},
            "onnxruntime",
            "pip uninstall onnxruntime onnxruntime-gpu",
        ),
        ({"cameras_readable": False}, "cameras", "usermod -aG video"),
        ({"commands": {}}, "cameras", "restart nvargus-daemon"),
        ({"free": 1000}, "disk", "engines.cache"),
    ],
)
def test_each_fault_of_a_jetson_has_its_fix(
    change: dict[str, Any], topic: str, fix: str, tmp_path: Path
) -> None:
    probe = Played(tmp_path, JETSON_FILES, **{"commands": GOOD_COMMANDS, **change})
    found = problems(examine(probe, [Path("/x")]))
    assert [t for t, _ in found] == [topic]
    assert fix in found[0][1]


@pytest.mark.parametrize(
    ("file", "text", "topic"),
    [
        ("etc/nv_tegra_release", "# R35 (release), REVISION: 4.1, GCID: 1", "jetpack"),
        ("etc/nv_tegra_release", "# R36 (release), REVISION: 3.0, GCID: 1", "jetpack"),
        ("sys/class/thermal/thermal_zone0/temp", "91000", "temperature"),
        ("proc/meminfo", "MemTotal: 4000000 kB\nMemAvailable: 300000 kB\n", "memory"),
        ("proc/meminfo", "", "memory"),
    ],
)
def test_old_hot_and_full_jetsons(file: str, text: str, topic: str, tmp_path: Path) -> None:
    probe = Played(tmp_path, {**JETSON_FILES, file: text}, commands=GOOD_COMMANDS)
    assert [t for t, _ in problems(examine(probe, []))] == [topic]


def test_a_pc_without_gpu_is_fine(tmp_path: Path) -> None:
    probe = Played(
        tmp_path,
        PC_FILES,
        gstreamer=False,
        missing=("pycuda", "gi", "torch"),
        trt=MissingDependencyError("TensorRT is not installed: pip install"),
    )
    found = examine(probe, [Path("/x")])
    assert problems(found) == []
    assert "fine" in by_topic(found, "board").text
    assert {f.topic for f in found if f.state == "missing"} == {
        "cuda",
        "pycuda",
        "tensorrt",
        "gstreamer",
        "cameras",
        "extras",
    }
    assert by_topic(found, "extras").fix == "pip install 'jetson-face[train]'"
    assert "which is fine on a PC" in by_topic(found, "back ends").text


def test_a_jetson_without_pycuda_works_and_is_told_how_to_get_it(tmp_path: Path) -> None:
    files = {k: v for k, v in JETSON_FILES.items() if "cuda" not in k}
    probe = Played(tmp_path, files, commands=GOOD_COMMANDS, missing=("pycuda",))
    found = examine(probe, [Path("/x")])
    assert problems(found) == []
    finding = by_topic(found, "pycuda")
    assert (finding.state, "jetson-face[jetson]" in (finding.fix or "")) == ("missing", True)
    assert "driver's own library" in finding.text
    assert by_topic(found, "cuda").state == "missing"
    assert by_topic(found, "back ends").text == "working: onnxruntime, tensorrt"


def test_two_opencv_wheels_break_each_other(tmp_path: Path) -> None:
    wheels = ("opencv-python", "opencv-python-headless")
    found = problems(examine(Played(tmp_path, PC_FILES, wheels=wheels), []))
    assert found[0][0] == "opencv"
    assert "pip uninstall opencv-python opencv-python-headless" in found[0][1]


def test_the_command_on_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert code == (1 if any(f["state"] == "problem" for f in found) else 0)
    assert {"board", "onnxruntime", "opencv", "memory", "disk"} <= {f["topic"] for f in found}
    assert main(["doctor"]) == code
    assert "back ends:" in capsys.readouterr().out


def test_a_command_that_is_missing_or_fails_is_no_answer() -> None:
    assert Probe().command("no-such-command-here") is None
    assert Probe().command("false") is None
    assert Probe().command("echo", "hello") == "hello\n"
