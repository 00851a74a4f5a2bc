"""What is remembered of each face, and for how long."""

from __future__ import annotations

import pytest

from jetson_face.recognition.decision import undecided
from jetson_face.recognition.track_state import LOOKS_MAX, TrackState, TrackStates


def test_a_new_track_begins_at_its_frame_and_all_wait_one_more() -> None:
    states = TrackStates()
    states.next_frame([3, 1], 70)
    states.next_frame([1, 2], 90)
    assert states.ids() == [1, 2, 3]
    assert [states[track].waited for track in (1, 2, 3)] == [2, 1, 2]
    assert states[3] == TrackState(undecided(70), waited=2)
    assert states[2].decision.since_ns == 90
    states[1].embeddings = 4
    states.begin([1], 95)
    assert states[1].embeddings == 4


def test_the_score_of_a_face_is_the_mean_of_its_last_looks() -> None:
    state = TrackState(undecided(0))
    for score in (0.6, 0.0, 0.8):  # on the second frame its box was only predicted
        state.seen(score)
    assert state.score == pytest.approx(0.7)
    assert state.looks == 2
    for _ in range(1000):
        state.seen(0.7)
    for _ in range(LOOKS_MAX):
        state.seen(0.9)
    assert state.score > 0.82, "what was long ago fades"


@pytest.mark.parametrize(
    ("alive", "left", "forgotten"),
    [({1, 2}, [1, 2], False), ({1, 2, 3}, [1, 2], False), ({2, 3}, [2], True), (set(), [], True)],
)
def test_who_is_not_alive_is_forgotten(
    alive: set[int], left: list[int], *, forgotten: bool
) -> None:
    states = TrackStates()
    states.begin([1, 2], 0)
    assert states.keep_only(alive) is forgotten
    assert states.ids() == left
    assert len(states) == len(left)


def test_a_crop_that_is_good_for_nothing_is_tried_again_after_twice_as_long_each_time() -> None:
    state, rests = TrackState(undecided(0)), []
    for _ in range(5):
        state.tried_in_vain(20)
        rests.append(state.rest)
    assert rests == [2, 4, 8, 16, 20]
