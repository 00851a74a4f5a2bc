"""What brings frames: GStreamer and its elements, OpenCV's decoders, cameras, the CSI daemon."""

from __future__ import annotations

import re
from collections.abc import Iterator

from jetson_face.doctor.needs import Needs
from jetson_face.doctor.probe import Finding, Probe, State

ARGUS_SOCKET = "/tmp/argus_socket"
_RTSP = ("rtspsrc", "rtph264depay", "h264parse", "decodebin", "videoconvert", "appsink")
_DEBS = {
    "rtspsrc": "gstreamer1.0-plugins-good",
    "rtph264depay": "gstreamer1.0-plugins-good",
    "h264parse": "gstreamer1.0-plugins-bad",
    "decodebin": "gstreamer1.0-plugins-base",
    "videoconvert": "gstreamer1.0-plugins-base",
    "appsink": "gstreamer1.0-plugins-base",
    "avdec_h264": "gstreamer1.0-libav",
    "nvarguscamerasrc": "nvidia-l4t-gstreamer",
    "nvvidconv": "nvidia-l4t-gstreamer",
    "nvv4l2decoder": "nvidia-l4t-gstreamer",
}
"""Which package has an element, on Debian, Ubuntu and Jetson Linux."""
_TYPELIB = "gir1.2-gst-plugins-base-1.0"


def gstreamer(probe: Probe, needs: Needs) -> Iterator[Finding]:
    """From Python, with what the configured sources and this board take."""
    needed = needs.csi or bool(needs.schemes & {"gst"}) or (needs.jetson and needs.rtsp)
    module = probe.module("gi")
    if module is None or isinstance(module, Exception):
        why = "is not installed" if module is None else f"cannot be loaded: {module}"
        text = f"PyGObject {why}: csi:// and gst: sources need it"
        fix = f"sudo apt install python3-gi {_TYPELIB}; use a venv with system packages"
        yield Finding("gstreamer", "problem" if needed else "missing", text, fix)
        return
    if lacking := probe.typelibs("Gst", "GstApp"):
        text = f"no typelib {', '.join(lacking)}: frames cannot be taken out of a pipeline"
        fix = f"sudo apt install {_TYPELIB}"
        yield Finding("gstreamer", "problem" if needed else "missing", text, fix)
        return
    wanted = [*_RTSP, "nvv4l2decoder"] if needs.jetson else [*_RTSP, "avdec_h264"]
    if needs.jetson:
        wanted += ["nvvidconv", *(["nvarguscamerasrc"] if needs.csi else [])]
    elif needs.csi:
        wanted += ["nvarguscamerasrc", "nvvidconv"]
    missing = probe.missing_elements(*wanted)
    if missing:
        text = f"GStreamer without {', '.join(missing)}"
        must = needed or needs.jetson
        fix = _fix(missing)
        if needs.csi and not needs.jetson:
            fix = "CSI cameras are a Jetson's: configure another source"
        yield Finding("gstreamer", "problem" if must else "missing", text, fix)
    else:
        decoder = "nvv4l2decoder" if needs.jetson else "avdec_h264"
        yield Finding("gstreamer", "ok", f"PyGObject {module.__version__}, H.264 by {decoder}")


def rtsp(probe: Probe, needs: Needs) -> Iterator[Finding]:
    """Whether a network camera can be read, and by what."""
    module, cv2 = probe.module("gi"), probe.module("cv2")
    by = []
    if module is not None and not isinstance(module, Exception) and not probe.typelibs("GstApp"):
        decoder = "nvv4l2decoder" if needs.jetson else "avdec_h264"
        if not probe.missing_elements(*_RTSP, decoder):
            by.append("GStreamer")
    told = "" if cv2 is None or isinstance(cv2, Exception) else cv2.getBuildInformation()
    if re.search(r"FFMPEG:\s+YES", told):
        by.append("OpenCV (no latency_ms)")
    if by:
        yield Finding("rtsp", "ok", f"rtsp:// works, by {by[0]}")
    else:
        fix = f"sudo apt install python3-gi {_TYPELIB} gstreamer1.0-plugins-good gstreamer1.0-libav"
        text = "rtsp:// does not work: neither GStreamer nor OpenCV can decode it"
        yield Finding("rtsp", "problem" if needs.rtsp else "missing", text, fix)


def cameras(probe: Probe, needs: Needs) -> Iterator[Finding]:
    """Those that the kernel knows, and whether this user may open them."""
    devices = probe.glob("/dev/video*")
    if not devices:
        csi = "for CSI: sudo /opt/nvidia/jetson-io/jetson-io.py, choose the camera's module, reboot"
        fix = f"plug in a camera; {csi}" if needs.jetson else None
        must = needs.jetson and needs.csi
        text = "no /dev/video*: streams and files still work"
        yield Finding("cameras", "problem" if must else "missing", text, fix)
    shut = [device for device in devices if not probe.readable(device)]
    if shut:
        names = ", ".join(f"/dev/{device.name}" for device in shut)
        fix = "sudo usermod -aG video $USER, then log in again"
        yield Finding("cameras", "problem", f"{names}: may not be opened", fix)
    elif devices:
        said = "; ".join(
            f"/dev/{device.name}: "
            f"{probe.read(f'/sys/class/video4linux/{device.name}/name') or 'unknown'}"
            for device in devices
        )
        yield Finding("cameras", "ok", said)


def argus(probe: Probe, needs: Needs) -> Iterator[Finding]:
    """The daemon that CSI cameras go through, and its socket."""
    if not needs.jetson:
        return
    must: State = "problem" if needs.csi else "info"
    fix = "sudo systemctl restart nvargus-daemon"
    if probe.command("systemctl", "is-active", "nvargus-daemon") is None:
        yield Finding("argus", must, "nvargus-daemon does not run: no CSI camera", fix)
    elif not probe.glob(ARGUS_SOCKET):
        yield Finding("argus", must, f"no {ARGUS_SOCKET}: no CSI camera", fix)
    elif not probe.readable(probe.glob(ARGUS_SOCKET)[0]):
        fix = f"ls -l {ARGUS_SOCKET}: is the user in the group video? sudo usermod -aG video $USER"
        yield Finding("argus", must, f"{ARGUS_SOCKET} may not be used", fix)
    else:
        yield Finding("argus", "ok", "nvargus-daemon answers to its socket")


def _fix(missing: list[str]) -> str:
    packages = " ".join(
        dict.fromkeys(_DEBS.get(name, "gstreamer1.0-plugins-bad") for name in missing)
    )
    return (
        f"sudo apt install {packages}; where it is installed: rm -r ~/.cache/gstreamer-1.0, which "
        "remembers what once failed"
    )
