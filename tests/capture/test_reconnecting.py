"""A lost camera is a state: backoff, freeze, size change, broken frames, a hanging driver."""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from jetson_face.capture import opening
from jetson_face.capture.reconnect import (
    FreezeDetector,
    ReconnectingSource,
    ReconnectPolicy,
)
from jetson_face.capture.source import EndOfSource, Source, SourceInfo
from jetson_face.capture.synthetic import Fault, Script, SyntheticCamera
from jetson_face.config import load_config
from jetson_face.core.errors import SourceError
from jetson_face.core.types import Frame
from jetson_face.factory.parts import open_sources

INFO = SourceInfo("cam", "test://", True, 0, 0)


class Time:
    """A clock that only moves when somebody waits or a frame is taken."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []

    def clock(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.waits.append(round(seconds, 3))
        self.now += seconds
        return False

    def pace(self, event: threading.Event, seconds: float) -> bool:
        self.now += seconds
        return event.is_set()


def make(
    *faults: Fault, frames: int = 30, policy: ReconnectPolicy | None = None, draw: float = 1.0
) -> tuple[ReconnectingSource, SyntheticCamera, Time]:
    t = Time()
    script = Script(64, 48, 10, frames, live=True, faults=faults)
    device = SyntheticCamera(script, clock_ns=lambda: round(t.now * 1e9), wait=t.pace)
    source = ReconnectingSource(
        lambda: device.open("cam"),
        INFO,
        policy=policy,
        clock=t.clock,
        draw=lambda: draw,
        wait=t.wait,
    )
    return source, device, t


def frames_of(source: Source) -> list[Frame]:
    frames = []
    while True:
        try:
            frames.append(source.read(60.0))
        except EndOfSource:
            return frames


def test_a_healthy_camera_passes_through() -> None:
    source, _, t = make(frames=12)
    assert source.health.state == "starting"
    assert [f.seq for f in frames_of(source)] == list(range(12))
    assert source.health.counts == {}
    assert t.waits == []
    assert (source.info.width, source.info.height) == (64, 48)


def test_a_reconnect_storm_backs_off_and_goes_on_with_its_numbering() -> None:
    source, device, t = make(Fault("disconnect", 5, "3"))
    frames = frames_of(source)
    assert [f.seq for f in frames] == list(range(29))
    assert t.waits == [0.5, 1.0, 2.0, 4.0]
    assert source.health.counts == {"lost": 1, "reconnected": 1}
    assert device.opens == 5


def test_backoff_is_reset_by_good_frames_not_by_opening() -> None:
    # Opens well, but every first read fails: the waits must go on growing.
    t = Time()
    opened: list[int] = []

    class Dead:
        info = INFO

        def read(self, timeout_s: float) -> Frame:
            raise SourceError("cam: opened, but no frame")

        def close(self) -> None: ...

    def open_dead() -> Source:
        opened.append(1)
        return Dead()  # type: ignore[return-value]

    source = ReconnectingSource(open_dead, INFO, clock=t.clock, draw=lambda: 1.0, wait=t.wait)
    with pytest.raises(TimeoutError):
        source.read(20.0)
    assert t.waits[:4] == [0.5, 1.0, 2.0, 4.0]
    assert source.health.state == "away"
    assert source.health.last_error == "cam: opened, but no frame"
    source.close()


def test_backoff_is_not_reset_by_a_camera_that_gives_one_picture_and_is_gone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # A still picture's address in place of a stream's, or a camera that has no room for one more.
    t = Time()
    gives = iter([1, 1, 1, 1, 1, 1, 1, 1, 80, 1, 1])

    class Brief:
        info = INFO

        def __init__(self) -> None:
            self.left = next(gives)

        def read(self, timeout_s: float) -> Frame:
            t.now += 0.1
            if self.left == 0:
                raise SourceError("cam: gone")
            self.left -= 1
            image = np.full((48, 64, 3), round(10 * t.now) % 251, np.uint8)
            return Frame(image, 0, round(t.now * 1e9), 0.0, "cam")

        def close(self) -> None: ...

    source = ReconnectingSource(
        lambda: Brief(),  # type: ignore[arg-type, return-value]
        INFO,
        clock=t.clock,
        draw=lambda: 1.0,
        wait=t.wait,
    )
    with caplog.at_level(logging.WARNING):
        frames = [source.read(60.0) for _ in range(8 + 80 + 2)]
    # The ninth connection holds for longer than it was waited for, and the next wait is small.
    assert t.waits == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0, 5.0, 0.5, 1.0]
    assert len({frame.captured_ns for frame in frames}) == 90
    assert source.health.counts == {"lost": 10, "reconnected": 10}
    said = [" ".join(r.getMessage().split()[:3:2]) for r in caplog.records]
    lost = [f"source_lost try={n}" for n in (1, 2, 4, 8)]
    assert said == [*lost, "source_back", *lost[:2]]
    source.close()


def test_two_losses_with_frames_between_both_start_small() -> None:
    source, _, t = make(Fault("disconnect", 5), Fault("disconnect", 15))
    assert len(frames_of(source)) == 28
    assert t.waits == [0.5, 0.5]
    assert source.health.counts == {"lost": 2, "reconnected": 2}


def test_a_frozen_camera_is_counted_and_opened_again() -> None:
    policy = ReconnectPolicy(freeze_s=1.0)
    source, device, _ = make(Fault("freeze", 5, "11"), policy=policy)
    frames = frames_of(source)
    assert source.health.counts == {"frozen": 1, "lost": 1, "reconnected": 1}
    assert device.opens == 2
    assert len(frames) == 29


def test_freeze_detection_can_be_switched_off_and_forgives_noise() -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    noisy = image.copy()
    noisy[0, 0, 0] = 1
    never = FreezeDetector(None)
    assert not any(never.frozen(image, float(t)) for t in range(100))
    detector = FreezeDetector(2.0)
    assert [detector.frozen(image, t) for t in (0.0, 1.0, 2.0, 3.0)] == [False, False, True, True]
    assert not detector.frozen(noisy, 4.0)
    assert not detector.frozen(np.zeros((20, 30, 3), np.uint8), 4.5)


def test_a_size_change_is_counted_and_passed_on() -> None:
    source, _, _ = make(Fault("size", 10, "32x24"))
    frames = frames_of(source)
    assert [f.image.shape[1] for f in frames] == [64] * 10 + [32] * 20
    assert source.health.counts == {"size_changed": 1}
    assert (source.info.width, source.info.height) == (32, 24)


def test_broken_frames_are_dropped_and_counted() -> None:
    source, _, _ = make(Fault("broken", 4, "3"))
    assert len(frames_of(source)) == 27
    assert source.health.counts == {"broken": 3}


def test_only_broken_frames_for_too_long_are_a_loss() -> None:
    source, device, _ = make(Fault("broken", 4, "20"), policy=ReconnectPolicy(stall_s=1.0))
    frames_of(source)
    assert source.health.counts["stalled"] >= 1
    assert device.opens >= 2


def test_a_short_stall_at_a_key_frame_is_waited_out() -> None:
    source, device, _ = make(Fault("stall", 5, "0.6"))
    assert len(frames_of(source)) == 30
    assert source.health.counts == {}
    assert device.opens == 1


def test_a_clock_step_harms_nothing() -> None:
    source, _, _ = make(Fault("clock", 5, "-86400"))
    frames = frames_of(source)
    assert len(frames) == 30
    assert all(b.captured_ns > a.captured_ns for a, b in itertools.pairwise(frames))


class Driver:
    """A camera whose calls hang until released."""

    info = INFO

    def __init__(self, *, hang_open: bool) -> None:
        self.release, self.closed = threading.Event(), threading.Event()
        self._hang_open = hang_open
        self.opens = 0

    def open(self) -> Source:
        self.opens += 1
        if self._hang_open:
            self.release.wait(30)
        return self  # type: ignore[return-value]

    def read(self, timeout_s: float) -> Frame:
        self.release.wait(30)
        raise SourceError("released")

    def close(self) -> None:
        self.closed.set()


def eventually(check: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not check():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.005)
    return True


@pytest.mark.parametrize("hang_open", [True, False], ids=["open", "read"])
def test_close_is_prompt_while_the_driver_hangs(hang_open: bool) -> None:
    driver = Driver(hang_open=hang_open)
    source = ReconnectingSource(driver.open, INFO)
    ended = threading.Event()

    def read() -> None:
        with pytest.raises(EndOfSource):
            source.read(30)
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert eventually(lambda: driver.opens == 1)
    start = time.monotonic()
    source.close()
    assert ended.wait(2)
    assert time.monotonic() - start < 2
    driver.release.set()
    assert driver.closed.wait(5), "what the driver gave late is closed"
    reader.join(5)


def test_a_driver_that_hangs_in_read_is_abandoned_and_opened_again() -> None:
    driver = Driver(hang_open=False)
    policy = ReconnectPolicy(stall_s=0.02, first_s=0.001, most_s=0.002)
    source = ReconnectingSource(driver.open, INFO, policy=policy)

    def given_up() -> bool:
        with pytest.raises(TimeoutError):
            source.read(0.05)
        return "hang" in str(source.health.last_error)

    # Four calls may hang at once; a fifth thread is never spent on a dead driver.
    assert eventually(given_up)
    assert driver.opens == 4
    assert source.health.counts["stalled"] == 4
    driver.release.set()
    source.close()


def test_connecting_at_the_start_fails_when_asked_to() -> None:
    def refuse() -> Source:
        raise SourceError("rtsp://***@cam: nobody there")

    source = ReconnectingSource(refuse, INFO)
    with pytest.raises(SourceError, match="nobody there"):
        source.connect()
    driver = Driver(hang_open=True)
    slow = ReconnectingSource(driver.open, INFO, policy=ReconnectPolicy(open_s=0.05))
    with pytest.raises(SourceError, match=r"does not open in 0\.05 s"):
        slow.connect()
    driver.release.set()


def test_losses_are_logged_once_each_and_come_back(caplog: pytest.LogCaptureFixture) -> None:
    source, _, _ = make(Fault("disconnect", 5, "1"))
    with caplog.at_level(logging.INFO):
        frames_of(source)
    events = [record.getMessage().split()[0] for record in caplog.records]
    assert events == ["source_lost", "source_lost", "source_back"]


def test_a_camera_that_stays_away_is_logged_ever_more_seldom_and_tried_as_often(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source, device, t = make(Fault("disconnect", 5, "100"))
    with caplog.at_level(logging.INFO), contextlib.suppress(EndOfSource):
        while True:
            with contextlib.suppress(TimeoutError):
                source.read(60.0)
    tries = [r.getMessage().split()[2] for r in caplog.records if "source_lost" in r.getMessage()]
    assert tries == ["try=1", "try=2", "try=4", "try=8", "try=16", "try=32", "try=64"]
    assert device.opens == 102
    assert max(t.waits) == 5.0
    assert 0.5 + 1 + 2 + 4 + 97 * 5 <= t.now - 100 < 510


@pytest.mark.parametrize("most_s", [2.0, 8.0])
def test_the_longest_wait_is_what_the_configuration_says(
    most_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[ReconnectPolicy] = []

    def note(*args: object, policy: ReconnectPolicy) -> None:
        given.append(policy)

    monkeypatch.setattr(opening, "ReconnectingSource", note)
    keys = [f"sources.0.reconnect_max_s={most_s}", "sources.0.uri=test://?live=1"]
    open_sources(load_config(None, keys))
    assert given[0].most_s == most_s
    assert load_config(None).sources[0].reconnect_max_s == 5
