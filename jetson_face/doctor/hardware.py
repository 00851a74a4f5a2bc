"""The board: cameras, power, clocks, temperature, memory, disk."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from jetson_face.doctor.needs import Needs
from jetson_face.doctor.probe import Finding, Probe

_MIB = 1 << 20
_SMALL_BOARD = 9 * 1024 * _MIB
_DISK_MIN = 1024 * _MIB
_HOT_C = 80
_GPU_NODES = ("/dev/nvgpu/igpu0/ctrl", "/dev/nvhost-*", "/dev/nvmap", "/dev/nvidia[0-9c]*")


def board(probe: Probe, needs: Needs) -> Iterator[Finding]:
    """A Jetson, which, or a PC."""
    model = probe.read("/proc/device-tree/model")
    if needs.jetson:
        yield Finding("board", "ok", model or "a Jetson of unknown model")
    else:
        yield Finding("board", "info", "a PC, not a Jetson: fine for development and for small use")


def gpu_nodes(probe: Probe, needs: Needs) -> Iterator[Finding]:
    """The device nodes that CUDA opens, and whether this user may."""
    if not needs.jetson:
        return
    nodes = [node for pattern in _GPU_NODES for node in probe.glob(pattern)]
    if not nodes:
        text = "no GPU nodes in /dev (nvgpu/igpu0/ctrl, nvhost-*, nvidia0)"
        fix = "sudo dmesg | grep -iE 'nvgpu|nvidia' says why; flash JetPack again"
        yield Finding("gpu nodes", "problem", text, fix)
        return
    shut = [node for node in nodes if not probe.readable(node)]
    if shut:
        text = f"{_name(probe, shut[0])} and {len(shut) - 1} more may not be opened"
        fix = "sudo usermod -aG video,render $USER, then log in again"
        yield Finding("gpu nodes", "problem", text, fix)
    else:
        yield Finding("gpu nodes", "ok", f"{_name(probe, nodes[0])} and {len(nodes) - 1} more")


def _name(probe: Probe, node: Path) -> str:
    return f"/{node.relative_to(probe.root)}"


def power_mode(probe: Probe, needs: Needs) -> Iterator[Finding]:
    """nvpmodel's, and the fastest of the board's own list: its number differs by board."""
    if not needs.jetson:
        return
    now = re.search(r"NV Power Mode: (\S+)", probe.command("nvpmodel", "-q") or "")
    listed = probe.read("/etc/nvpmodel.conf") or ""
    modes = re.findall(r"^<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+?)\s*>", listed, re.M)
    fastest = sorted((name, number) for number, name in modes if "MAXN" in name)
    fix = None
    if now is None or "MAXN" not in now[1] or (fastest and fastest[-1][0] != now[1]):
        fix = "for full speed: sudo nvpmodel -m N, N of MAXN in /etc/nvpmodel.conf"
        if fastest:
            name, number = fastest[-1]
            fix = f"for full speed: sudo nvpmodel -m {number} ({name}), then sudo jetson_clocks"
        elif modes:
            names = ", ".join(f"{number} is {name}" for number, name in modes)
            fix = f"this board has no MAXN: {names}; sudo nvpmodel -m N"
    yield Finding("power", "info", f"power mode {now[1] if now else 'unknown'}", fix)


def clocks(probe: Probe, needs: Needs) -> Iterator[Finding]:
    """Of the CPU and of a Jetson's GPU."""
    cpu = "/sys/devices/system/cpu/cpu0/cpufreq"
    governor, now = probe.read(f"{cpu}/scaling_governor"), probe.number(f"{cpu}/scaling_cur_freq")
    if governor:
        mhz = "" if now is None else f", now {now // 1000} MHz"
        fix = "before measuring: sudo jetson_clocks" if needs.jetson else None
        yield Finding("clocks", "info", f"CPU governor {governor}{mhz}", fix)
    for gpu in probe.glob("/sys/class/devfreq/*.g*"):
        rates = [probe.number(f"/sys/class/devfreq/{gpu.name}/{n}_freq") for n in ("cur", "max")]
        at, most = (None if rate is None else rate // 1_000_000 for rate in rates)
        if at is not None and most is not None:
            yield Finding("clocks", "info", f"GPU at {at} of {most} MHz")


def temperature(probe: Probe, needs: Needs) -> Iterator[Finding]:
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


def memory(probe: Probe, needs: Needs) -> Iterator[Finding]:
    """Free for the program and for building engines, and the swap that a small board wants."""
    text = probe.read("/proc/meminfo") or ""
    sizes = {m[1]: int(m[2]) << 10 for m in re.finditer(r"^(\w+):\s+(\d+) kB", text, re.M)}
    free, total = sizes.get("MemAvailable"), sizes.get("MemTotal")
    if free is None or total is None:
        yield Finding("memory", "problem", "cannot read /proc/meminfo")
        return
    swap, unused = sizes.get("SwapTotal", 0), sizes.get("SwapFree", 0)
    said = f"{free / _MIB:.0f} of {total / _MIB:.0f} MiB free, swap {swap / _MIB:.0f} MiB"
    more = "sudo fallocate -l 8G /swapfile && sudo chmod 600 /swapfile && sudo mkswap /swapfile && "
    more += "sudo swapon /swapfile"
    if free + unused < needs.memory:
        fix = "close other programs"
        if needs.jetson:
            fix = f"sudo systemctl isolate multi-user.target (no desktop), or swap: {more}"
        what = "building engines" if needs.tensorrt else "running"
        wanted = f"{needs.memory / _MIB:.0f} MiB wanted"
        yield Finding("memory", "problem", f"{said}: {what} may fail, {wanted}", fix)
    elif needs.jetson and needs.tensorrt and total < _SMALL_BOARD and not swap:
        text = f"{said}: without swap, building engines may be ended by the kernel"
        yield Finding("memory", "info", text, f"{more} (the first build only)")
    else:
        yield Finding("memory", "ok", said)


def disk(probe: Probe, needs: Needs) -> Iterator[Finding]:
    """Free where the program will write."""
    rooms = [(probe.disk_free(folder), folder) for folder in needs.folders]
    for free, folder in rooms:
        if free < _DISK_MIN:
            fix = "free space, or set state_dir and engines.cache to another disk"
            yield Finding("disk", "problem", f"{free / _MIB:.0f} MiB free for {folder}", fix)
    if rooms and min(free for free, _ in rooms) >= _DISK_MIN:
        least = min(free for free, _ in rooms)
        places = " and ".join(str(folder) for _, folder in rooms)
        yield Finding("disk", "ok", f"{least / _MIB:.0f} MiB free for {places}")
