"""What works on this machine, what does not, and how to fix it.

Each check looks at one thing through a `Probe`, so that any machine can be played in a test, and
never raises: what it cannot find out is itself a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from jetson_face.doctor import hardware, software, video
from jetson_face.doctor.needs import Needs
from jetson_face.doctor.probe import Finding, Probe
from jetson_face.util.optional import pip_install

_CHECKS: tuple[Callable[[Probe, Needs], Iterator[Finding]], ...] = (
    hardware.board,
    software.jetpack,
    software.cuda,
    hardware.gpu_nodes,
    software.tensorrt,
    software.onnxruntime,
    software.opencv,
    video.gstreamer,
    video.rtsp,
    video.cameras,
    video.argus,
    hardware.power_mode,
    hardware.clocks,
    hardware.temperature,
    hardware.memory,
    hardware.disk,
    software.extras,
    software.plugins,
)
_DETAILS = ("disk", "cuda", "pycuda", "clocks", "temperature", "gstreamer", "model")
"""What matters only where it is not as it should be."""


def examine(probe: Probe, needs: Needs) -> list[Finding]:
    """All findings, in order."""
    found = [finding for check in _CHECKS for finding in check(probe, needs)]
    return [*found, *_verdict(found, needs)]


def summary(found: Sequence[Finding]) -> tuple[list[Finding], list[str]]:
    """What matters, and in words what was left out: what works and goes without saying, and what
    is not there and not needed."""
    shown, works, absent = [], [], []
    for finding in found:
        if finding.state == "missing":
            absent.append(finding.topic if finding.topic != "extras" else finding.text.split()[0])
        elif (
            finding.topic in _DETAILS
            and finding.state in ("ok", "info")
            and not (finding.topic == "pycuda" and finding.state == "info")
        ):
            works.append(finding.topic)
        else:
            shown.append(finding)
    said = []
    if absent:
        said.append(f"not here, not needed: {', '.join(dict.fromkeys(absent))}")
    if works:
        said.append(f"as it should be: {', '.join(dict.fromkeys(works))}")
    return shown, said


def _verdict(found: Sequence[Finding], needs: Needs) -> Iterator[Finding]:
    good = {(finding.topic, finding.state) for finding in found}
    works = ["onnxruntime"] if ("onnxruntime", "ok") in good else []
    if ("gpu", "ok") in good and good & {("tensorrt", "ok"), ("tensorrt", "info")}:
        works.append("tensorrt")
    if not works:
        fix = pip_install("jetson" if needs.jetson else "pc")
        yield Finding("back ends", "problem", "none works: no network can run", fix)
        return
    text = f"working: {', '.join(works)}"
    if needs.backend not in works:
        fix = "see above, or set backend.type to " + works[0]
        text += f"; this configuration wants {needs.backend}"
        yield Finding("back ends", "problem", text, fix)
        return
    if not needs.jetson and "tensorrt" not in works:
        text += "; TensorRT does not run here, which is fine on a PC"
    yield Finding("back ends", "ok", text)
