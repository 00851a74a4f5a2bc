"""Temperatures and power of the board, where the kernel shows them."""

from __future__ import annotations

import re
from pathlib import Path

_LABEL = re.compile(r"[^A-Za-z0-9_-]+")


def temperatures_c(sys: Path = Path("/sys")) -> dict[str, float]:
    """Degrees Celsius by thermal zone; empty where the kernel shows none."""
    found: dict[str, float] = {}
    for zone in sorted((sys / "class" / "thermal").glob("thermal_zone*")):
        value = _number(zone / "temp")
        # Jetson shows -256 °C for a zone whose part is switched off.
        if value is not None and -100_000 < value < 250_000:
            found[_label(zone / "type", zone.name)] = value / 1000
    return found


def power_w(sys: Path = Path("/sys")) -> dict[str, float]:
    """Watts by rail, from the hwmon sensors that measure it (INA3221 on Jetson boards)."""
    found: dict[str, float] = {}
    for sensor in sorted((sys / "class" / "hwmon").glob("hwmon*")):
        for direct in sorted(sensor.glob("power*_input")):
            value = _number(direct)
            if value is not None:
                label = direct.with_name(direct.name.replace("_input", "_label"))
                found[_label(label, f"{sensor.name}_{direct.name[:-6]}")] = value / 1e6
        for current in sorted(sensor.glob("curr*_input")):
            rail = current.name[4:-6]
            amps, volts = _number(current), _number(sensor / f"in{rail}_input")
            if amps is not None and volts is not None:
                name = _label(sensor / f"in{rail}_label", f"{sensor.name}_{rail}")
                found.setdefault(name, amps * volts / 1e6)
    return found


def _number(path: Path) -> float | None:
    try:
        return float(path.read_text("ascii"))
    except (OSError, ValueError):
        return None


def _label(path: Path, default: str) -> str:
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError:
        return default
    return _LABEL.sub("_", text.strip()).strip("_") or default
