"""How much of the processor is idle: by the kernel's counters, asked at most once a second."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from jetson_face.util.idle import IdleShare


class Kernel:
    """A file of counters and a clock."""

    def __init__(self, folder: Path) -> None:
        self.path, self.now = folder / "stat", 0.0
        self.say()
        self.idle = IdleShare(self.path, lambda: self.now)

    def say(self, *, busy: int = 0, idle: int = 0, waiting: int = 0, guest: int = 0) -> None:
        self.path.write_text(
            f"cpu  {busy} 0 0 {idle} {waiting} 0 0 0 {guest} 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n"
        )


def test_the_share_is_that_of_the_last_second(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    assert kernel.idle() == 0
    kernel.say(busy=100, idle=250, waiting=50, guest=90)  # a guest's time is in "user" already
    kernel.now = 0.9
    assert kernel.idle() == 0
    kernel.now = 1.0
    assert kernel.idle() == pytest.approx(0.75)
    kernel.say(busy=300, idle=250, waiting=50)
    kernel.now = 1.9
    assert kernel.idle() == pytest.approx(0.75)
    kernel.now = 2.0
    assert kernel.idle() == 0


@pytest.mark.parametrize("said", ["", "cpu  1 2", "nothing of it", "cpu a b c d e f g h"])
def test_where_the_kernel_says_nothing_nothing_is_idle(tmp_path: Path, said: str) -> None:
    kernel = Kernel(tmp_path)
    kernel.path.write_text(said)
    kernel.now = 5
    assert kernel.idle() == 0
    kernel.path.unlink()
    kernel.now = 10
    assert kernel.idle() == 0


def test_counters_that_begin_again_are_no_share(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    for now, idle in ((2, 900), (4, 5), (6, 10)):
        kernel.say(idle=idle, busy=idle)
        kernel.now = now
        assert kernel.idle() == (0 if now == 4 else 0.5)


def test_this_machine_has_counters() -> None:
    idle = IdleShare()
    time.sleep(1.05)
    assert 0 <= idle() <= 1
