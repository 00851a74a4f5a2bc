"""The last day, minute by minute, over restarts; the log's last lines; the doctor."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jetson_face.service.health_day import FILE, HealthDay
from jetson_face.service.recent import RecentErrors
from jetson_face.service.status_server import ask
from tests.service.running import Running, running
from tests.waiting import until

STATUS: dict[str, Any] = {
    "rates": {"door processed": 7.5, "yard processed": 2.0, "door captured": 30.0},
    "board": {"temperature_c": {"cpu": 51.0, "gpu": 48.5}},
    "queues": {"events": 2},
    "outbox": {"lag": {"mqtt": 40, "webhook": 3}},
}


def shown(day: HealthDay) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(day.page("day", {}).body)["samples"]
    return found


def test_a_minute_is_a_sample_and_a_restart_ends_no_chart(tmp_path: Path) -> None:
    now = [1_790_000_000.0]
    day = HealthDay(tmp_path, RecentErrors(), lambda: STATUS, lambda: now[0])
    day.tick()
    (sample,) = shown(day)
    assert (sample["time"], sample["decided"], sample["temperature"], sample["queue"]) == (
        1_790_000_000, 9.5, 51.0, 42,
    )  # fmt: skip
    assert 0 <= sample["cpu"] <= 1
    with (tmp_path / FILE).open("a") as file:
        file.write("[17900")  # cut by a power failure
    now[0] += 600
    again = HealthDay(tmp_path, RecentErrors(), dict, lambda: now[0])
    again.tick()
    assert [one["decided"] for one in shown(again)] == [9.5, 0.0]
    now[0] += 86_000
    assert [one["decided"] for one in shown(again)] == [0.0]  # the other is over a day old


def test_the_file_stays_small(tmp_path: Path) -> None:
    now = [0.0]
    day = HealthDay(tmp_path, RecentErrors(), lambda: STATUS, lambda: now[0])
    for _ in range(4000):
        now[0] += 60
        day.tick()
    assert len(shown(day)) == 1440
    assert len((tmp_path / FILE).read_text().splitlines()) <= 2880


def test_a_disk_that_takes_nothing_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    day = HealthDay(tmp_path, RecentErrors(), lambda: STATUS)
    day.tick()
    assert len(shown(day)) == 1


def test_the_last_lines_of_the_log_without_secrets(tmp_path: Path) -> None:
    recent = RecentErrors(lines=3)
    log = logging.getLogger("jetson_face.test_lines")
    log.setLevel(logging.DEBUG)
    log.addHandler(recent)
    try:
        log.debug("no")
        for number in range(4):
            log.info("camera %s rtsp://ada:secret@door/1", number)
        log.warning("camera gone")
    finally:
        log.removeHandler(recent)
    page = HealthDay(tmp_path, recent, dict).page("log", {})
    lines = json.loads(page.body)["lines"]
    assert [line["level"] for line in lines] == ["info", "info", "warning"]
    assert b"secret" not in page.body
    assert [line["message"] for line in recent.list()] == ["camera gone"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("h")) as service:
        yield service


@pytest.mark.slow
def test_a_service_says_all_three(service: Running) -> None:
    path = service.state / "status.sock"

    def day() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(ask(path, "/health/day").body)["samples"]
        return found

    until(day, 20)
    assert any(
        "ready" in line["message"] for line in json.loads(ask(path, "/health/log").body)["lines"]
    )
    assert ask(path, "/health/other").status == 404
    status, found = service.control("POST", "/doctor")
    assert status == 200, found
    assert "disk" in {one["topic"] for one in found["findings"]}
