"""A few hundred damaged inputs for each reader, and that the fuzzer sees what it must."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import fuzz
import pytest
from fuzz_inputs import SIZE_MAX, STEP, edited, steps
from fuzz_targets import TARGETS, Target
from hypothesis import given, settings
from hypothesis import strategies as st

from jetson_face.core.errors import ConfigError


@pytest.mark.parametrize("name", fuzz.NAMES)
def test_only_our_own_errors_come_out(name: str, tmp_path: Path) -> None:
    counts = fuzz.Counts()
    target = TARGETS[name](tmp_path)
    watched = fuzz.Watched(name, target, counts, tmp_path / "keep", slow_s=30)
    for seed in target.seeds:
        watched(seed)
    watched.weigh()
    for _ in fuzz.draw(watched, target, examples=300, end=time.monotonic() + 60):
        watched.weigh()
    assert counts.failures == []
    assert counts.inputs == 300
    assert counts.refused > 0 or name == "status"
    assert counts.taken > 0


def watched(attempt: Callable[[bytes], None], folder: Path, *, slow_s: float = 10) -> fuzz.Watched:
    return fuzz.Watched("made", Target([b"x"], [b"y"], attempt), fuzz.Counts(), folder, slow_s)


def test_a_foreign_error_is_noted_and_its_input_kept(tmp_path: Path) -> None:
    def attempt(data: bytes) -> None:
        raise KeyError(data) if data == b"bad" else ConfigError("refused")

    one = watched(attempt, tmp_path)
    for data in (b"good", b"bad", b"bad"):
        one(data)
    assert (one.counts.inputs, one.counts.refused) == (2, 1)
    (failure,) = one.counts.failures
    assert failure.startswith("KeyError in ")
    assert (tmp_path / "made.failed-0").read_bytes() == b"bad"


def test_an_input_that_takes_long_is_noted(tmp_path: Path) -> None:
    one = watched(lambda data: None, tmp_path, slow_s=-1)
    one(b"x")
    assert "took 0.0 s" in one.counts.failures[0]


def test_what_is_left_open_is_noted(tmp_path: Path) -> None:
    opened: list[int] = []
    one = watched(lambda data: opened.append(os.open(os.devnull, os.O_RDONLY)), tmp_path)
    try:
        one.weigh()
        one(b"x")
        one.weigh()
    finally:
        for handle in opened:
            os.close(handle)
    assert one.counts.failures[0].startswith("1 file descriptors were left open")


def test_the_input_being_tried_outlives_a_crash(tmp_path: Path) -> None:
    watched(lambda data: None, tmp_path)(b"last words")
    kept = (tmp_path / "made.last").read_bytes()
    assert kept[4 : 4 + int.from_bytes(kept[:4], "big")] == b"last words"


@settings(max_examples=200)
@given(
    st.binary(max_size=1 + 10 * STEP),
    st.sampled_from([[b""], [b"\xff\0"], [b"a: 1\nb:\n  c", b"x"]]),
)
def test_every_program_gives_inputs_of_bounded_size(program: bytes, seeds: list[bytes]) -> None:
    tried = list(steps(seeds, [b"w", b""], program))
    assert len(tried) == max(0, len(program) - 1) // STEP
    assert all(len(data) <= SIZE_MAX for data in tried)


@pytest.mark.parametrize(
    ("edit", "result"),
    [
        ([0, 0, 0, 2, 0, 0, 0, 0], b"ab"),
        ([4, 0, 0, 1, 0, 0, 0, 0], b"accd"),
        ([8, 0, 0, 1, 0, 0, 0, 0], b"aWORDbcd"),
        ([17, 0, 0, 1, 0, 0, 0, 0], b"acd"),
    ],
    ids=["cut off", "bit", "word", "left out"],
)
def test_edits(edit: list[int], result: bytes) -> None:
    assert edited(b"abcd", b"efgh", [b"WORD"], bytes(edit))[1] == result
