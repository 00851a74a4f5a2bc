"""Where another scene begins, and which face suddenly looks different."""

from __future__ import annotations

import numpy as np
import pytest

from jetson_face.core.types import F32, I64, ImageU8
from jetson_face.recognition.scene_cut import FaceAppearances, SceneCuts

ROWS, COLUMNS, EACH = 6, 8, 8


def grey(level: int, size: tuple[int, int] = (48, 64)) -> ImageU8:
    return np.full((*size, 3), level, np.uint8)


def balanced(blocks: int, by: int) -> ImageU8:
    """Grey 100, of which so many blocks are brighter or darker, and as many darker as brighter."""
    levels = np.full(ROWS * COLUMNS, 100)
    levels[:blocks:2] += by
    levels[1:blocks:2] -= by
    image = levels.reshape(ROWS, COLUMNS).repeat(EACH, 0).repeat(EACH, 1)
    return np.repeat(image[..., None], 3, axis=2).astype(np.uint8)


def is_cut(before: ImageU8, now: ImageU8, share_min: float = 0.5) -> bool:
    cuts = SceneCuts(share_min)
    assert not cuts.is_cut(before)
    return cuts.is_cut(now)


def test_a_cut_needs_its_share_of_blocks_and_no_more() -> None:
    assert is_cut(grey(100), balanced(24, 40))
    assert not is_cut(grey(100), balanced(22, 40))


def test_a_block_may_change_by_twelve_levels() -> None:
    assert not is_cut(grey(100), balanced(48, 12))
    assert is_cut(grey(100), balanced(48, 13))


@pytest.mark.parametrize(("before", "now"), [(255, 20), (20, 255), (0, 200)])
def test_a_lamp_that_goes_on_or_off_is_no_cut(before: int, now: int) -> None:
    assert not is_cut(grey(before), grey(now))


def test_all_pixels_of_a_block_count_not_only_those_in_its_middle() -> None:
    inner = np.zeros((EACH, EACH), bool)
    inner[3:5, 3:5] = True
    middle = np.tile(inner, (ROWS, COLUMNS))
    now = balanced(48, 60)
    now[middle] = 100
    assert is_cut(grey(100), now)


def test_the_fourth_byte_of_a_pixel_says_nothing() -> None:
    before = np.dstack([grey(100), np.zeros((48, 64), np.uint8)])
    now = np.dstack([grey(100), 255 * (balanced(48, 50)[..., 0] > 100)]).astype(np.uint8)
    cuts = SceneCuts()
    assert not cuts.is_cut(before)
    assert not cuts.is_cut(now)


# --- faces ---------------------------------------------------------------------------------------

LEFT, RIGHT, THIRD = (0, 0, 48, 48), (48, 0, 96, 48), (96, 0, 144, 48)


def face(seed: int, mean: float, spread: float = 12) -> F32:
    """(48, 48) grey levels whose pattern a seed draws, 4 pixels a patch."""
    pattern = np.random.default_rng(seed).choice([-float(spread), float(spread)], (12, 12))
    pattern -= pattern.mean()
    return np.asarray((mean + pattern).repeat(4, 0).repeat(4, 1), np.float32)


def frame(*faces: F32) -> ImageU8:
    """Faces side by side."""
    row = np.concatenate(faces, axis=1).clip(0, 255)
    return np.repeat(row[..., None], 3, axis=2).astype(np.uint8)


def doubted(*frames: ImageU8, boxes: tuple[tuple[int, int, int, int], ...] = (LEFT,)) -> list[bool]:
    """Which faces the last of these frames casts doubt on."""
    seen = FaceAppearances()
    tracks: I64 = np.arange(1, len(boxes) + 1, dtype=np.int64)
    places: F32 = np.array(boxes, np.float32)
    changed = np.zeros(len(boxes), np.bool_)
    for image in frames:
        changed = seen.changed(image, tracks, places)
        assert changed.dtype == np.bool_
    return [bool(each) for each in changed]


def test_a_face_that_looks_different_is_doubted() -> None:
    assert doubted(frame(face(1, 100)), frame(face(2, 112))) == [True]


def test_a_new_face_and_one_that_stays_the_same_are_not_doubted() -> None:
    assert doubted(frame(face(1, 100))) == [False]
    assert doubted(frame(face(1, 100)), frame(face(1, 100))) == [False]


@pytest.mark.parametrize("light", [112, 88])
def test_the_same_face_in_another_light_is_not_doubted(light: float) -> None:
    assert doubted(frame(face(1, 100)), frame(face(1, light))) == [False]


def test_another_pattern_of_the_same_colour_is_not_doubted() -> None:
    assert doubted(frame(face(1, 100)), frame(face(2, 100))) == [False]


def test_each_face_is_compared_with_its_own_brightness() -> None:
    before, now = frame(face(1, 40), face(3, 200)), frame(face(2, 43), face(4, 205))
    assert doubted(before, now, boxes=(LEFT, RIGHT)) == [True, False]
    before, now = frame(face(1, 43), face(3, 205)), frame(face(2, 40), face(4, 200))
    assert doubted(before, now, boxes=(LEFT, RIGHT)) == [True, False]


def test_each_face_is_compared_with_its_own_pattern() -> None:
    before, now = frame(face(1, 60), face(3, 200)), frame(face(2, 72), face(3, 220))
    assert doubted(before, now, boxes=(LEFT, RIGHT)) == [True, False]
    before, now = frame(face(1, 200), face(3, 60)), frame(face(2, 220), face(3, 72))
    assert doubted(before, now, boxes=(LEFT, RIGHT)) == [True, False]
    before, now = frame(face(1, 100), face(3, 100)), frame(face(2, 112), face(4, 100))
    assert doubted(before, now, boxes=(LEFT, RIGHT)) == [True, False]


def test_faces_in_another_light_are_all_the_same() -> None:
    before = frame(face(1, 60), face(3, 200), face(4, 100))
    now = frame(face(1, 72), face(3, 220), face(4, 110))
    assert doubted(before, now, boxes=(LEFT, RIGHT, THIRD)) == [False, False, False]


def test_all_of_the_box_is_looked_at() -> None:
    before, now = face(1, 100), face(1, 100)
    now[24:] = face(2, 130)[24:]
    now[:24] = face(3, 100)[:24]
    assert doubted(frame(before), frame(now)) == [True]
    assert doubted(frame(before.T), frame(now.T)) == [True]


@pytest.mark.parametrize("turned", [False, True])
def test_of_a_face_that_leaves_the_frame_the_other_side_of_it_is_not_looked_at(
    turned: bool,
) -> None:
    """Half of the box is beyond the edge; the far edge of the frame changes."""
    near, far = face(1, 100), face(2, 100)
    before, now = np.concatenate([near, far]), np.concatenate([near, face(5, 160)])
    box = (0, -40, 48, 24)
    if turned:
        before, now, box = before.T, now.T, (-40, 0, 24, 48)
    assert doubted(frame(before), frame(now), boxes=(box,)) == [False]


def test_a_face_out_of_view_is_remembered_until_its_track_ends() -> None:
    seen, one = FaceAppearances(), np.array([1], np.int64)
    none, box = np.zeros(0, np.int64), np.array([LEFT], np.float32)
    seen.changed(frame(face(1, 100)), one, box)
    seen.changed(frame(face(9, 20)), none, np.zeros((0, 4), np.float32))
    seen.keep_only({1, 2})
    assert seen.changed(frame(face(2, 112)), one, box).tolist() == [True]
    seen.keep_only({2})
    assert seen.changed(frame(face(1, 100)), one, box).tolist() == [False]
