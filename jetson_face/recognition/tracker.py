"""The same face over frames: boxes become tracks with ids that are never used again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jetson_face.core.geometry import clip_boxes, iou_matrix, iou_pairs
from jetson_face.core.types import F32, I64, BoolArray, Detections
from jetson_face.recognition.assignment import assign

AGAIN_NS = 100_000_000
"""Crowd clip at N = 5, six passes of 104 frames each: 27.3 searches and 6.19 faces a frame without
looking again, 24.8 and 6.25 with 100 ms, 24.2 and 6.21 with 160, 23.0 and 6.17 with 360. On three
made clips 91.4 % of the faces are named without and with 100 ms, 90.5 with 160."""
STEADY_IOU = 0.8
"""Overlap of a face with where it was expected from which on it may move on unseen for once. Crowd
clip at N = 5, eight passes: 6.25 ± 0.03 faces a frame and 0.71 of the looks at known faces; with
0.85 6.21 and 0.76, without any 6.20 and 1. On three made clips all find 97 % of the faces."""
COAST_NS = 100_000_000
"""Longest time since a face was found for which it moves on unseen."""
VELOCITY_GAIN = 0.5
"""Share of the newest step in the velocity: detector boxes jitter by a few pixels."""


@dataclass(slots=True, eq=False)
class _Tracks:
    """T tracks as parallel arrays.

    boxes: (T, 4) float64 xyxy when last found. velocity: (T, 2) pixels a second of the centre.
    seen_ns: when last found. misses: searches in a row that did not find it. visible: found by the
    last search or refinement. lost: not found by the last refinements, and not given up. steady:
    last found where it was expected, and not moved on unseen since.
    """

    ids: I64
    boxes: NDArray[np.float64]
    velocity: NDArray[np.float64]
    seen_ns: I64
    misses: I64
    visible: BoolArray
    lost: BoolArray
    steady: BoolArray

    @classmethod
    def none(cls) -> _Tracks:
        empty, no = np.zeros(0, np.int64), np.zeros(0, np.bool_)
        flags = no, no.copy(), no.copy()
        return cls(empty, np.zeros((0, 4)), np.zeros((0, 2)), empty, empty.copy(), *flags)

    def kept(self, mask: BoolArray) -> _Tracks:
        return _Tracks(
            self.ids[mask],
            self.boxes[mask],
            self.velocity[mask],
            self.seen_ns[mask],
            self.misses[mask],
            self.visible[mask],
            self.lost[mask],
            self.steady[mask],
        )


class Tracker:
    """Gives the faces of one source track ids.

    Times are `Frame.captured_ns` and must be told in order. Faces are assigned to tracks so that
    the total cost (1 - IoU + centre distance in face sizes) is least; a pair needs an IoU of
    `iou_min` with the predicted box, or a centre within `reach` face sizes of it (and
    `reach_per_s` more for each second since the track was seen: somebody walks off between two
    searches) and a size within a factor of 2. A track ends when `misses_max` searches in a row did
    not find it, or when one did not and it was last found more than `max_gap_ns` ago. All tracks
    end when time goes back, when it jumps by more than `jump_max_ns`, or when the frame's size
    changes. One that a refiner does not find is looked for again until it was last found `again_ns`
    ago: somebody turned away, or behind another, is often back by then, and a search costs more.
    Whom a refiner finds where the track was expected need not be looked for in each frame: `coast`.
    Beyond `tracks_max` tracks those unseen for longest end first; a face just found always has one.
    resets: how often all tracks ended together.
    """

    def __init__(
        self,
        iou_min: float = 0.3,
        *,
        max_gap_ns: int = 1_000_000_000,
        misses_max: int = 10,
        reach: float = 0.6,
        reach_per_s: float = 1.5,
        jump_max_ns: int = 2_000_000_000,
        extrapolate_max_ns: int = 500_000_000,
        hold_ns: int | None = None,
        again_ns: int = AGAIN_NS,
        tracks_max: int = 256,
    ) -> None:
        self._iou_min = iou_min
        self._max_gap_ns = max_gap_ns
        self._misses_max = misses_max
        self._reach = reach
        self._reach_per_s = reach_per_s
        self._jump_max_ns = jump_max_ns
        self._extrapolate_max_ns = extrapolate_max_ns
        self._hold_ns = hold_ns
        self._again_ns = again_ns if hold_ns is None else min(again_ns, hold_ns)
        self._tracks_max = tracks_max
        self._next_id = 1
        self.resets = 0
        self._now: int | None = None
        self._size: tuple[int, int] | None = None
        self._all = _Tracks.none()

    def alive(self) -> I64:
        """Ids of all tracks, also of those that the last searches missed: what to remember."""
        return np.array(self._all.ids)

    def visible(self) -> I64:
        """Ids of the tracks that were found by the last search or refinement."""
        return np.array(self._all.ids[self._all.visible])

    def begin_after(self, older: Tracker) -> None:
        """Give no id that another tracker gave."""
        self._next_id = max(self._next_id, older._next_id)

    def reset(self) -> None:
        """End all tracks; their ids are not used again."""
        self._all = _Tracks.none()
        self.resets += 1

    def missing(self, captured_ns: int, *, size: tuple[int, int] | None = None) -> F32:
        """Boxes (N, 4) where the tracks that were lost and have not ended should be now. One that
        should have left the frame is at its edge."""
        self._begin(captured_ns, size)
        return self._in_frame(captured_ns)[~self._shown(captured_ns)].astype(np.float32)

    def update(
        self, found: Detections, captured_ns: int, *, size: tuple[int, int] | None = None
    ) -> I64:
        """Track ids (N,) of the faces that a search found, in their order.

        size: the frame's (width, height), pixels.
        """
        self._begin(captured_ns, size)
        tracks = self._all
        boxes = found.boxes.astype(np.float64)
        cost, allowed = self._pairs(boxes, captured_ns)
        chosen = assign(cost, allowed)
        hit = chosen >= 0
        self._move(np.flatnonzero(hit), boxes[chosen[hit]], captured_ns)
        tracks.visible, tracks.lost = hit, tracks.lost & ~hit
        tracks.misses = np.where(hit, 0, tracks.misses + 1)
        ids = np.full(len(found), -1, np.int64)
        ids[chosen[hit]] = tracks.ids[hit]
        late = (tracks.misses > 0) & (captured_ns - tracks.seen_ns > self._max_gap_ns)
        self._all = tracks.kept(~late & (tracks.misses < self._misses_max))
        fresh = np.flatnonzero(ids < 0)
        self._make_room(len(fresh))
        ids[fresh] = self._start(boxes[fresh], captured_ns)
        return ids

    def renumber(self, ids: I64) -> I64:
        """End these tracks, and begin one without a past in the place of each: their ids (N,).

        Raises KeyError for an id that is not alive.
        """
        row_of = {int(track): row for row, track in enumerate(self._all.ids)}
        rows = np.array([row_of[int(track)] for track in ids], np.int64)
        fresh = np.arange(self._next_id, self._next_id + len(ids), dtype=np.int64)
        self._next_id += len(ids)
        self._all.ids = np.array(self._all.ids)
        self._all.ids[rows] = fresh
        self._all.velocity[rows] = 0.0
        return fresh

    def predict(self, captured_ns: int, *, size: tuple[int, int] | None = None) -> tuple[I64, F32]:
        """Where the visible tracks should be now: ids (N,), boxes (N, 4) cut to the frame.

        One that was last found more than `hold_ns` ago is left out; None: no limit.
        """
        self._begin(captured_ns, size)
        return self._predicted(self._shown(captured_ns), captured_ns)

    def lost(self, captured_ns: int) -> tuple[I64, F32]:
        """As `predict`, of the tracks that are to be looked for again."""
        self._begin(captured_ns, None)
        return self._predicted(self._all.lost, captured_ns)

    def coast(self, ids: I64, captured_ns: int) -> BoolArray:
        """Which of these tracks (N,) move on as predicted, and are not looked for in this frame.

        Those that were last found where they were expected, COAST_NS ago at most; each once, until
        it is found so again.
        """
        tracks = self._all
        row_of = {int(track): row for row, track in enumerate(tracks.ids)}
        rows = np.array([row_of[int(track)] for track in ids], np.int64)
        recent = captured_ns - tracks.seen_ns[rows] <= COAST_NS
        steady = np.asarray(tracks.steady[rows] & recent, np.bool_)
        tracks.steady[rows[steady]] = False
        return steady

    def advance(self, ids: I64, refined: Detections, captured_ns: int) -> I64:
        """Move tracks to where a refiner found them; `refined` rows belong to `ids`.

        A row of score 0 was not found: the track is no longer visible until it is found again.
        Returns the ids that are given up now, which only a search can find. Ids that are no longer
        alive are ignored.
        """
        self._begin(captured_ns, None)
        tracks = self._all
        row_of = {int(track): row for row, track in enumerate(tracks.ids)}
        rows = np.array([row_of.get(int(track), -1) for track in ids], np.int64)
        there = rows >= 0
        hit = there & (refined.scores > 0)
        self._move(rows[hit], refined.boxes[hit].astype(np.float64), captured_ns)
        tracks.visible[rows[hit]], tracks.lost[rows[hit]] = True, False
        gone = rows[there & ~hit]
        gone = gone[tracks.visible[gone] | tracks.lost[gone]]
        tracks.visible[gone] = False
        tracks.lost[gone] = captured_ns - tracks.seen_ns[gone] < self._again_ns
        return np.asarray(tracks.ids[gone[~tracks.lost[gone]]])

    def _begin(self, captured_ns: int, size: tuple[int, int] | None) -> None:
        before, self._now = self._now, captured_ns
        if before is not None and not 0 <= captured_ns - before <= self._jump_max_ns:
            self.reset()
        if size is not None:
            if self._size is not None and size != self._size:
                self.reset()
            self._size = size

    def _predicted(self, which: BoolArray, captured_ns: int) -> tuple[I64, F32]:
        boxes = self._extrapolated(captured_ns)[which].astype(np.float32)
        if self._size is not None:
            boxes = clip_boxes(boxes, *self._size)
        return self._all.ids[which], boxes

    def _shown(self, captured_ns: int) -> BoolArray:
        """(T,) which tracks are predicted."""
        if self._hold_ns is None:
            return self._all.visible
        recent = captured_ns - self._all.seen_ns <= self._hold_ns
        return np.logical_and(self._all.visible, recent)

    def _extrapolated(self, captured_ns: int) -> NDArray[np.float64]:
        """Boxes (T, 4) moved on at constant velocity, for a bounded time, of constant size."""
        step = self._all.velocity * self._unseen_s(captured_ns)[:, None]
        return np.asarray(self._all.boxes + np.concatenate([step, step], axis=1))

    def _in_frame(self, captured_ns: int) -> NDArray[np.float64]:
        """As `_extrapolated`, moved until their centres are in the frame."""
        boxes = self._extrapolated(captured_ns)
        centres = _centres(boxes)
        size = (1 << 31, 1 << 31) if self._size is None else self._size
        step = np.clip(centres, 0, np.subtract(size, 1)) - centres
        return np.asarray(boxes + np.concatenate([step, step], axis=1))

    def _unseen_s(self, captured_ns: int) -> NDArray[np.float64]:
        """Seconds since each track was found, bounded: nobody can be guessed for long."""
        passed = captured_ns - self._all.seen_ns
        return np.asarray(np.minimum(passed, self._extrapolate_max_ns) / 1e9)

    def _pairs(
        self, boxes: NDArray[np.float64], captured_ns: int
    ) -> tuple[NDArray[np.float64], BoolArray]:
        """Cost (T, N) of giving each face to each track, and the pairs that are possible."""
        predicted = self._extrapolated(captured_ns)
        iou = iou_matrix(predicted.astype(np.float32), boxes.astype(np.float32))
        side_a, side_b = _sides(predicted)[:, None], _sides(boxes)[None, :]
        apart = _centres(predicted)[:, None, :] - _centres(boxes)[None, :, :]
        distance = np.hypot(apart[..., 0], apart[..., 1]) / np.sqrt(side_a * side_b)
        alike = (side_a <= 2 * side_b) & (side_b <= 2 * side_a)
        # Crowd clip without refiner, tracks of N = 1 as ground truth. N = 5, 13 people: 23 tracks
        # without the growth, 18 with 1.5 a second, 12 with 5. N = 10: two people mixed in 2 tracks
        # with 0 and 1.5, in 4 with 5. A split costs a few frames, a mix a wrong name.
        reach = self._reach + self._reach_per_s * self._unseen_s(captured_ns)[:, None]
        allowed = (iou >= self._iou_min) | ((distance <= reach) & alike)
        return 1.0 - iou + distance, allowed

    def _move(self, rows: I64, boxes: NDArray[np.float64], captured_ns: int) -> None:
        tracks = self._all
        passed = (captured_ns - tracks.seen_ns[rows]) / 1e9
        moved = (_centres(boxes) - _centres(tracks.boxes[rows])) / np.maximum(passed, 1e-6)[:, None]
        old = tracks.velocity[rows]
        smooth = old + VELOCITY_GAIN * (moved - old)
        expected = self._extrapolated(captured_ns)[rows].astype(np.float32)
        tracks.steady[rows] = iou_pairs(expected, boxes.astype(np.float32)) >= STEADY_IOU
        tracks.velocity[rows] = np.where(passed[:, None] > 0, smooth, old)
        tracks.boxes[rows] = boxes
        tracks.seen_ns[rows] = captured_ns
        tracks.misses[rows] = 0

    def _make_room(self, count: int) -> None:
        excess = len(self._all.ids) + count - self._tracks_max
        if excess > 0:
            order = np.argsort(self._all.seen_ns, kind="stable")
            unseen = order[~self._all.visible[order]][:excess]
            keep = np.ones(len(order), np.bool_)
            keep[unseen] = False
            self._all = self._all.kept(keep)

    def _start(self, boxes: NDArray[np.float64], captured_ns: int) -> I64:
        count = len(boxes)
        ids = np.arange(self._next_id, self._next_id + count, dtype=np.int64)
        self._next_id += count
        tracks = self._all
        self._all = _Tracks(
            np.concatenate([tracks.ids, ids]),
            np.concatenate([tracks.boxes, boxes]),
            np.concatenate([tracks.velocity, np.zeros((count, 2))]),
            np.concatenate([tracks.seen_ns, np.full(count, captured_ns, np.int64)]),
            np.concatenate([tracks.misses, np.zeros(count, np.int64)]),
            np.concatenate([tracks.visible, np.ones(count, np.bool_)]),
            np.concatenate([tracks.lost, np.zeros(count, np.bool_)]),
            np.concatenate([tracks.steady, np.zeros(count, np.bool_)]),
        )
        return ids


def _centres(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def _sides(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Geometric mean of width and height, at least one pixel."""
    extent = np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0)
    return np.asarray(np.sqrt(extent[:, 0] * extent[:, 1]))
