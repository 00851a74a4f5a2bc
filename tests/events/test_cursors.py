"""How far each consumer of the outbox is."""

from __future__ import annotations

import pytest

from jetson_face.events.cursors import Cursors
from jetson_face.events.outbox_rows import Cursor


@pytest.fixture
def cursors() -> Cursors:
    """Two consumers that are there, 5 and 7 events on, and in the file."""
    made = Cursors()
    for name, seq in (("web", 5), ("mqtt", 7)):
        made.come(name)
        made.move(name, seq)
    made.saved()
    return made


def test_a_new_consumer_begins_at_the_start_and_is_to_be_stored() -> None:
    cursors = Cursors()
    assert cursors.come("web")
    assert (cursors.acked("web"), cursors.unsaved()) == (0, {"web": Cursor(0)})


def test_who_is_there_already_is_not_stored_again(cursors: Cursors) -> None:
    assert not cursors.come("web")
    assert cursors.unsaved() == {}


def test_who_comes_back_goes_on_where_it_was(cursors: Cursors) -> None:
    cursors.leave(["mqtt"], 100.0)
    cursors.saved()
    assert cursors.come("web")
    assert cursors.unsaved() == {"web": Cursor(5)}
    assert cursors.low(9) == 5


def test_who_leaves_is_stored_with_the_time_and_only_then(cursors: Cursors) -> None:
    cursors.leave(["mqtt"], 100.0)
    assert cursors.unsaved() == {"web": Cursor(5, 100.0)}
    cursors.leave([], 200.0)
    assert cursors.everyone() == {"web": Cursor(5, 100.0), "mqtt": Cursor(7, 200.0)}


def test_the_lowest_is_of_those_who_are_there(cursors: Cursors) -> None:
    assert cursors.low(9) == 5
    cursors.leave(["mqtt"], 100.0)
    assert cursors.low(9) == 7
    cursors.leave([], 100.0)
    assert cursors.low(9) == 9


def test_what_is_still_to_come_is_counted_of_what_is_kept(cursors: Cursors) -> None:
    assert list(cursors.lag(1, 9).items()) == [("mqtt", 2), ("web", 4)]
    assert cursors.lag(7, 9) == {"mqtt": 2, "web": 3}
    assert cursors.lag(1, 6) == {"mqtt": 0, "web": 1}
    cursors.leave(["mqtt"], 100.0)
    assert cursors.lag(1, 9) == {"mqtt": 2}


def test_who_was_away_for_too_long_is_forgotten(cursors: Cursors) -> None:
    cursors.leave(["mqtt"], 100.0)
    assert cursors.gone(100.0) == []
    assert cursors.gone(100.5) == ["web"]
    assert cursors.everyone() == {"mqtt": Cursor(7)}
    assert cursors.unsaved() == {}


def test_a_position_only_moves_on(cursors: Cursors) -> None:
    assert not cursors.move("web", 4)
    assert not cursors.move("web", 5)
    assert cursors.unsaved() == {}
    assert cursors.move("web", 6)
    assert cursors.unsaved() == {"web": Cursor(6)}


def test_a_move_that_could_not_be_stored_is_taken_back(cursors: Cursors) -> None:
    cursors.move("web", 6)
    cursors.put_back("web", 5)
    assert cursors.acked("web") == 5


def test_of_two_positions_the_later_one_holds(cursors: Cursors) -> None:
    cursors.learn({"web": Cursor(3, 50.0), "mqtt": Cursor(8, 50.0), "old": Cursor(2, 50.0)})
    assert cursors.everyone() == {"web": Cursor(5), "mqtt": Cursor(8), "old": Cursor(2, 50.0)}
    assert cursors.unsaved() == {}


def test_what_is_read_of_all_changes_nothing(cursors: Cursors) -> None:
    cursors.everyone().clear()
    assert cursors.acked("web") == 5
