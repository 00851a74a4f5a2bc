"""Stages: a failure anywhere stops all and surfaces, cancelling is prompt, nothing hangs."""

from __future__ import annotations

import threading
import time

import pytest

from jetson_face.util.channels import (
    BoundedQueue,
    Channel,
    Closed,
    Courier,
    LatestSlot,
    StageGroup,
    StageStuckError,
    StillBusyError,
)


class Line:
    """capture -> work -> out over n numbers, with a failure or an early end at a number."""

    def __init__(
        self, n: int, *, live: bool, boom_in: str = "", boom_at: int = -1, leave_at: int = -1
    ) -> None:
        self.frames: Channel[int] = LatestSlot() if live else BoundedQueue(4)
        self.reports: BoundedQueue[int] = BoundedQueue(8)
        self.seen: list[int] = []
        self._n, self._boom_in, self._boom_at, self._leave_at = n, boom_in, boom_at, leave_at
        self.group = StageGroup(stuck_s=5)
        self.group.add("capture", self._capture, writes=(self.frames,))
        self.group.add("work", self._work, reads=(self.frames,), writes=(self.reports,))
        self.group.add("out", self._out, reads=(self.reports,))

    def _check(self, where: str, i: int) -> None:
        if where == self._boom_in and i >= self._boom_at:
            raise RuntimeError(where)

    def _capture(self, stop: threading.Event) -> None:
        for i in range(self._n):
            self._check("capture", i)
            self.frames.put(i)

    def _work(self, stop: threading.Event) -> None:
        while True:
            i = self.frames.get()
            self._check("work", i)
            self.reports.put(i)

    def _out(self, stop: threading.Event) -> None:
        while True:
            i = self.reports.get()
            self._check("out", i)
            if 0 <= self._leave_at <= i:
                return
            self.seen.append(i)


def threads_of(line: Line) -> list[str]:
    """Names of this line's stages that still run."""
    return [t.name for t in threading.enumerate() if t.name in ("capture", "work", "out")]


def test_every_item_of_a_file_arrives_in_order() -> None:
    line = Line(2000, live=False)
    line.group.run()
    assert line.seen == list(range(2000))


def test_live_drops_are_counted_and_the_last_item_arrives() -> None:
    line = Line(2000, live=True)
    line.group.run()
    assert line.seen[-1] == 1999
    assert line.seen == sorted(set(line.seen))
    assert line.frames.dropped + len(line.seen) == 2000


@pytest.mark.parametrize("live", [True, False], ids=["live", "file"])
@pytest.mark.parametrize("where", ["capture", "work", "out"])
def test_a_failure_anywhere_stops_all_and_surfaces(where: str, live: bool) -> None:
    for _ in range(5):
        line = Line(100_000, live=live, boom_in=where, boom_at=20)
        with pytest.raises(RuntimeError, match=where):
            line.group.run()
        assert not threads_of(line)


@pytest.mark.parametrize("live", [True, False], ids=["live", "file"])
def test_a_sink_that_leaves_early_ends_the_line(live: bool) -> None:
    line = Line(100_000, live=live, leave_at=20)
    line.group.run()
    assert not threads_of(line)


def test_cancel_is_prompt_even_when_every_stage_is_blocked() -> None:
    queue: BoundedQueue[int] = BoundedQueue(1)
    never: LatestSlot[int] = LatestSlot()
    group = StageGroup()
    blocked = threading.Barrier(2)

    def write(stop: threading.Event) -> None:
        queue.put(0)
        blocked.wait(5)
        queue.put(1)

    def read(stop: threading.Event) -> None:
        never.get()

    group.add("write", write, writes=(queue,))
    group.add("read", read, reads=(never,))

    def cancel() -> None:
        blocked.wait(5)
        group.cancel()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    start = time.monotonic()
    group.run()
    assert time.monotonic() - start < 2
    canceller.join()


def test_what_was_queued_before_a_failure_is_still_written() -> None:
    queue: BoundedQueue[int] = BoundedQueue(8)
    failed = threading.Event()
    seen = []
    group = StageGroup()

    def write(stop: threading.Event) -> None:
        for i in range(5):
            queue.put(i)
        failed.set()
        raise RuntimeError("after five")

    def read(stop: threading.Event) -> None:
        failed.wait(5)
        while True:
            seen.append(queue.get())

    group.add("write", write, writes=(queue,))
    group.add("read", read, reads=(queue,))
    with pytest.raises(RuntimeError, match="after five"):
        group.run()
    assert seen == [0, 1, 2, 3, 4]


def test_the_first_failure_is_the_one_that_surfaces() -> None:
    group = StageGroup()

    def first(stop: threading.Event) -> None:
        raise KeyError("first")

    def second(stop: threading.Event) -> None:
        stop.wait(5)
        raise ValueError("second")

    group.add("first", first)
    group.add("second", second)
    with pytest.raises(KeyError, match="first"):
        group.run()


def test_a_background_stage_is_stopped_when_the_others_ended() -> None:
    group = StageGroup()
    stopped = []

    def background(stop: threading.Event) -> None:
        stopped.append(stop.wait(10))

    group.add("background", background, background=True)
    group.add("short", lambda stop: None)
    group.run()
    assert stopped == [True]


def test_an_error_in_the_main_thread_stops_the_stages() -> None:
    line = Line(10**9, live=False)

    def tick() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        line.group.run(tick, tick_s=0.01)
    assert not threads_of(line)


def test_a_stage_that_never_ends_is_named() -> None:
    group = StageGroup(stuck_s=0.05)
    release = threading.Event()

    def stuck(stop: threading.Event) -> None:
        release.wait(30)

    group.add("deaf", stuck)
    with pytest.raises(StageStuckError, match="deaf"):
        group.run(group.cancel, tick_s=0.01)
    release.set()


def test_courier_gives_results_and_errors_of_its_calls() -> None:
    courier: Courier[int] = Courier("test")
    assert courier.fetch(lambda: 7, timeout_s=5) == 7
    with pytest.raises(ZeroDivisionError):
        courier.fetch(lambda: 1 // 0, timeout_s=5)
    assert courier.fetch(lambda: 8, timeout_s=5) == 8
    courier.close()
    assert courier.join(5)
    with pytest.raises(Closed):
        courier.fetch(lambda: 9, timeout_s=5)


def test_courier_goes_on_waiting_for_the_same_call() -> None:
    courier: Courier[str] = Courier("test")
    release, calls = threading.Event(), []

    def slow() -> str:
        calls.append(1)
        release.wait(10)
        return "done"

    with pytest.raises(StillBusyError):
        courier.fetch(slow, timeout_s=0.01)
    release.set()
    assert courier.fetch(slow, timeout_s=5) == "done"
    assert len(calls) == 1
    courier.close()


def test_courier_closes_at_once_and_gets_rid_of_what_comes_late() -> None:
    late: list[str] = []
    cleaned = threading.Event()
    release = threading.Event()

    started = threading.Event()

    def hang() -> str:
        started.set()
        release.wait(10)
        return "camera"

    courier: Courier[str] = Courier("test", on_late=late.append)
    with pytest.raises(StillBusyError):
        courier.fetch(hang, timeout_s=0.01)
    assert started.wait(5)
    start = time.monotonic()
    courier.close(cleaned.set)
    assert time.monotonic() - start < 1
    assert not courier.join(0)
    release.set()
    assert courier.join(5)
    assert late == ["camera"]
    assert cleaned.is_set()
