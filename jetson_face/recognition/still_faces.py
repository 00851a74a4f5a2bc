"""Faces that never move while people do: pictures on a wall, a screen that stands, a poster."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jetson_face.core.types import F32, I64, BoolArray, Pixels

_SIDE, _EACH = 8, 4
"""Blocks along a side of a face, and the pixels along a side of each that are looked at."""
_SAME_MAX = 2.5
"""Grey levels by which the blocks of a face may differ on average, and still be the same picture:
a sensor's noise is averaged over 16 pixels, a living face moves by more within a second."""
_PLACES = 32


@dataclass(slots=True, eq=False)
class _Place:
    """box: xyxy pixels of the frame, where the face was when it was looked at first. blocks: what
    was there. since_ns: unchanged since then."""

    box: F32
    blocks: F32
    since_ns: int


class StillFaces:
    """Which faces have not moved for `still_ns`; of one source.

    What is compared is the same place of the frame, not the box of the detector, which jitters. A
    place that was still once is known again when a new track begins there, as long as it shows the
    same; the `_PLACES` newest are remembered.
    """

    def __init__(self, still_ns: int) -> None:
        self._still_ns = still_ns
        self._tracks: dict[int, _Place] = {}
        self._places: list[_Place] = []

    def look(self, image: Pixels, tracks: I64, boxes: F32, now_ns: int) -> BoolArray:
        """(N,) which of the tracks (N,) with boxes (N, 4) are pictures. image: (H, W, 3 or 4)
        uint8, BGR or BGRx."""
        found = np.zeros(len(tracks), np.bool_)
        for row, (track, box) in enumerate(zip(tracks.tolist(), boxes, strict=True)):
            place = self._tracks.get(track)
            if place is None:
                known = next((one for one in self._places if _is_at(one, image, box)), None)
                place = known or _Place(box.copy(), _blocks(image, box), now_ns)
                self._tracks[track] = place
            elif not _is_at(place, image, box):
                if place in self._places:
                    self._places.remove(place)
                self._tracks[track] = _Place(box.copy(), _blocks(image, box), now_ns)
                continue
            found[row] = now_ns - place.since_ns >= self._still_ns
            if found[row] and place not in self._places:
                self._places = [*self._places, place][-_PLACES:]
        return found

    def keep_only(self, tracks: set[int]) -> None:
        """Forget all tracks but these; places stay."""
        if not self._tracks.keys() <= tracks:
            self._tracks = {t: place for t, place in self._tracks.items() if t in tracks}


def _is_at(place: _Place, image: Pixels, box: F32) -> bool:
    """The box is there, and what is there is as it was."""
    side = max(float(place.box[2] - place.box[0]), 1.0)
    if float(np.abs(box - place.box).max()) > 0.25 * side:
        return False
    difference = _blocks(image, place.box) - place.blocks
    return float(np.abs(difference - difference.mean()).mean()) <= _SAME_MAX


def _blocks(image: Pixels, box: F32) -> F32:
    """(8, 8) mean grey levels over a box."""
    height, width = image.shape[:2]
    steps = (np.arange(_SIDE * _EACH) + 0.5) / (_SIDE * _EACH)
    rows = np.clip(box[1] + steps * (box[3] - box[1]), 0, height - 1).astype(np.intp)
    columns = np.clip(box[0] + steps * (box[2] - box[0]), 0, width - 1).astype(np.intp)
    some = image[rows[:, None], columns, :3].reshape(_SIDE, _EACH, _SIDE, _EACH, 3)
    return np.asarray(some.mean(axis=(1, 3, 4), dtype=np.float32))
