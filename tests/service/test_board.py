"""Temperatures and rails, from a copy of what a board's kernel shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from jetson_face.service.board import power_w, temperatures_c


def lay(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_an_orin_shows_its_zones_and_rails(tmp_path: Path) -> None:
    sys = lay(
        tmp_path,
        {
            "class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "class/thermal/thermal_zone0/temp": "48531\n",
            "class/thermal/thermal_zone1/type": "cv0-thermal\n",
            "class/thermal/thermal_zone1/temp": "-256000\n",
            "class/hwmon/hwmon1/in1_label": "VDD_IN\n",
            "class/hwmon/hwmon1/in1_input": "5000\n",
            "class/hwmon/hwmon1/curr1_input": "1200\n",
            "class/hwmon/hwmon1/curr2_input": "1200\n",
            "class/hwmon/hwmon2/power1_input": "7500000\n",
            "class/hwmon/hwmon2/power1_label": "package\n",
            "class/hwmon/hwmon3/power1_input": "not a number\n",
        },
    )
    assert temperatures_c(sys) == {"cpu-thermal": 48.531}
    assert power_w(sys) == pytest.approx({"VDD_IN": 6.0, "package": 7.5})


def test_a_machine_that_shows_nothing(tmp_path: Path) -> None:
    assert temperatures_c(tmp_path) == {}
    assert power_w(tmp_path) == {}
