"""Writes that are sent twice: done once, also at the same time, and not after they failed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from jetson_face.service.control.replays import KEPT_S, KeyUsedError, Replays

ENROL = b"POST /people\n1"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_second_gets_the_answer_of_the_first() -> None:
    clock, done = Clock(), []
    replays: Replays[int] = Replays(clock=clock)

    def do() -> int:
        done.append(1)
        return len(done)

    assert [replays.once("k", ENROL, do) for _ in range(3)] == [1, 1, 1]
    assert replays.once("other", ENROL, do) == 2
    with pytest.raises(KeyUsedError):
        replays.once("k", b"POST /people\n2", do)
    clock.now = KEPT_S + 1
    assert replays.once("k", ENROL, do) == 3


def test_what_is_under_way_is_waited_for() -> None:
    replays: Replays[int] = Replays()
    begun, go = threading.Event(), threading.Event()
    calls = []

    def slow() -> int:
        begun.set()
        assert go.wait(10)
        calls.append(1)
        return 7

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(replays.once, "k", ENROL, slow)
        assert begun.wait(10)
        second = pool.submit(replays.once, "k", ENROL, slow)
        go.set()
        assert (first.result(10), second.result(10)) == (7, 7)
    assert calls == [1]


def test_what_failed_inside_is_tried_again() -> None:
    replays: Replays[int] = Replays(lambda status: status < 500)
    answers = iter([503, 201, 409])
    assert [replays.once("k", ENROL, lambda: next(answers)) for _ in range(3)] == [503, 201, 201]


def test_only_so_many_are_kept() -> None:
    replays: Replays[int] = Replays()
    for number in range(700):
        replays.once(f"k{number}", ENROL, lambda: 1)
    assert replays.once("k0", ENROL, lambda: 2) == 2
    assert replays.once("k699", ENROL, lambda: 2) == 1
