"""What of a box's hardware the service's unit must let through: GPU nodes, the CSI daemon's socket.

systemd lets a service open device nodes by the name of their driver as /proc/devices has it
(`char-nvidia`), by fnmatch, or by path. Names differ by board: Orin's GPU registers as
`17000000.gpu`, Thor's through NVIDIA's PC driver; so what is there is looked at when the unit is
written, on top of the names that are known.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

KNOWN = (
    "char-video4linux",
    "char-media",
    "char-drm",
    "char-nv*",
    "char-host1x*",
    "char-*.gpu",
    "/dev/nvmap",
)
"""What the shipped units allow: cameras, displays' render nodes, and the GPU nodes of Orin
(`17000000.gpu`, `host1x-fence`, `nvhost-*`) and of Thor and PCs (`nvidia`, `nvidia-uvm`)."""
_GPU_NODES = (
    "nvmap",
    "nvhost*",
    "nvgpu/*",
    "nvgpu/*/*",
    "nvidia*",
    "nvsciipc",
    "host1x-fence",
    "v4l2-nv*",
    "tegra*",
    "dri/renderD*",
)
_SHARED_MAJORS = ("misc", "mem")
"""Drivers that many devices share: allowed by path, never by name."""


@dataclass(frozen=True, slots=True)
class Node:
    """A device node. path: as in /dev/nvmap. driver: its name in /proc/devices, "" if unknown."""

    path: str
    driver: str


@dataclass(frozen=True, slots=True)
class Hardware:
    """What was found on the box.

    jetson: it has NVIDIA's Jetson Linux. nodes: the GPU's. network: a configured camera is reached
    over a network. looked: False where the box does not run, so that only known names count.
    """

    jetson: bool
    nodes: tuple[Node, ...]
    network: bool
    looked: bool = True

    @property
    def allowed(self) -> tuple[str, ...]:
        """DeviceAllow= of the nodes that the shipped unit does not let through."""
        missing = (_expression(node) for node in self.nodes if not _is_known(node))
        return tuple(sorted(set(missing)))

    def lines(self) -> list[str]:
        """What was found, for people; one line each."""
        if not self.looked:
            gpu = "this is an image: GPU nodes go by the names that Orin's and Thor's are known by"
        elif self.nodes:
            drivers = sorted({node.driver or node.path for node in self.nodes})
            shown = self.nodes[0].path
            more = f" and {len(self.nodes) - 1} more" if len(self.nodes) > 1 else ""
            gpu = f"GPU nodes {shown}{more}, of {', '.join(drivers)}"
        else:
            gpu = "no GPU nodes in /dev: the service runs its networks on the CPU"
        lines = [gpu]
        if self.jetson:
            lines.append("a Jetson: /tmp is shared, for the CSI camera daemon's socket")
        if self.network:
            lines.append("a network camera: started when the network is up")
        return lines


def look_at(root: Path, *, network: bool) -> Hardware:
    """The box whose files are below `root`; only `/` is a box that runs."""
    jetson = (root / "etc/nv_tegra_release").exists()
    if root != Path("/"):
        return Hardware(jetson, (), network, looked=False)
    try:
        listed = Path("/proc/devices").read_text("utf-8")
    except OSError:
        listed = ""
    drivers = parse_drivers(listed)
    return Hardware(jetson, tuple(gpu_nodes(_character_devices(Path("/dev")), drivers)), network)


def parse_drivers(text: str) -> dict[int, str]:
    """Names of character drivers by their major number, from the text of /proc/devices."""
    found: dict[int, str] = {}
    for line in text.partition("Block devices:")[0].splitlines():
        number, _, name = line.strip().partition(" ")
        if number.isdecimal() and name:
            found.setdefault(int(number), name.strip())
    return found


def gpu_nodes(devices: Iterable[tuple[str, int]], drivers: Mapping[int, str]) -> list[Node]:
    """Those of the devices (path, major) that a GPU's program opens."""
    found = []
    for path, major in devices:
        name = path.removeprefix("/dev/")
        driver = drivers.get(major, "")
        if any(fnmatch(name, pattern) for pattern in _GPU_NODES) or driver.endswith(".gpu"):
            found.append(Node(path, driver))
    return sorted(found, key=lambda node: node.path)


def adapt(unit: str, hardware: Hardware) -> str:
    """The unit's text for that hardware."""
    if hardware.allowed:
        extra = "".join(f"DeviceAllow={what} rw\n" for what in hardware.allowed)
        unit = unit.replace("DeviceAllow=/dev/nvmap rw\n", f"DeviceAllow=/dev/nvmap rw\n{extra}")
    if hardware.jetson:
        # A bind of the socket alone would be dead when nvargus-daemon starts again, and is left out
        # where that has not started yet.
        unit = unit.replace("PrivateTmp=yes\n", "PrivateTmp=no\nReadWritePaths=/tmp\n")
    if hardware.network:
        unit = unit.replace(
            "After=network.target ", "Wants=network-online.target\nAfter=network-online.target "
        )
    return unit


def _is_known(node: Node) -> bool:
    by_name = node.driver and any(fnmatch(f"char-{node.driver}", known) for known in KNOWN)
    return bool(by_name) or node.path in KNOWN


def _expression(node: Node) -> str:
    shared = not node.driver or node.driver in _SHARED_MAJORS or not node.driver.isprintable()
    # systemd reads these as patterns, and a blank ends the name.
    odd = any(sign in node.driver for sign in " *?[]\\%")
    return node.path if shared or odd else f"char-{node.driver}"


def _character_devices(root: Path) -> list[tuple[str, int]]:
    """(path, major) of those in a folder and two below it; links are passed over."""
    found: list[tuple[str, int]] = []
    for folder, below, names in os.walk(root):
        place = Path(folder)
        if len(place.relative_to(root).parts) == 2:
            below.clear()
        for name in names:
            with suppress(OSError):
                status = (place / name).lstat()
                if stat.S_ISCHR(status.st_mode):
                    found.append((str(place / name), os.major(status.st_rdev)))
    return found
