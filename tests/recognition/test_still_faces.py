"""Faces that never move: on a wall, in a hand, of somebody alive; seen on made pictures."""

from __future__ import annotations

import numpy as np
import pytest

from jetson_face.core.types import F32, ImageU8
from jetson_face.recognition.still_faces import StillFaces

S = 1_000_000_000
BOX = np.array([[100.0, 60.0, 180.0, 160.0]], np.float32)
ONE = np.array([1])


def wall(frame: int, *, noise: float = 2.0, move: int = 0, gain: float = 1.0) -> ImageU8:
    """A face of blots at BOX, which moved to the right by so many pixels; a sensor's noise."""
    blots = np.random.default_rng(1).integers(40, 200, (12, 10, 1)).repeat(10, 0).repeat(8, 1)
    image = np.full((240, 320, 3), 90.0)
    image[50:170, 100 + move : 180 + move] = blots
    sensor = np.random.default_rng(100 + frame).normal(0, noise, image.shape)
    return np.asarray(np.clip(image * gain + sensor, 0, 255), np.uint8)


def boxes(frame: int) -> F32:
    """As a detector finds them: by a pixel or two beside."""
    return BOX + np.random.default_rng(frame).uniform(-2, 2, (1, 4)).astype(np.float32)


def shifted(right: int) -> F32:
    return np.asarray(BOX + np.array([right, 0, right, 0]), np.float32)


def seen(
    still: StillFaces, frames: int, *, track: int = 1, start: int = 0, move: int = 0
) -> list[bool]:
    found = []
    for frame in range(start, start + frames):
        image = wall(frame, move=move)
        found += still.look(image, np.array([track]), boxes(frame), frame * S // 10).tolist()
    return found


def test_a_face_on_a_wall_is_a_picture_after_so_long() -> None:
    assert seen(StillFaces(S), 15) == [False] * 10 + [True] * 5


def test_who_moves_a_little_is_alive() -> None:
    still = StillFaces(S)
    found: list[bool] = []
    for frame in range(40):
        move = round(3 * np.sin(frame / 3))
        found += still.look(wall(frame, move=move), ONE, shifted(move), frame * S // 10).tolist()
    assert not any(found)


def test_light_that_changes_is_no_movement() -> None:
    still = StillFaces(S)
    found = [
        still.look(wall(f, gain=1 + f / 400), ONE, boxes(f), f * S // 10)[0] for f in range(15)
    ]
    assert found[-1]


def test_a_picture_that_is_carried_away_may_be_somebody_again() -> None:
    still = StillFaces(S)
    assert seen(still, 12)[-1]
    assert seen(still, 1, start=12, move=8) == [False]
    assert seen(still, 9, start=13, move=8) == [False] * 9


def test_a_new_track_at_the_place_of_a_picture_is_one_at_once() -> None:
    still = StillFaces(S)
    assert seen(still, 12)[-1]
    still.keep_only(set())
    assert seen(still, 1, track=2, start=40) == [True]
    still.keep_only(set())
    assert seen(still, 1, track=3, start=80, move=12) == [False], "something else is there"
    assert seen(still, 1, track=4, start=90) == [True]


def test_what_was_carried_away_is_a_picture_again_after_as_long() -> None:
    still = StillFaces(S)
    assert seen(still, 12)[-1]
    assert seen(still, 11, start=12, move=8) == [False] * 10 + [True]


def test_who_was_not_still_for_long_enough_begins_anew_as_another_track() -> None:
    still = StillFaces(S)
    seen(still, 6)
    still.keep_only(set())
    assert seen(still, 10, track=2, start=6) == [False] * 10


@pytest.mark.parametrize(("right", "known"), [(16, True), (25, False)])
def test_a_place_is_known_again_within_a_quarter_of_its_width(right: int, known: bool) -> None:
    still = StillFaces(S)
    assert seen(still, 12)[-1]
    still.keep_only(set())
    assert still.look(wall(40), np.array([2]), shifted(right), 4 * S).tolist() == [known]


@pytest.mark.parametrize("part", [np.s_[110:160, 100:180], np.s_[60:160, 140:180]])
def test_a_face_of_which_a_half_moves_is_alive(part: tuple[slice, slice]) -> None:
    still, found = StillFaces(S), []
    for frame in range(15):
        image = wall(frame)
        height, width = image[part].shape[:2]
        image[part] = np.random.default_rng(frame).integers(0, 255, (height, width, 1))
        found += still.look(image, ONE, BOX, frame * S // 10).tolist()
    assert not any(found)


@pytest.mark.parametrize(
    ("box", "other"),
    [
        ((-40, 60, 40, 160), np.s_[:, 280:]),
        ((280, 60, 360, 160), np.s_[:, :40]),
        ((100, 180, 180, 280), np.s_[:40]),
    ],
)
def test_of_a_face_beyond_an_edge_the_other_side_of_the_frame_is_not_looked_at(
    box: tuple[int, int, int, int], other: tuple[slice, ...]
) -> None:
    still, found = StillFaces(S), []
    for frame in range(12):
        image = wall(frame)
        height, width = image[other].shape[:2]
        image[other] = np.random.default_rng(frame).integers(0, 255, (height, width, 1))
        found += still.look(image, ONE, np.array([box], np.float32), frame * S // 10).tolist()
    assert found == [False] * 10 + [True] * 2


@pytest.mark.parametrize("beside", [np.s_[165:], np.s_[:, 185:]])
def test_what_moves_below_or_beside_a_picture_does_not_make_it_alive(
    beside: tuple[slice, ...],
) -> None:
    still, found = StillFaces(S), []
    for frame in range(12):
        image = wall(frame)
        height, width = image[beside].shape[:2]
        image[beside] = np.random.default_rng(frame).integers(0, 255, (height, width, 1))
        found += still.look(image, ONE, BOX, frame * S // 10).tolist()
    assert found[-1]


def test_no_more_places_than_it_can_remember_are_kept() -> None:
    still = StillFaces(S)
    for track in range(40):
        for frame in range(12):
            image = wall(frame, move=track * 3)
            still.look(image, np.array([track]), shifted(track * 3), frame * S // 10)
        still.keep_only(set())
    assert len(still._places) == 32


def test_each_face_is_looked_at_on_its_own() -> None:
    """The first is somebody who moves; the second hangs on the wall behind."""
    still, two = StillFaces(S), np.array([1, 2])
    for frame in range(12):
        image = wall(frame)
        image[60:160, 200:280] = np.random.default_rng(frame).integers(0, 255, (100, 80, 1))
        places = np.concatenate([shifted(100), BOX])
        found = still.look(image, two, places, frame * S // 10).tolist()
    assert found == [False, True]


def test_of_a_face_that_leaves_the_frame_only_what_is_there_is_looked_at() -> None:
    """Half of it is beyond the upper edge; the lower edge of the frame changes."""
    box, still, found = np.array([[100.0, -40.0, 180.0, 60.0]], np.float32), StillFaces(S), []
    for frame in range(12):
        image = wall(frame)
        image[:60, 100:180] = image[60:120, 100:180]
        image[200:] = np.random.default_rng(frame).integers(0, 255, (40, 320, 1))
        found += still.look(image, ONE, box, frame * S // 10).tolist()
    assert found == [False] * 10 + [True] * 2


def test_the_fourth_byte_of_a_pixel_says_nothing() -> None:
    still, found = StillFaces(S), []
    for frame in range(12):
        other = np.random.default_rng(frame).integers(0, 255, (240, 320, 1)).astype(np.uint8)
        image = np.concatenate([wall(frame), other], axis=2)
        found += still.look(image, ONE, BOX, frame * S // 10).tolist()
    assert found[-1]
