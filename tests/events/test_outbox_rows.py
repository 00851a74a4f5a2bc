"""What rows of the outbox's tables mean, whatever stands in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from jetson_face.events.outbox_rows import (
    SEQ_MAX,
    Cursor,
    DamagedError,
    Event,
    clock_of,
    counts_of,
    cursors_of,
    event_of,
    seq_of,
)

NAN = float("nan")


@pytest.mark.parametrize(
    ("row", "clock"),
    [
        (None, (0.0, 0.0)),
        ((3.5, 1.7e9), (3.5, 1.7e9)),
        ((NAN, 1.7e9), (0.0, 0.0)),
        ((3.5, NAN), (0.0, 0.0)),
        ((-1.0, 1.7e9), (0.0, 0.0)),
        ((3.5, 1e12), (0.0, 0.0)),
        ((3, 1.7e9), (0.0, 0.0)),
        ((None, None), (0.0, 0.0)),
    ],
)
def test_a_clock_that_makes_no_sense_is_none(
    row: Sequence[Any] | None, clock: tuple[float, float]
) -> None:
    assert clock_of(row) == clock


def test_a_place_has_since_when_nobody_delivers_to_it() -> None:
    found = cursors_of([("a", 3, 7.5), ("b", 0, None), ("c", 1, NAN), ("d", SEQ_MAX - 1, 0.0)])
    assert found == {
        "a": Cursor(3, 7.5),
        "b": Cursor(0),
        "c": Cursor(1),
        "d": Cursor(SEQ_MAX - 1, 0.0),
    }


@pytest.mark.parametrize("number", [-1, SEQ_MAX, 1.0, "1", b"1"])
def test_what_is_no_number_is_damage(number: object) -> None:
    with pytest.raises(DamagedError, match="a consumer's position is no number"):
        cursors_of([("a", number, None)])
    with pytest.raises(DamagedError, match="a count is no number"):
        counts_of([("a", number)])
    with pytest.raises(DamagedError, match="a number of an event is none"):
        seq_of((number,))


def test_a_name_that_is_no_text_is_damage() -> None:
    with pytest.raises(DamagedError):
        cursors_of([(b"a", 1, None)])
    with pytest.raises(DamagedError):
        counts_of([(1, 1)])


def test_no_row_is_number_0() -> None:
    assert (seq_of(None), seq_of((None,)), seq_of((0,)), seq_of((5,))) == (0, 0, 0, 5)


@pytest.mark.parametrize(
    ("column", "value"),
    [(0, 8), (0, "7"), (1, 0.25), (1, 1), (2, 2.5), (2, 2), (3, "other"), (3, b"k"), (4, b"{ }"),
     (4, "{}"), (5, b"12345678"), (5, None)],
)  # fmt: skip
def test_a_row_in_which_anything_changed_is_no_event(column: int, value: object) -> None:
    event = Event(7, 0.5, 2.0, "k", b"{}")
    row = list(event.row)
    assert event_of(row) == event
    row[column] = value
    assert event_of(row) is None
