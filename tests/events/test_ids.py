"""Ids of events: where each bit comes from."""

from __future__ import annotations

import pytest

from jetson_face.events.ids import NewIds, id_of_row, uuid_of

FULL = (1 << 74) - 1


def full(count: int) -> bytes:
    """Random bytes, all of them 255."""
    return b"\xff" * count


def low(count: int) -> bytes:
    """Random bytes that differ."""
    return bytes(range(count))


def test_a_time_and_bits_that_are_too_long_lose_what_is_above() -> None:
    assert uuid_of((1 << 48) + 1, (1 << 74) + 1) == "00000000-0001-7000-8000-000000000001"


def test_an_id_has_ten_random_bytes_but_six_bits() -> None:
    bits = int.from_bytes(low(10), "big") & FULL
    assert NewIds(lambda: 1.7e9, low)() == uuid_of(1_700_000_000_000, bits)


def test_a_second_id_of_a_millisecond_is_a_little_above_the_first() -> None:
    bits = int.from_bytes(low(10), "big")
    new = NewIds(lambda: 1.7e9, low)
    new()
    assert new() == uuid_of(1_700_000_000_000, (bits & FULL) + 1 + bits % (1 << 32))


def test_ids_of_a_millisecond_that_is_full_go_on_in_the_next() -> None:
    new = NewIds(lambda: 1.7e9, full)
    assert [new(), new(), new()] == [
        uuid_of(1_700_000_000_000, FULL),
        uuid_of(1_700_000_000_001, (1 << 32) - 1),
        uuid_of(1_700_000_000_001, (1 << 33) - 1),
    ]


def test_a_clock_before_1970_is_at_1970() -> None:
    assert NewIds(lambda: -5.0, low)() == uuid_of(0, 1 + int.from_bytes(low(10)[-4:], "big"))


def test_the_id_of_a_row_is_the_same_in_every_version_of_this_program() -> None:
    """Receivers know by it what they have already."""
    assert id_of_row(7, 3.5, 1_763_000_000.25, "decision") == "019a7afd-1efa-7c59-9a36-22d5e83ab50f"


@pytest.mark.parametrize(
    ("wall", "ms"),
    [(0.5, 500), (-1.0, 0), (1e11 - 1, 99_999_999_999_000), (1e11, 0), (float("nan"), 0)],
)
def test_the_id_of_a_row_holds_its_time_where_that_makes_sense(wall: float, ms: int) -> None:
    made = id_of_row(1, 0.0, wall, "odd")
    assert int(made.replace("-", "")[:12], 16) == ms
