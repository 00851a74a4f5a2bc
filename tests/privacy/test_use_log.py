"""Periods of use, also those that nobody ended."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from jetson_face.core.errors import OutputError
from jetson_face.privacy.use_log import LOG, UseLog, read_periods

START = datetime(2026, 11, 1, 8, tzinfo=timezone.utc)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def after(self, **more: float) -> None:
        self.now += timedelta(**more)


def test_a_period_has_begin_end_and_the_databases_it_was_compared_with(tmp_path: Path) -> None:
    clock = Clock()
    log = UseLog(tmp_path, 400, clock)
    log.begin({"cameras": ["door"]})
    log.database({"people": 1})
    log.database({"people": 1})
    (going_on,) = read_periods(tmp_path, running=True)
    assert (going_on.end, going_on.ended) == (None, None)
    clock.after(hours=1)
    log.database({"people": 2})
    clock.after(hours=1)
    log.end()
    log.end()
    (period,) = read_periods(tmp_path, running=False)
    assert (period.begin, period.end) == ("2026-11-01T08:00:00Z", "2026-11-01T10:00:00Z")
    assert (period.ended, period.facts) == ("stopped", {"cameras": ["door"]})
    assert period.databases == [
        {"time": "2026-11-01T08:00:00Z", "people": 1},
        {"time": "2026-11-01T09:00:00Z", "people": 2},
    ]


def test_a_killed_service_leaves_when_it_was_last_known_to_go_on(tmp_path: Path) -> None:
    clock = Clock()
    log = UseLog(tmp_path, 400, clock)
    log.begin({})
    clock.after(minutes=7)
    log.alive()
    with (tmp_path / LOG).open("a") as file:
        file.write('{"what": "datab')  # cut by a power failure
    clock.after(days=2)
    UseLog(tmp_path, 400, clock).begin({})
    first, second = read_periods(tmp_path, running=True)
    assert (first.end, first.ended) == ("2026-11-01T08:07:00Z", "interrupted")
    assert (second.begin, second.end) == ("2026-11-03T08:07:00Z", None)


def test_what_is_too_old_goes_and_the_rest_stays(tmp_path: Path) -> None:
    clock = Clock()
    for _ in range(3):
        log = UseLog(tmp_path, 10, clock)
        log.begin({})
        log.database({"people": 3})
        log.end()
        clock.after(days=6)
    found = read_periods(tmp_path, running=False)
    assert [one.begin[:10] for one in found] == ["2026-11-07", "2026-11-13"]
    assert found[0].databases[0]["people"] == 3
    assert (tmp_path / LOG).stat().st_mode & 0o777 == 0o600


def test_a_bad_disk_is_said(tmp_path: Path) -> None:
    (tmp_path / LOG).mkdir()
    with pytest.raises(OutputError):
        UseLog(tmp_path, 400).begin({})


def test_a_camera_whose_name_has_another_line_end_costs_no_period(tmp_path: Path) -> None:
    clock = Clock()
    UseLog(tmp_path, 400, clock).begin({"cameras": ["front\u2028door"]})
    UseLog(tmp_path, 400, clock).begin({"cameras": ["yard"]})
    periods = read_periods(tmp_path, running=True)
    assert [one.facts["cameras"] for one in periods] == [["front\u2028door"], ["yard"]]
