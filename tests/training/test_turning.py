"""Frontal crops as from the side: the head's own geometry, and what the pictures must keep."""

from __future__ import annotations

import numpy as np
import pytest

from jetson_face.training.augment import augment_one
from jetson_face.training.settings import AugmentSettings
from jetson_face.training.turning import depth, turn, turned_map

EYE_ROW, NOSE_ROW = 52, 71


def test_not_turned_is_the_same_picture() -> None:
    map_x, map_y = turned_map(0)
    columns, rows = np.meshgrid(np.arange(112), np.arange(112))
    assert np.abs(map_x - columns).max() <= 0.5  # the foremost sample of each pixel
    assert np.abs(map_y - rows).max() < 0.1
    face = np.repeat((columns * 2).astype(np.uint8)[..., None], 3, axis=2)
    assert np.abs(turn(face, 0).astype(int) - face).max() <= 2


def test_the_head_stands_out_in_the_middle_and_most_at_the_nose() -> None:
    row = np.arange(112, dtype=np.float32)
    across = depth(row, np.full_like(row, NOSE_ROW))
    assert int(across.argmax()) == 56
    assert across[56] - across[46] > 8
    assert across[8] < across[20] < across[35]
    assert max(across[0], across[111]) < 0


@pytest.mark.parametrize("yaw", [25, 45, 65])
def test_the_half_that_is_turned_away_gets_narrow(yaw: int) -> None:
    """Above 0 the face looks to the right: from the nose to the right eye it is not far."""
    map_x, _ = turned_map(yaw)
    line = map_x[EYE_ROW]
    nose = int(np.abs(line - 56).argmin())
    left = nose - int(np.abs(line - 38).argmin())
    right = int(np.abs(line[nose:] - 74).argmin())
    assert left > 1.3 * right
    assert np.all(np.diff(line[nose - left : nose]) >= 0)


@pytest.mark.parametrize("yaw", [20, 40, 60])
def test_to_the_other_side_is_the_mirror_image(yaw: int) -> None:
    one, _ = turned_map(yaw)
    other, _ = turned_map(-yaw)
    assert np.median(np.abs(one - (112 - other[:, ::-1]))) < 1.5


@pytest.mark.parametrize("angles", [(70, 20), (-5, 20), (20, 90)])
def test_angles_that_no_head_has_are_refused(angles: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="two angles from 0 to 80"):
        AugmentSettings(turn_deg=angles)


def test_augmentation_turns_the_share_that_it_is_told() -> None:
    face = np.zeros((112, 112, 3), np.uint8)
    face[:, 40:72] = (200, 120, 60)
    still = {"flip": 0, "shift_px": 0, "scale": 0, "rotate_deg": 0, "colour": 0, "grey": 0}
    still |= {"lowres": 0, "jpeg": 0, "occlude": 0, "border": 0}
    how = AugmentSettings(**still, turn=0.25, turn_deg=(40, 40))
    made = [augment_one(face, how, np.random.default_rng(seed)) for seed in range(400)]
    changed = [picture for picture in made if not np.array_equal(picture, face)]
    assert 70 < len(changed) < 130
    views = {picture.tobytes() for picture in changed}
    assert views == {turn(face, 40).tobytes(), turn(face, -40).tobytes()}
