"""What works on this machine, what does not, and how to fix it.

Each check looks at one thing through a `Probe`, so that any machine can be played in a test, and
never raises: what it cannot find out is itself a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from jetson_face.doctor import hardware, plugins, software
from jetson_face.doctor.probe import Finding, Probe, jetson_linux
from jetson_face.util.optional import pip_install

_CHECKS: tuple[Callable[[Probe, bool], Iterator[Finding]], ...] = (
    hardware.board,
    software.jetpack,
    software.cuda,
    software.tensorrt,
    software.onnxruntime,
    software.opencv,
    software.gstreamer,
    hardware.cameras,
    hardware.power_mode,
    hardware.clocks,
    hardware.temperature,
    hardware.memory,
    software.extras,
    plugins.plugins,
)


def examine(probe: Probe, folders: Sequence[Path]) -> list[Finding]:
    """All findings, in order. folders: where the program will write."""
    found: list[Finding] = []
    jetson = jetson_linux(probe) is not None
    for check in _CHECKS:
        found += check(probe, jetson)
    found += hardware.disk(probe, folders)
    return [*found, *_verdict(found, jetson)]


def _verdict(found: Sequence[Finding], jetson: bool) -> Iterator[Finding]:
    good = {finding.topic for finding in found if finding.state == "ok"}
    works = []
    if "onnxruntime" in good:
        works.append("onnxruntime")
    if {"tensorrt", "gpu"} <= good:
        works.append("tensorrt")
    if not works:
        fix = pip_install("jetson" if jetson else "pc")
        yield Finding("back ends", "problem", "none works: no network can run", fix)
        return
    text = f"working: {', '.join(works)}"
    if not jetson and "tensorrt" not in works:
        text += "; TensorRT does not run here, which is fine on a PC"
    yield Finding("back ends", "ok", text)
