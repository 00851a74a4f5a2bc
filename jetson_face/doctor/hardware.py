"""The board: cameras, power, clocks, temperature, memory, disk."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from jetson_face.doctor.probe import Finding, Probe

_MIB = 1 << 20
_MEMORY_MIN = 700 * _MIB
_DISK_MIN = 1024 * _MIB
_HOT_C = 80


def board(probe: Probe, jetson: bool) -> Iterator[Finding]:
    """A Jetson, which, or a PC."""
    model = probe.read("/proc/device-tree/model")
    if jetson:
        yield Finding("board", "ok", model or "a Jetson of unknown model")
    else:
        yield Finding("board", "info", "a PC, not a Jetson: fine for development and for small use")


def cameras(probe: Probe, jetson: bool) -> Iterator[Finding]:
    """Those that the kernel knows, and whether this user may open them."""
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


def power_mode(probe: Probe, jetson: bool) -> Iterator[Finding]:
    """nvpmodel's."""
    if not jetson:
        return
    mode = re.search(r"NV Power Mode: (\S+)", probe.command("nvpmodel", "-q") or "")
    # The number of the fastest mode differs: 0 on AGX Orin, 2 on Orin Nano Super.
    faster = "for full speed: sudo nvpmodel -m N, N of MAXN in /etc/nvpmodel.conf"
    fix = None if mode and "MAXN" in mode[1] else faster
    yield Finding("power", "info", f"power mode {mode[1] if mode else 'unknown'}", fix)


def clocks(probe: Probe, jetson: bool) -> Iterator[Finding]:
    """Of the CPU and of a Jetson's GPU."""
    cpu = "/sys/devices/system/cpu/cpu0/cpufreq"
    governor, now = probe.read(f"{cpu}/scaling_governor"), probe.number(f"{cpu}/scaling_cur_freq")
    if governor:
        mhz = "" if now is None else f", now {now // 1000} MHz"
        fix = "before measuring: sudo jetson_clocks" if jetson else None
        yield Finding("clocks", "info", f"CPU governor {governor}{mhz}", fix)
    for gpu in probe.glob("/sys/class/devfreq/*.g*"):
        rates = [probe.number(f"/sys/class/devfreq/{gpu.name}/{n}_freq") for n in ("cur", "max")]
        at, most = (None if rate is None else rate // 1_000_000 for rate in rates)
        if at is not None and most is not None:
            yield Finding("clocks", "info", f"GPU at {at} of {most} MHz")


def temperature(probe: Probe, jetson: bool) -> Iterator[Finding]:
    """Of the hottest part."""
    zones = probe.glob("/sys/class/thermal/thermal_zone*")
    found = [probe.number(f"/sys/class/thermal/{zone.name}/temp") for zone in zones]
    hottest = max((t / 1000 for t in found if t is not None), default=None)
    if hottest is None:
        return
    text = f"hottest part {hottest:.0f} °C"
    if hottest >= _HOT_C:
        fix = "it will slow down: add a fan or lower the power mode"
        yield Finding("temperature", "problem", text, fix)
    else:
        yield Finding("temperature", "ok", text)


def memory(probe: Probe, jetson: bool) -> Iterator[Finding]:
    """Free for the program and for building engines."""
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


def disk(probe: Probe, folders: Sequence[Path]) -> Iterator[Finding]:
    """Free where the program will write."""
    for folder in folders:
        free = probe.disk_free(folder)
        enough = free >= _DISK_MIN
        yield Finding(
            "disk",
            "ok" if enough else "problem",
            f"{free / _MIB:.0f} MiB free for {folder}",
            None if enough else "free space, or set state_dir and engines.cache to another disk",
        )
