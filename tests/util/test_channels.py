"""Channels: what is put is got, dropped or waiting; closing ends both sides."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetson_face.util.channels import BoundedQueue, Channel, Closed, FanIn, LatestSlot

MAKERS: dict[str, Callable[[int], Channel[int]]] = {
    "slot": lambda size: LatestSlot(),
    "queue": lambda size: BoundedQueue(size),
    "drop-oldest": lambda size: BoundedQueue(size, drop_oldest=True),
}


def drain(channel: Channel[int]) -> list[int]:
    """Everything that is left after close."""
    channel.close()
    items = []
    while True:
        try:
            items.append(channel.get())
        except Closed:
            return items


@pytest.mark.parametrize("kind", MAKERS)
@settings(max_examples=40)
@given(steps=st.lists(st.sampled_from(["put", "get"]), max_size=60), size=st.integers(1, 5))
def test_put_is_got_plus_dropped_plus_waiting(kind: str, steps: list[str], size: int) -> None:
    channel = MAKERS[kind](size)
    sent, got = 0, []
    for step in steps:
        try:
            if step == "put":
                channel.put(sent, timeout_s=0)
                sent += 1
            else:
                got.append(channel.get(timeout_s=0))
        except TimeoutError:
            continue
        counts = channel.counts
        assert counts.put == sent
        assert counts.put == counts.got + counts.dropped + counts.waiting
    got += drain(channel)
    assert got == sorted(set(got)), "order is kept, nothing comes twice"
    assert len(got) + channel.dropped == sent
    if kind == "queue":
        assert got == list(range(sent)), "a blocking queue loses nothing"


@given(n=st.integers(1, 30), size=st.integers(1, 5))
def test_drop_oldest_keeps_the_newest(n: int, size: int) -> None:
    queue: BoundedQueue[int] = BoundedQueue(size, drop_oldest=True)
    for i in range(n):
        queue.put(i)
    assert drain(queue) == list(range(n))[-size:]
    assert queue.dropped == max(0, n - size)


def test_slot_gives_the_newest_item_only() -> None:
    slot: LatestSlot[str] = LatestSlot()
    for item in "abc":
        slot.put(item)
    assert slot.get() == "c"
    assert slot.counts.dropped == 2
    with pytest.raises(TimeoutError, match="slot"):
        slot.get(timeout_s=0)


@pytest.mark.parametrize("kind", MAKERS)
def test_closed_channel_drains_then_ends_and_takes_nothing_more(kind: str) -> None:
    channel = MAKERS[kind](3)
    channel.put(1)
    channel.close()
    channel.close()
    with pytest.raises(Closed):
        channel.put(2)
    assert channel.get() == 1
    with pytest.raises(Closed):
        channel.get()


def test_close_wakes_a_blocked_writer_and_a_blocked_reader() -> None:
    full: BoundedQueue[int] = BoundedQueue(1)
    full.put(0)
    empty: LatestSlot[int] = LatestSlot()
    ended: list[str] = []

    def write() -> None:
        with pytest.raises(Closed):
            full.put(1)
        ended.append("writer")

    def read() -> None:
        with pytest.raises(Closed):
            empty.get()
        ended.append("reader")

    threads = [threading.Thread(target=write), threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    full.close()
    empty.close()
    for thread in threads:
        thread.join(5)
    assert sorted(ended) == ["reader", "writer"]


def test_full_queue_times_out_and_keeps_its_items() -> None:
    queue: BoundedQueue[int] = BoundedQueue(1, "reports")
    queue.put(1)
    with pytest.raises(TimeoutError, match="reports"):
        queue.put(2, timeout_s=0)
    assert drain(queue) == [1]


@pytest.mark.parametrize("size", [0, -1])
def test_a_channel_without_room_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        BoundedQueue[int](size)


@settings(max_examples=10, deadline=None)
@given(kind=st.sampled_from(sorted(MAKERS)), n=st.integers(1, 2000), size=st.integers(1, 8))
def test_between_threads_nothing_is_lost_uncounted(kind: str, n: int, size: int) -> None:
    channel = MAKERS[kind](size)

    def write() -> None:
        for i in range(n):
            channel.put(i)
        channel.close()

    thread = threading.Thread(target=write)
    thread.start()
    got = []
    while True:
        try:
            got.append(channel.get(timeout_s=10))
        except Closed:
            break
    thread.join(10)
    assert got == sorted(set(got))
    assert got[-1] == n - 1, "the newest always arrives"
    assert len(got) + channel.dropped == n


def test_fan_in_takes_turns() -> None:
    fan: FanIn[str] = FanIn()
    busy, quiet = fan.add_queue(10, "busy"), fan.add_slot("quiet")
    for i in range(4):
        busy.put(f"b{i}")
    quiet.put("q0")
    assert [fan.get() for _ in range(3)] == ["b0", "q0", "b1"]
    quiet.put("q1")
    assert [fan.get() for _ in range(3)] == ["q1", "b2", "b3"]
    with pytest.raises(TimeoutError):
        fan.get(timeout_s=0)


def test_a_round_takes_one_of_each_that_has_some_and_no_more_than_asked() -> None:
    fan: FanIn[str] = FanIn()
    one, two, three = fan.add_queue(10, "1"), fan.add_slot("2"), fan.add_queue(10, "3")
    for item in ("a", "b", "c"):
        one.put(f"1{item}")
        three.put(f"3{item}")
    assert fan.get_round(8) == ["1a", "3a"]
    two.put("2a")
    assert fan.get_round(2) == ["1b", "2a"]
    assert fan.get() == "3b", "the turn goes on where the round ended"
    assert fan.get_round(1) == ["1c"]
    assert fan.get_round(3) == ["3c"]
    with pytest.raises(TimeoutError):
        fan.get_round(3, timeout_s=0)
    fan.close()
    with pytest.raises(Closed):
        fan.get_round(3)


def test_fan_in_goes_on_while_one_of_its_writers_lives() -> None:
    fan: FanIn[int] = FanIn()
    first, second = fan.add_slot("first"), fan.add_slot("second")
    first.put(1)
    first.close()
    assert fan.get() == 1
    second.put(2)
    assert fan.get() == 2
    fan.close()
    with pytest.raises(Closed):
        fan.get()
    with pytest.raises(Closed):
        second.put(3)


def test_a_put_into_a_slot_is_cheap() -> None:
    slot: LatestSlot[int] = LatestSlot()
    start = time.thread_time()
    for i in range(10_000):
        slot.put(i)
    # 1 µs on the machine this was written on; a frame lasts 33,000.
    assert (time.thread_time() - start) / 10_000 < 50e-6
