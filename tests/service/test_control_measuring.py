"""Measurements that the page starts: in a process of their own, one at a time."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from jetson_face.config import Config
from jetson_face.service.control.desk import Desk
from jetson_face.service.control.http import ControlError, ControlRequest
from jetson_face.service.control.measurement import plan_of
from jetson_face.service.control.measuring import Measuring
from tests.service.running import Running, running
from tests.waiting import until

pytestmark = pytest.mark.timeout(300)


def made(folder: Path, code: str) -> Measuring:
    """Its command is a short Python program."""
    config = Config(state_dir=folder)
    return Measuring(Desk(lambda: config), lambda: ["-c", "x"], (sys.executable, "-c", code))


def listed(measuring: Measuring) -> list[dict[str, Any]]:

    found: list[dict[str, Any]] = json.loads(measuring.show(ControlRequest("GET", "/")).body)[
        "items"
    ]
    return found


START = ControlRequest("POST", "/tuning/runs", body=b'{"kind": "interval"}')


def test_one_at_a_time_and_cancelled_at_once(tmp_path: Path) -> None:
    measuring = made(tmp_path, "import time; time.sleep(60)")
    measuring.start(START)
    (running,) = listed(measuring)
    with pytest.raises(ControlError, match="already"):
        measuring.start(START)
    until(lambda: psutil.Process().children(), 10)
    (process,) = psutil.Process().children()
    until(lambda: process.nice() == 19, 10)
    until(lambda: Path(f"/proc/{process.pid}/oom_score_adj").read_text().strip() == "1000", 10)
    began = time.monotonic()
    measuring.remove(ControlRequest("DELETE", "/"), running["id"])
    assert time.monotonic() - began < 5
    assert not process.is_running()
    assert (listed(measuring), measuring.busy) == ([], False)
    measuring.start(START)  # the next may begin
    measuring.close()


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    measuring = made(tmp_path, "import sys; sys.exit('no network is there')")
    measuring.start(START)
    until(lambda: not measuring.busy, 20)
    (failed,) = listed(measuring)
    assert failed["state"] == "failed"
    assert "no network is there" in failed["error"]
    measuring.remove(ControlRequest("DELETE", "/"), failed["id"])
    assert listed(measuring) == []
    with pytest.raises(ControlError):
        measuring.remove(ControlRequest("DELETE", "/"), failed["id"])


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"kind": "all"},
        {"kind": "size", "frames": 10_000},
        {"kind": "size", "frames": True},
        {"kind": "size", "decision_fps": 10},
        {"kind": "tune"},
        {"kind": "tune", "decision_fps": "10"},
        {"kind": "size", "clip": "/etc/passwd"},
    ],
)
def test_what_makes_no_sense_is_refused(wanted: dict[str, Any]) -> None:
    with pytest.raises(ControlError):
        plan_of(wanted, Config(state_dir=Path("/nowhere")), {})


def test_the_clip_is_as_large_as_the_camera_s_frames(tmp_path: Path) -> None:
    status = {"cameras": {"door": {"size": [1280, 720]}}}
    config = Config(state_dir=tmp_path)
    (bench,) = plan_of({"kind": "size"}, config, status).commands(tmp_path, ["-c", "x.yaml"])
    assert bench[bench.index("--frame-size") + 1] == "1280x720"
    assert bench[bench.index("--sizes") + 1] == "160,240,320,480,640,960,1280"
    assert bench[-2:] == ["-c", "x.yaml"]
    assert plan_of({"kind": "interval"}, config, {}).frame_size == (640, 480)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("m")) as service:
        yield service


def measured(service: Running, **wanted: object) -> dict[str, Any]:
    status, begun = service.control("POST", "/tuning/runs", wanted)
    assert (status, begun["state"]) == (202, "running"), begun

    def newest() -> dict[str, Any]:
        found: dict[str, Any] = service.control("GET", "/tuning/runs?limit=1")[1]["items"][0]
        return found

    until(lambda: newest()["state"] != "running", 200)
    assert newest()["id"] == begun["id"]
    return newest()


@pytest.mark.slow
def test_rates_against_sampling_and_size_while_recognition_goes_on(service: Running) -> None:
    before = service.status()["cameras"]["door"]
    done = measured(service, kind="interval", frames=40)
    after = service.status()["cameras"]["door"]
    assert done["state"] == "done", done
    points = {one["detection_interval"]: one for one in done["points"]}
    assert set(points) == {1, 2, 3, 5, 8, 12, 20, 30}
    assert points[30]["cpu_ms_per_frame"] < points[1]["cpu_ms_per_frame"]
    captured = after["captured"] - before["captured"]
    assert after["processed"] - before["processed"] >= 0.9 * captured - 2
    sizes = measured(service, kind="size", frames=20)
    assert {one["search_max_side_px"] for one in sizes["points"]} == {160, 240, 320, 480, 640}
    assert (service.state / "measurements").stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
def test_settings_that_meet_a_goal(service: Running) -> None:
    done = measured(service, kind="tune", decision_fps=1.0, frames=50)
    assert done["state"] == "done", done
    assert done["choice"]["detection_interval"] >= 1
    assert "chosen" in done["text"]


@pytest.mark.slow
def test_it_ends_with_the_service(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        service.control("POST", "/tuning/runs", {"kind": "interval", "frames": 500})
        parent = psutil.Process(service.process.pid)
        until(lambda: len(parent.children(recursive=True)) >= 2, 20)
        family = parent.children(recursive=True)
        service.process.terminate()
        service.process.wait()
        until(lambda: not any(one.is_running() for one in family), 20)
