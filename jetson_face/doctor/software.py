"""What is installed: JetPack, CUDA, the runtimes of networks, OpenCV, packages, plug-ins."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import get_args

from jetson_face.core.errors import JetsonFaceError, PluginError
from jetson_face.doctor.needs import MODULES, Needs
from jetson_face.doctor.probe import Finding, Probe, State, jetson_linux
from jetson_face.util.optional import pip_install
from jetson_face.util.plugins import Kind, installed

_EXPECTED = {36: "10.3", 38: "10.13", 39: "10.16"}
"""TensorRT by the major number of Jetson Linux."""


def jetpack(probe: Probe, needs: Needs) -> Iterator[Finding]:
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


def cuda(probe: Probe, needs: Needs) -> Iterator[Finding]:
    """The GPU counts; pycuda and what compiles it may be missing."""
    must: State = "problem" if needs.jetson or needs.tensorrt else "missing"
    toolkit = probe.read("/usr/local/cuda/version.json") or ""
    version = re.search(r'"cuda"\s*:\s*{[^}]*"version"\s*:\s*"([\d.]+)"', toolkit)
    if version:
        yield Finding("cuda", "ok", f"CUDA toolkit {version[1]}")
    else:
        fix = "sudo apt install nvidia-jetpack" if needs.jetson else None
        text = "no CUDA toolkit in /usr/local/cuda: only compiling pycuda needs it"
        yield Finding("cuda", "missing", text, fix)
    driver = probe.module("pycuda.driver") if probe.module("pycuda") else None
    fix = "sudo bash tools/install_jetson.sh builds it"
    if driver is None:
        text = "pycuda is not installed: CUDA is reached through the driver's own library"
        yield Finding("pycuda", "missing", text, fix if needs.jetson else None)
    elif isinstance(driver, Exception):
        text = f"pycuda cannot be loaded ({driver}): the driver's own library is used instead"
        fix = f"{fix} again" if needs.jetson else "pip uninstall pycuda"
        yield Finding("pycuda", "info", text, fix)
    else:
        yield Finding("pycuda", "ok", "pycuda")
    try:
        yield Finding("gpu", "ok", probe.gpu())
    except JetsonFaceError as exc:
        text = "is the user in the groups video and render? else flash JetPack again"
        fix = text if needs.jetson else "with an NVIDIA GPU: install its driver, then restart"
        yield Finding("gpu", must, str(exc), fix)


def tensorrt(probe: Probe, needs: Needs) -> Iterator[Finding]:
    """Flavour and version, and whether it is the one that this JetPack has."""
    try:
        found = probe.tensorrt()
    except JetsonFaceError as exc:
        what, _, fix = str(exc).partition(": ")
        must: State = "problem" if needs.jetson or needs.tensorrt else "missing"
        yield Finding("tensorrt", must, what, fix or None)
        return
    release = jetson_linux(probe)
    own = None if release is None else _EXPECTED.get(release[0])
    if own is not None and not found.startswith(f"tensorrt {own}."):
        text = f"{found}, but this JetPack has {own}: was it installed by pip?"
        fix = "pip uninstall tensorrt, then sudo apt install --reinstall python3-libnvinfer"
        yield Finding("tensorrt", "info", text, fix)
    else:
        yield Finding("tensorrt", "ok", found)


def onnxruntime(probe: Probe, needs: Needs) -> Iterator[Finding]:
    """Version, providers, and whether it is installed once."""
    module = probe.module("onnxruntime")
    extra = _run_extra(needs)
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


def opencv(probe: Probe, needs: Needs) -> Iterator[Finding]:
    """Version, whether it goes with this numpy, and whether it is installed once."""
    numpy, module = probe.module("numpy"), probe.module("cv2")
    pair = f"numpy {getattr(numpy, '__version__', '?')}"
    fix = "sudo bash tools/install_jetson.sh" if needs.jetson else pip_install("pc")
    if module is None or isinstance(module, Exception):
        why = (
            "OpenCV is not installed"
            if module is None
            else f"OpenCV cannot be loaded beside {pair}: {' '.join(str(module).split())[:120]}"
        )
        yield Finding("opencv", "problem", why, fix)
        return
    text = f"OpenCV {module.__version__}, {pair}"
    wheels = sorted(n for n in probe.distributions() if n.startswith("opencv-"))
    if len(wheels) > 1:
        fix = f"pip uninstall {' '.join(wheels)}, then install one of them"
        yield Finding("opencv", "problem", f"{text}, installed {len(wheels)} times", fix)
    elif needs.jetson and not wheels:
        text += ", JetPack's own: built against numpy 1, it breaks when numpy 2 comes"
        yield Finding("opencv", "info", text, fix)
    else:
        yield Finding("opencv", "ok", text)


def extras(probe: Probe, needs: Needs) -> Iterator[Finding]:
    """Packages that this configuration needs, or another would."""
    for name, (what, extra) in MODULES.items():
        if probe.installed(name):
            continue
        must = name in needs.modules
        brings = extra if extra != "RUN" else _run_extra(needs)
        text = f"{name} is not installed: for {what}"
        yield Finding("extras", "problem" if must else "missing", text, pip_install(brings))


def plugins(probe: Probe, needs: Needs) -> Iterator[Finding]:
    """Each plug-in that is installed; its module is imported, nothing of it is called."""
    for kind in get_args(Kind):
        for name, claims in sorted(installed(kind).items()):
            if len(claims) > 1:
                packages = ", ".join(plugin.package for plugin in claims)
                text = f"the {kind} plug-in {name!r} is in {packages}"
                yield Finding("plug-ins", "problem", text, "uninstall all but one of them")
                continue
            try:
                claims[0].load()
            except PluginError as error:
                fix = "install another version of the package, or uninstall it"
                yield Finding("plug-ins", "problem", str(error), fix)
            else:
                yield Finding("plug-ins", "ok", str(claims[0]))


def _run_extra(needs: Needs) -> str:
    return "jetson" if needs.jetson else "pc"
