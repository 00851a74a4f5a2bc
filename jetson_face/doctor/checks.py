"""What works on this machine, what does not, and how to mend it.

Each check looks at one thing through a `Probe`, so that any machine can be played in a test, and
never raises: what it cannot find out is itself a finding.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from jetson_face.core.errors import JetsonFaceError
from jetson_face.inference.cuda.runtime import open_cuda
from jetson_face.inference.tensorrt.bindings import load_tensorrt

State = Literal["ok", "info", "missing", "problem"]
_COMMAND_TIMEOUT_S = 5
_MIB = 1 << 20
_MEMORY_MIN = 700 * _MIB
_DISK_MIN = 1024 * _MIB
_HOT_C = 80


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact. missing: something optional is not there; problem: something that is needed or
    was installed does not work. fix: what to do, None where there is nothing to do."""

    topic: str
    state: State
    text: str
    fix: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


class Probe:
    """The machine, as the checks see it: files below `root`, modules, commands."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def read(self, path: str) -> str | None:
        """A text file without trailing zeros and spaces; None where it cannot be read."""
        try:
            data = (self.root / path.lstrip("/")).read_bytes()
        except OSError:
            return None
        return data.decode("utf-8", "replace").rstrip("\0 \n")

    def glob(self, pattern: str) -> list[Path]:
        """Paths below `root`, sorted."""
        return sorted(self.root.glob(pattern.lstrip("/")))

    def command(self, *words: str) -> str | None:
        """What a command prints; None where it is missing, fails or hangs."""
        if shutil.which(words[0]) is None:
            return None
        try:
            done = subprocess.run(
                words, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout

    def module(self, name: str) -> ModuleType | Exception | None:
        """The module; None where it is not installed; the exception where it is but fails."""
        try:
            if importlib.util.find_spec(name) is None:
                return None
            return importlib.import_module(name)
        except Exception as exc:  # a broken installation raises anything
            return exc

    def installed(self, name: str) -> bool:
        """Is there such a module? Not imported: torch takes seconds, and mtcnn wants TensorFlow."""
        return importlib.util.find_spec(name) is not None

    def distributions(self) -> set[str]:
        """Names of the installed pip packages, lower case."""
        return {str(d.metadata["Name"]).lower() for d in importlib.metadata.distributions()}

    def readable(self, path: Path) -> bool:
        """May this user open it for reading and writing?"""
        return os.access(path, os.R_OK | os.W_OK)

    def disk_free(self, path: Path) -> int:
        """Bytes free where `path` is or would be."""
        while not path.exists() and path != path.parent:
            path = path.parent
        return shutil.disk_usage(path).free

    def tensorrt(self) -> str:
        """Flavour and version. Raises JetsonFaceError."""
        found = load_tensorrt()
        return f"{found.flavour} {found.version}"

    def gpu(self) -> str:
        """Name, compute capability and way of access. Raises JetsonFaceError."""
        cuda = open_cuda()
        return f"{cuda.device}, compute capability {cuda.compute_capability}, by {cuda.access}"


def examine(probe: Probe, folders: Sequence[Path]) -> list[Finding]:
    """All findings, in order. folders: where the program will write."""
    found: list[Finding] = []
    jetson = _l4t(probe) is not None
    for check in _CHECKS:
        found += check(probe, jetson)
    found += _disk(probe, folders)
    return [*found, *_verdict(found, jetson)]


def _l4t(probe: Probe) -> tuple[int, str] | None:
    """Jetson Linux, as (36, `36.4.3`); None on a PC."""
    text = probe.read("/etc/nv_tegra_release") or ""
    match = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", text)
    return (int(match[1]), f"{match[1]}.{match[2]}") if match else None


def _board(probe: Probe, jetson: bool) -> Iterator[Finding]:
    model = probe.read("/proc/device-tree/model")
    if jetson:
        yield Finding("board", "ok", model or "a Jetson of unknown model")
    else:
        yield Finding("board", "info", "a PC, not a Jetson: fine for development and for small use")


def _jetpack(probe: Probe, jetson: bool) -> Iterator[Finding]:
    release = _l4t(probe)
    if release is None:
        return
    major, version = release
    shown = (probe.command("dpkg-query", "-W", "-f", "${Version}", "nvidia-jetpack") or "").strip()
    text = f"Jetson Linux {version}" + (f", JetPack {shown}" if shown else "")
    if (major, float(version.split(".")[1])) < (36, 4):
        fix = "flash JetPack 6.1 or later, or set backend.type to onnxruntime"
        yield Finding("jetpack", "problem", f"{text}: its TensorRT is older than 10", fix)
    else:
        yield Finding("jetpack", "ok", text)


def _cuda(probe: Probe, jetson: bool) -> Iterator[Finding]:
    """The GPU counts; pycuda and what compiles it may be missing."""
    need: State = "problem" if jetson else "missing"
    toolkit = probe.read("/usr/local/cuda/version.json") or ""
    version = re.search(r'"cuda"\s*:\s*{[^}]*"version"\s*:\s*"([\d.]+)"', toolkit)
    if version:
        yield Finding("cuda", "ok", f"CUDA toolkit {version[1]}")
    else:
        fix = "sudo apt install nvidia-jetpack" if jetson else None
        text = "no CUDA toolkit in /usr/local/cuda: only compiling pycuda needs it"
        yield Finding("cuda", "missing", text, fix)
    driver = probe.module("pycuda.driver") if probe.module("pycuda") else None
    fix = "export PATH=$PATH:/usr/local/cuda/bin; pip install 'jetson-face[jetson]'"
    if driver is None:
        text = "pycuda is not installed: CUDA is reached through the driver's own library"
        yield Finding("pycuda", "missing", text, fix if jetson else None)
    elif isinstance(driver, Exception):
        yield Finding("pycuda", need, f"pycuda cannot be loaded: {driver}", fix)
    else:
        yield Finding("pycuda", "ok", "pycuda")
    try:
        yield Finding("gpu", "ok", probe.gpu())
    except JetsonFaceError as exc:
        text = "is the user in the groups video and render? else flash JetPack again"
        fix = text if jetson else "with an NVIDIA GPU: install its driver, then restart"
        yield Finding("gpu", need, str(exc), fix)


def _tensorrt(probe: Probe, jetson: bool) -> Iterator[Finding]:
    try:
        yield Finding("tensorrt", "ok", probe.tensorrt())
    except JetsonFaceError as exc:
        what, _, fix = str(exc).partition(": ")
        yield Finding("tensorrt", "problem" if jetson else "missing", what, fix or None)


def _onnxruntime(probe: Probe, jetson: bool) -> Iterator[Finding]:
    module = probe.module("onnxruntime")
    extra = "jetson" if jetson else "pc"
    if module is None or isinstance(module, Exception):
        why = "not installed" if module is None else f"cannot be loaded: {module}"
        yield Finding("onnxruntime", "problem", why, f"pip install 'jetson-face[{extra}]'")
        return
    providers = [p.removesuffix("ExecutionProvider") for p in module.get_available_providers()]
    text = f"ONNX Runtime {module.__version__}: {', '.join(providers)}"
    both = {"onnxruntime", "onnxruntime-gpu"} <= probe.distributions()
    if both:
        fix = "pip uninstall onnxruntime onnxruntime-gpu, then install one of them"
        yield Finding("onnxruntime", "problem", f"{text}; installed twice, CPU and GPU", fix)
    else:
        yield Finding("onnxruntime", "ok", text)


def _opencv(probe: Probe, jetson: bool) -> Iterator[Finding]:
    module = probe.module("cv2")
    if module is None or isinstance(module, Exception):
        why = "OpenCV is not installed" if module is None else f"OpenCV cannot be loaded: {module}"
        fix = "sudo apt install python3-opencv" if jetson else "pip install 'jetson-face[pc]'"
        yield Finding("opencv", "problem", why, fix)
        return
    has = re.search(r"GStreamer:\s+YES", module.getBuildInformation()) is not None
    text = f"OpenCV {module.__version__} {'with' if has else 'without'} GStreamer"
    wheels = sorted(n for n in probe.distributions() if n.startswith("opencv-"))
    if jetson and not has:
        fix = f"pip uninstall {' '.join(wheels)}" if wheels else "sudo apt install python3-opencv"
        fix += " (JetPack's own OpenCV has GStreamer), or use sources through PyGObject"
        yield Finding("opencv", "problem", f"{text}: no CSI camera through OpenCV", fix)
    elif len(wheels) > 1:
        fix = f"pip uninstall {' '.join(wheels)}, then install one of them"
        yield Finding("opencv", "problem", f"{text}, installed {len(wheels)} times", fix)
    else:
        yield Finding("opencv", "ok", text)


def _gstreamer(probe: Probe, jetson: bool) -> Iterator[Finding]:
    module = probe.module("gi")
    if module is None or isinstance(module, Exception):
        fix = "sudo apt install python3-gi gir1.2-gstreamer-1.0; use a venv with system packages"
        text = "no PyGObject: csi:// and gst: sources need it or an OpenCV with GStreamer"
        yield Finding("gstreamer", "missing", text, fix)
    else:
        yield Finding("gstreamer", "ok", f"PyGObject {module.__version__}")


def _cameras(probe: Probe, jetson: bool) -> Iterator[Finding]:
    devices = probe.glob("/dev/video*")
    if not devices:
        fix = (
            "plug in a camera; for CSI: sudo /opt/nvidia/jetson-io/jetson-io.py" if jetson else None
        )
        yield Finding("cameras", "missing", "no /dev/video*: streams and files still work", fix)
    for device in devices:
        name = probe.read(f"/sys/class/video4linux/{device.name}/name") or "unknown"
        if probe.readable(device):
            yield Finding("cameras", "ok", f"/dev/{device.name}: {name}")
        else:
            fix = "sudo usermod -aG video $USER, then log in again"
            yield Finding("cameras", "problem", f"/dev/{device.name}: may not be opened", fix)
    if jetson and probe.command("systemctl", "is-active", "nvargus-daemon") is None:
        fix = "sudo systemctl restart nvargus-daemon"
        yield Finding("cameras", "problem", "nvargus-daemon does not run: no CSI camera", fix)


def _power(probe: Probe, jetson: bool) -> Iterator[Finding]:
    if jetson:
        mode = re.search(r"NV Power Mode: (\S+)", probe.command("nvpmodel", "-q") or "")
        # The number of the fastest mode differs: 0 on AGX Orin, 2 on Orin Nano Super.
        faster = "for full speed: sudo nvpmodel -m N, N of MAXN in /etc/nvpmodel.conf"
        fix = None if mode and "MAXN" in mode[1] else faster
        yield Finding("power", "info", f"power mode {mode[1] if mode else 'unknown'}", fix)
    governor = probe.read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    clocks = [
        probe.read(f"{d}/scaling_cur_freq") for d in ("/sys/devices/system/cpu/cpu0/cpufreq",)
    ]
    if governor:
        mhz = f", now {int(clocks[0]) // 1000} MHz" if clocks[0] and clocks[0].isdecimal() else ""
        fix = "before measuring: sudo jetson_clocks" if jetson else None
        yield Finding("clocks", "info", f"CPU governor {governor}{mhz}", fix)
    for gpu in probe.glob("/sys/class/devfreq/*.g*"):
        rates = [probe.read(f"/sys/class/devfreq/{gpu.name}/{n}_freq") for n in ("cur", "max")]
        if all(rate and rate.isdecimal() for rate in rates):
            now, most = (int(rate or 0) // 1_000_000 for rate in rates)
            yield Finding("clocks", "info", f"GPU at {now} of {most} MHz")
    zones = [
        probe.read(f"/sys/class/thermal/{z.name}/temp")
        for z in probe.glob("/sys/class/thermal/thermal_zone*")
    ]
    degrees = [int(t) / 1000 for t in zones if t and t.lstrip("-").isdecimal()]
    if degrees:
        hot = max(degrees) >= _HOT_C
        yield Finding(
            "temperature",
            "problem" if hot else "ok",
            f"hottest part {max(degrees):.0f} °C",
            "it will slow down: add a fan or lower the power mode" if hot else None,
        )


def _memory(probe: Probe, jetson: bool) -> Iterator[Finding]:
    text = probe.read("/proc/meminfo") or ""
    sizes = {m[1]: int(m[2]) << 10 for m in re.finditer(r"^(\w+):\s+(\d+) kB", text, re.M)}
    free, total = sizes.get("MemAvailable"), sizes.get("MemTotal")
    if free is None or total is None:
        yield Finding("memory", "problem", "cannot read /proc/meminfo")
        return
    said = f"{free / _MIB:.0f} of {total / _MIB:.0f} MiB free"
    if free < _MEMORY_MIN:
        fix = "stop the desktop: sudo systemctl set-default multi-user.target, then restart"
        yield Finding("memory", "problem", f"{said}: building engines may fail", fix)
    else:
        yield Finding("memory", "ok", said)


def _disk(probe: Probe, folders: Sequence[Path]) -> Iterator[Finding]:
    for folder in folders:
        free = probe.disk_free(folder)
        enough = free >= _DISK_MIN
        yield Finding(
            "disk",
            "ok" if enough else "problem",
            f"{free / _MIB:.0f} MiB free for {folder}",
            None if enough else "free space, or set state_dir and engines.cache to another disk",
        )


_OPTIONAL = (
    ("mtcnn", "the MTCNN detector's weights", "pc"),
    ("lz4", "reading the MTCNN detector's weights", "pc"),
    ("onnx", "building networks", "pc"),
    ("dlib", "the dlib embedding", "pc"),
    ("paho", "MQTT", "mqtt"),
    ("sklearn", "the classic classifiers and evaluation", "eval"),
    ("matplotlib", "plots", "eval"),
    ("torch", "training", "train"),
)


def _extras(probe: Probe, jetson: bool) -> Iterator[Finding]:
    for name, what, extra in _OPTIONAL:
        if not probe.installed(name):
            extra = "jetson" if jetson and extra == "pc" else extra
            fix = f"pip install 'jetson-face[{extra}]'"
            yield Finding("extras", "missing", f"{name}: for {what}", fix)


_CHECKS: tuple[Callable[[Probe, bool], Iterator[Finding]], ...] = (
    _board,
    _jetpack,
    _cuda,
    _tensorrt,
    _onnxruntime,
    _opencv,
    _gstreamer,
    _cameras,
    _power,
    _memory,
    _extras,
)


def _verdict(found: Sequence[Finding], jetson: bool) -> Iterator[Finding]:
    good = {finding.topic for finding in found if finding.state == "ok"}
    works = []
    if "onnxruntime" in good:
        works.append("onnxruntime")
    if {"tensorrt", "gpu"} <= good:
        works.append("tensorrt")
    if not works:
        fix = f"pip install 'jetson-face[{'jetson' if jetson else 'pc'}]'"
        yield Finding("back ends", "problem", "none works: no network can run", fix)
        return
    text = f"working: {', '.join(works)}"
    if not jetson and "tensorrt" not in works:
        text += "; TensorRT does not run here, which is fine on a PC"
    yield Finding("back ends", "ok", text)
