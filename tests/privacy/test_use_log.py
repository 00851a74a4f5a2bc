"""Periods of use, also those that nobody ended."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from jetson_face.core.errors import OutputError
from jetson_face.events.outbox import Outbox
from jetson_face.privacy.use_log import LOG, UseLog, read_periods

START = datetime(2026, 11, 1, 8, tzinfo=timezone.utc)


class Clock:
    """The wall's, which may be set, and the service's, which may not."""

    def __init__(self) -> None:
        self.now, self.seconds = START, 0.0

    def __call__(self) -> datetime:
        return self.now

    def age(self) -> float:
        return self.seconds

    def after(self, **more: float) -> None:
        self.now += timedelta(**more)
        self.seconds += timedelta(**more).total_seconds()


def test_a_period_has_begin_end_and_the_databases_it_was_compared_with(tmp_path: Path) -> None:
    clock = Clock()
    log = UseLog(tmp_path, 400, clock.age, clock)
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
    log = UseLog(tmp_path, 400, clock.age, clock)
    log.begin({})
    clock.after(minutes=7)
    log.alive()
    with (tmp_path / LOG).open("a") as file:
        file.write('{"what": "datab')  # cut by a power failure
    clock.after(days=2)
    UseLog(tmp_path, 400, clock.age, clock).begin({})
    first, second = read_periods(tmp_path, running=True)
    assert (first.end, first.ended) == ("2026-11-01T08:07:00Z", "interrupted")
    assert first.age == 7 * 60
    assert (second.begin, second.end) == ("2026-11-03T08:07:00Z", None)


def test_what_is_too_old_goes_and_the_rest_stays(tmp_path: Path) -> None:
    clock = Clock()
    for _ in range(3):
        log = UseLog(tmp_path, 10, clock.age, clock)
        log.begin({})
        log.database({"people": 3})
        log.end()
        clock.after(days=6)
    found = read_periods(tmp_path, running=False)
    assert [one.begin[:10] for one in found] == ["2026-11-07", "2026-11-13"]
    assert found[0].databases[0]["people"] == 3
    assert (tmp_path / LOG).stat().st_mode & 0o777 == 0o600


def use(folder: Path, days: float, wall: datetime) -> None:
    """A short run of the service, whose service time the outbox tells."""
    outbox = Outbox(folder / "outbox.db", wall=wall.timestamp)
    log = UseLog(folder, days, outbox.age, lambda: wall)
    log.begin({"cameras": ["door"]})
    log.end()
    outbox.close()


@pytest.mark.parametrize("first", [1970, 2000, 2026, 2081])
@pytest.mark.parametrize("later", [1972, 2026, 2081])
def test_no_step_of_the_clock_forgets_a_period(tmp_path: Path, first: int, later: int) -> None:
    """A box without a battery starts at some date, and learns the right one from the network."""
    for year in (first, 2026, later, later, 2026):
        use(tmp_path, 30, START.replace(year=year))
    assert len(read_periods(tmp_path, running=False)) == 5


def test_of_each_time_that_it_was_off_seven_days_count(tmp_path: Path) -> None:
    for year in range(2026, 2032):
        use(tmp_path, 15, START.replace(year=year))
    found = read_periods(tmp_path, running=False)
    assert [one.begin[:4] for one in found] == ["2029", "2030", "2031"]


def test_periods_that_have_no_service_time_are_kept_from_now_on(tmp_path: Path) -> None:
    clock = Clock()
    log = UseLog(tmp_path, 400, clock.age, clock)
    log.begin({})
    log.database({"people": 1})
    log.end()
    file = tmp_path / LOG
    file.write_text(file.read_text().replace(', "age": 0.0', ""))  # an older version wrote it
    assert "age" not in file.read_text()
    clock.after(days=500)
    for days, there in ((0, True), (399, True), (2, False)):
        clock.after(days=days)
        UseLog(tmp_path, 400, clock.age, clock).begin({})
        oldest = read_periods(tmp_path, running=True)[0]
        assert (oldest.begin == "2026-11-01T08:00:00Z") == there


def test_a_service_time_that_begins_again_forgets_nothing_and_keeps_nothing_for_ever(
    tmp_path: Path,
) -> None:
    clock = Clock()
    clock.after(days=3000)
    UseLog(tmp_path, 400, clock.age, clock).begin({})
    clock.seconds = 0  # the outbox was lost
    UseLog(tmp_path, 400, clock.age, clock).begin({})
    assert len(read_periods(tmp_path, running=True)) == 2
    clock.after(days=401)
    UseLog(tmp_path, 400, clock.age, clock).begin({})
    assert len(read_periods(tmp_path, running=True)) == 1


def test_a_bad_disk_is_said(tmp_path: Path) -> None:
    (tmp_path / LOG).mkdir()
    with pytest.raises(OutputError):
        UseLog(tmp_path, 400, lambda: 0.0).begin({})


def test_a_camera_whose_name_has_another_line_end_costs_no_period(tmp_path: Path) -> None:
    clock = Clock()
    UseLog(tmp_path, 400, clock.age, clock).begin({"cameras": ["front\u2028door"]})
    UseLog(tmp_path, 400, clock.age, clock).begin({"cameras": ["yard"]})
    periods = read_periods(tmp_path, running=True)
    assert [one.facts["cameras"] for one in periods] == [["front\u2028door"], ["yard"]]
