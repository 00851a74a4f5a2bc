"""sd_notify and the rule that feeds the watchdog."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetson_face.capture.source import SourceState
from jetson_face.service.notify import Health, Notifier, watchdog_interval_s


def progress(
    processed: int, state: SourceState = "running", captured: int | None = None
) -> dict[str, tuple[SourceState, int, int]]:
    frames = processed if captured is None else captured
    return {"door": (state, frames, processed)}


def health() -> Health:
    return Health(stall_s=10, start_s=60, started=0)


@pytest.mark.parametrize("abstract", [False, True])
def test_messages_reach_the_manager(tmp_path: Path, abstract: bool) -> None:
    address = f"@jetson-face-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + address[1:] if abstract else address)
        notifier = Notifier.from_environ({"NOTIFY_SOCKET": address})
        assert notifier.ready("3 cameras\nline two")
        assert manager.recv(1000) == b"READY=1\nSTATUS=3 cameras line two\n"
        assert notifier.alive("ok")
        assert manager.recv(1000) == b"WATCHDOG=1\nSTATUS=ok\n"
        assert notifier.reloading(lambda: 5_000_000)
        assert manager.recv(1000) == b"RELOADING=1\nMONOTONIC_USEC=5000\n"
        assert notifier.stopping()
        assert manager.recv(1000) == b"STOPPING=1\nSTATUS=stopping\n"


def test_without_a_manager_nothing_is_sent_and_nothing_fails(tmp_path: Path) -> None:
    assert not Notifier.from_environ({}).ready("x")
    assert not Notifier(str(tmp_path / "gone")).ready("x")


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "20000000"}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_interval(environ: Mapping[str, str], seconds: float | None) -> None:
    assert watchdog_interval_s(environ) == seconds


def test_ready_with_the_first_decided_frame_not_before() -> None:
    subject = health()
    assert not subject.observe(1, progress(0, "starting")).ready
    assert not subject.observe(2, progress(0)).ready
    assert subject.observe(3, progress(1)).ready


def test_ready_when_the_camera_is_known_to_be_away() -> None:
    verdict = health().observe(1, progress(0, "away"))
    assert verdict.ready
    assert verdict.alive
    assert verdict.status == "camera away: door; trying again"


def test_a_stuck_recogniser_is_not_alive() -> None:
    subject = health()
    assert subject.observe(0, progress(1)).alive
    # The camera goes on delivering; nothing is decided.
    assert subject.observe(10, progress(1, captured=300)).alive
    verdict = subject.observe(10.5, progress(1, captured=315))
    assert not verdict.alive
    assert verdict.status == "stuck: no frame decided for 10 s while door runs"


def test_a_camera_that_is_away_for_a_day_is_not_a_crash() -> None:
    subject = health()
    subject.observe(0, progress(1))
    for hour in range(1, 25):
        assert subject.observe(hour * 3600, progress(1, "away")).alive
    assert subject.observe(24 * 3600 + 9, progress(1)).alive
    assert not subject.observe(24 * 3600 + 11, progress(1)).alive


def test_one_camera_away_and_one_running_needs_progress() -> None:
    subject = health()
    verdict = subject.observe(0, progress(1) | {"yard": ("away", 0, 0)})
    assert verdict.status == "1 frames decided; away: yard"
    assert not subject.observe(11, progress(1, captured=9) | {"yard": ("away", 0, 0)}).alive


def test_start_has_its_own_longer_limit() -> None:
    subject = health()
    assert subject.observe(59, progress(0, "starting")).alive
    assert subject.observe(60, progress(0)).alive
    assert not subject.observe(61, progress(0)).alive


def test_a_camera_that_says_it_runs_but_delivers_nothing_is_found() -> None:
    subject = health()
    verdicts = [
        subject.observe(t, progress(t + 1, captured=t) | {"yard": ("running", 7, 0)})
        for t in range(0, 70, 5)
    ]
    assert all(verdict.alive for verdict in verdicts[:13])
    assert verdicts[13].status == "stuck: yard runs but delivers no frame"


def test_ended_sources_are_not_stuck() -> None:
    subject = health()
    subject.observe(0, progress(5))
    assert subject.observe(1000, progress(5, "ended")).alive


@given(st.lists(st.tuples(st.floats(0.01, 9.9), st.sampled_from(["running", "away"]))))
def test_progress_at_least_every_stall_limit_is_always_alive(
    steps: list[tuple[float, SourceState]],
) -> None:
    subject, now, count = health(), 0.0, 0
    for step, state in steps:
        now, count = now + step, count + 1
        assert subject.observe(now, progress(count, state)).alive
