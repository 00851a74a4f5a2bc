"""What this machine has: its kind, and the places where state and caches go."""

from __future__ import annotations

import os
from pathlib import Path


def is_jetson() -> bool:
    """Whether this machine runs L4T."""
    return Path("/etc/nv_tegra_release").exists()


def default_state_dir() -> Path:
    """$STATE_DIRECTORY (systemd), or $XDG_STATE_HOME/jetson-face, or ~/.local/state/jetson-face."""
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "jetson-face"


def default_cache_dir() -> Path:
    """$CACHE_DIRECTORY (systemd), or $XDG_CACHE_HOME/jetson-face, or ~/.cache/jetson-face."""
    if given := os.environ.get("CACHE_DIRECTORY"):
        return Path(given.split(":")[0])
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "jetson-face"
