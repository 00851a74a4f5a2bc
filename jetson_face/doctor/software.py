"""What is installed: JetPack, CUDA, the runtimes of networks, OpenCV, GStreamer, packages."""

from __future__ import annotations

import re
from collections.abc import Iterator

from jetson_face.core.errors import JetsonFaceError
from jetson_face.doctor.probe import Finding, Probe, State, jetson_linux
from jetson_face.util.optional import pip_install

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


def jetpack(probe: Probe, jetson: bool) -> Iterator[Finding]:
    """Jetson Linux and its JetPack."""
    release = jetson_linux(probe)
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


def cuda(probe: Probe, jetson: bool) -> Iterator[Finding]:
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
    fix = f"export PATH=$PATH:/usr/local/cuda/bin; {pip_install('pycuda')}"
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


def tensorrt(probe: Probe, jetson: bool) -> Iterator[Finding]:
    """Flavour and version."""
    try:
        yield Finding("tensorrt", "ok", probe.tensorrt())
    except JetsonFaceError as exc:
        what, _, fix = str(exc).partition(": ")
        yield Finding("tensorrt", "problem" if jetson else "missing", what, fix or None)


def onnxruntime(probe: Probe, jetson: bool) -> Iterator[Finding]:
    """Version, providers, and whether it is installed once."""
    module = probe.module("onnxruntime")
    extra = "jetson" if jetson else "pc"
    if module is None or isinstance(module, Exception):
        why = "not installed" if module is None else f"cannot be loaded: {module}"
        yield Finding("onnxruntime", "problem", why, pip_install(extra))
        return
    providers = [p.removesuffix("ExecutionProvider") for p in module.get_available_providers()]
    text = f"ONNX Runtime {module.__version__}: {', '.join(providers)}"
    both = {"onnxruntime", "onnxruntime-gpu"} <= probe.distributions()
    if both:
        fix = "pip uninstall onnxruntime onnxruntime-gpu, then install one of them"
        yield Finding("onnxruntime", "problem", f"{text}; installed twice, CPU and GPU", fix)
    else:
        yield Finding("onnxruntime", "ok", text)


def opencv(probe: Probe, jetson: bool) -> Iterator[Finding]:
    """Version, GStreamer, and whether it is installed once."""
    module = probe.module("cv2")
    if module is None or isinstance(module, Exception):
        why = "OpenCV is not installed" if module is None else f"OpenCV cannot be loaded: {module}"
        fix = "sudo apt install python3-opencv" if jetson else pip_install("pc")
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


def gstreamer(probe: Probe, jetson: bool) -> Iterator[Finding]:
    """For cameras through PyGObject."""
    module = probe.module("gi")
    if module is None or isinstance(module, Exception):
        fix = "sudo apt install python3-gi gir1.2-gstreamer-1.0; use a venv with system packages"
        text = "no PyGObject: csi:// and gst: sources need it or an OpenCV with GStreamer"
        yield Finding("gstreamer", "missing", text, fix)
    else:
        yield Finding("gstreamer", "ok", f"PyGObject {module.__version__}")


def extras(probe: Probe, jetson: bool) -> Iterator[Finding]:
    """Optional packages that are not there."""
    for name, what, extra in _OPTIONAL:
        if not probe.installed(name):
            extra = "jetson" if jetson and extra == "pc" else extra
            fix = pip_install(extra)
            yield Finding("extras", "missing", f"{name}: for {what}", fix)
