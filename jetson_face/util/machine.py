"""What a figure was measured on: board, processor, clocks, power mode, memory, versions, load."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from jetson_face.core.version import __version__

PACKAGES = (
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "opencv-python-headless",
    "opencv-python",
    "tensorrt",
    "tensorrt_rtx",
    "dlib",
    "dlib-bin",
    "pycuda",
)
_CPU = Path("sys/devices/system/cpu")


def machine_facts(root: Path = Path("/")) -> dict[str, Any]:
    """Facts as plain JSON values; None where this machine does not tell.

    root: where `/proc`, `/sys` and `/etc` are looked for. The power mode is what `nvpmodel` chose
    last on a Jetson.
    """
    return {
        "jetson_face": __version__,
        "board": _text(root / "proc/device-tree/model")
        or _text(root / "sys/devices/virtual/dmi/id/product_name"),
        "cpu": _found(root / "proc/cpuinfo", r"^(?:model name|Model|Hardware)\s*:\s*(.*\S)"),
        "cores": os.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0)),
        "governor": _text(root / _CPU / "cpu0/cpufreq/scaling_governor"),
        "clock_mhz": _mhz(root, "scaling_cur_freq") or _proc_mhz(root),
        "clock_max_mhz": _mhz(root, "cpuinfo_max_freq"),
        "power_mode": _power_mode(root),
        "l4t": _first_line(root / "etc/nv_tegra_release"),
        "memory_mb": _memory_mb(root),
        "load_1min": _load(root),
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "packages": {name: found for name in PACKAGES if (found := _version(name)) is not None},
    }


def facts_that_differ(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """What makes two measurements hard to compare, as `key: old -> new`; load and clock vary."""
    ignored = {"load_1min", "clock_mhz"}
    keys = [key for key in {**a, **b} if key not in ignored]
    return [f"{key}: {a.get(key)} -> {b.get(key)}" for key in keys if a.get(key) != b.get(key)]


def byte_maths(root: Path = Path("/")) -> Literal["VNNI", "AVX2"] | None:
    """What an x86 processor multiplies bytes with where it is known to be faster than with floats:
    VNNI, or AVX2 where there is no AVX-512. None elsewhere, and where the system does not tell."""
    told = _found(root / "proc/cpuinfo", r"^flags\s*:\s*(.*)$")
    flags = set((told or "").split())
    if flags & {"avx512_vnni", "avx_vnni"}:
        return "VNNI"
    return "AVX2" if "avx2" in flags and "avx512f" not in flags else None


def peak_memory_mb(root: Path = Path("/")) -> float | None:
    """Most memory (resident, MiB) that this process held since the last `reset_peak_memory`."""
    return _status_mb(root, "VmHWM")


def memory_mb(root: Path = Path("/")) -> float | None:
    """Memory (resident, MiB) that this process holds now."""
    return _status_mb(root, "VmRSS")


def reset_peak_memory(root: Path = Path("/")) -> bool:
    """Forget the peak so far; False where the kernel does not let us (proc(5), clear_refs)."""
    try:
        (root / "proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _status_mb(root: Path, key: str) -> float | None:
    found = _found(root / "proc/self/status", rf"^{key}:\s+(\d+) kB")
    return None if found is None else int(found) / 1024


def _text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", errors="replace").strip("\0 \n\t") or None
    except OSError:
        return None


def _first_line(path: Path) -> str | None:
    text = _text(path)
    return None if text is None else text.splitlines()[0]


def _found(path: Path, pattern: str) -> str | None:
    """The pattern's group in a file."""
    found = re.search(pattern, _text(path) or "", re.MULTILINE)
    return None if found is None else found[1]


def _mhz(root: Path, name: str) -> float | None:
    text = _text(root / _CPU / "cpu0/cpufreq" / name)
    return int(text) / 1000 if text and text.isdecimal() else None


def _proc_mhz(root: Path) -> float | None:
    found = _found(root / "proc/cpuinfo", r"^cpu MHz\s*:\s*([\d.]+)$")
    return None if found is None else float(found)


def _power_mode(root: Path) -> str | None:
    """`pmode:0002` is written by nvpmodel; its names are in the board's own nvpmodel.conf."""
    status = root / "var/lib/nvpmodel/status"
    found = _found(status, r"pmode:\s*0*(\d+)")
    if found is None:
        return _text(status)
    name = _found(root / "etc/nvpmodel.conf", rf"POWER_MODEL\s+ID={found}\s+NAME=(\S+?)\s*>")
    return f"{found} ({name})" if name else found


def _memory_mb(root: Path) -> int | None:
    found = _found(root / "proc/meminfo", r"^MemTotal:\s+(\d+) kB")
    return None if found is None else int(found) // 1024


def _load(root: Path) -> float | None:
    text = _text(root / "proc/loadavg")
    return float(text.split()[0]) if text else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def give_back_memory() -> None:
    """Let the system have the memory that this process freed: glibc keeps what lies between blocks
    in use. Elsewhere nothing happens."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
