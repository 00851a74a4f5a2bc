"""A whole fleet, and everything that can happen to it: see `many_boxes`.

Small by default; JETSON_FACE_FLEET_LIGHT=100 JETSON_FACE_FLEET_PEOPLE=10000 is the full size.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.cli.conftest import collins
from tests.fleet.many_boxes import Setting
from tests.fleet.networks import Networks

__all__ = ["collins"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]
MACHINES = ("hub", "north", "south", "one", "two", "three")
REPO = Path(__file__).resolve().parents[2]


def test_no_event_is_lost_galleries_are_equal_and_erasures_are_told(
    tmp_path: Path, collins: Path
) -> None:
    light = int(os.environ.get("JETSON_FACE_FLEET_LIGHT", "10"))
    people = int(os.environ.get("JETSON_FACE_FLEET_PEOPLE", "300"))
    with Networks(MACHINES) as net:
        run_in = {name: net.run_in(name) for name in MACHINES}
        setting = Setting(
            str(tmp_path), light, people, run_in, net.addresses, net.switch, str(collins)
        )
        done = subprocess.run(
            [*run_in["hub"], sys.executable, "-m", "tests.fleet.many_boxes",
             json.dumps(asdict(setting))],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join((str(REPO), *sys.path))},
        )  # fmt: skip
        assert done.returncode == 0
    measured = json.loads(done.stdout.splitlines()[-1])
    sys.stdout.write(json.dumps(measured, indent=2))
    assert measured["erased_reachable_s"] < 60
    assert measured["erased_returned_s"] < 60
