"""Where the faces of a frame are, and which track each belongs to: searched or followed."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

import numpy as np

from jetson_face.core.geometry import iou_matrix
from jetson_face.core.types import F32, I64, Area, BoolArray, Detections, Frame, Spared
from jetson_face.detection.detector import (
    AreaSearch,
    Detector,
    LargeFirst,
    Refiner,
    SecondLook,
    picture_for,
    sharpened,
)
from jetson_face.recognition.detection_interval import DetectionInterval
from jetson_face.recognition.motion import MovedAreas
from jetson_face.recognition.scene_cut import SceneCuts
from jetson_face.recognition.steps import Steps, WantedSearch, alone
from jetson_face.recognition.stopwatch import Stopwatch
from jetson_face.recognition.tracker import Tracker

KNOWN_IOU_MIN = 0.3
"""Overlap from which on a face that was found is one that is followed already."""
EDGE_PX = 1.0
"""A box that comes so near to an area's edge is cut by it."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The faces of one frame. tracks: (N,) the id of each one's track. searched: a full detection
    ran; otherwise the faces were followed, and one of which only a predicted box is known has
    score 0 and landmarks NaN. spared: what of a search that was due was left out. sharp: (N,) whose
    landmarks are as exact as the detector can; None: nobody's, or there are no better ones."""

    tracks: I64
    faces: Detections
    searched: bool
    spared: Spared = ""
    sharp: BoolArray | None = None

    def without(self, rows: BoolArray) -> Found:
        """The other faces."""
        sharp = None if self.sharp is None else self.sharp[~rows]
        return replace(self, tracks=self.tracks[~rows], faces=self.faces[~rows], sharp=sharp)


class FaceFinder:
    """Searches one frame in N, and follows each face on the frames between, in order.

    refiner: finds a face again near its predicted box; None: boxes are only predicted. stills:
    each frame stands alone, no face is followed from one to the next. Where rough landmarks cost
    less (SecondLook), a face that moves as predicted is looked for on every second frame, unless
    its landmarks are wanted. cuts: all tracks end where
    it sees another scene, which is searched at once. small_every: one search in so many looks for
    the smallest faces, too; the others for large ones, and follow the known ones. A detector that
    cannot (LargeFirst) looks for all each time. A search that misses known faces looks for them
    where they should be, if the detector follows them by itself. moved: a search that is due is
    left out where nothing changed, or is only of what changed, if the detector can do that
    (AreaSearch), and of where a face was lost; the other faces are followed.
    """

    def __init__(
        self,
        detector: Detector,
        refiner: Refiner | None,
        interval: DetectionInterval,
        tracker: Tracker,
        *,
        stills: bool = False,
        cuts: SceneCuts | None = None,
        small_every: int = 1,
        moved: MovedAreas | None = None,
    ) -> None:
        self.detector, self.refiner = detector, refiner
        self.interval, self.tracker = interval, tracker
        self._stills = stills
        # Where all faces are cut out anyway nothing is gained.
        self._second_look = (
            detector
            if isinstance(detector, SecondLook) and id(refiner) == id(detector) and not stills
            else None
        )
        self._cuts = cuts
        self._size: tuple[int, int] | None = None
        exact = not isinstance(detector, SecondLook) or self._second_look is not None
        able = isinstance(detector, LargeFirst) and exact and refiner is not None and not stills
        self._large_first = detector if isinstance(detector, LargeFirst) and able else None
        self._small_every, self._until_small = small_every, 0
        self._wanted: Set[int] | None = None
        # Not where less is asked of a known face than of a new one: a false one would never go.
        own = id(refiner) == id(detector) and self._second_look is None
        self._looks_again = own and not stills
        self._moved, self._resets = None if stills else moved, tracker.resets
        self._areas = detector if isinstance(detector, AreaSearch) and exact else None

    def find(self, frame: Frame, watch: Stopwatch) -> Found:
        """The faces of the frame that comes now."""
        return alone(self.steps(frame, watch))

    def steps(self, frame: Frame, watch: Stopwatch) -> Steps[Found]:
        """As `find`; stops where the whole picture is to be searched."""
        other = self._cuts is not None and self._cuts.is_cut(frame.pixels)
        if other or self._stills or self._size not in (None, frame.size):
            self.tracker.reset()
            self.interval.reset()
            self._until_small = 0
        self._size = frame.size
        if not self.interval.next():
            return self._follow(frame, watch)
        found = None if self._moved is None else self._search_moved(self._moved, frame, watch)
        return (yield from self._search_all(frame, watch)) if found is None else found

    def want(self, tracks: Set[int]) -> None:
        """The tracks whose landmarks the next frame needs, if they are seen there. Without that,
        each face is looked for on each frame."""
        self._wanted = tracks

    def sharpen(self, frame: Frame, found: Found, rows: I64, watch: Stopwatch) -> Found:
        """The same faces; those of `rows` with landmarks to cut them out by."""
        if found.sharp is not None:
            rows = rows[~found.sharp[rows]]
        if not self._second_look or not len(rows):
            return found
        with watch("refine"):
            sharp = sharpened(
                self._second_look, picture_for(self.detector, frame), found.faces[rows]
            )
        points = found.faces.landmarks.copy()
        points[rows] = sharp.landmarks
        faces = Detections(found.faces.boxes, found.faces.scores, points)
        return replace(found, faces=faces)

    def alive(self) -> set[int]:
        """Tracks that may still come back: what is worth remembering."""
        return {int(track) for track in self.tracker.alive()}

    def take_over(self, older: FaceFinder) -> None:
        """Go on with another finder's tracks."""
        self.tracker, self._size = older.tracker, older._size

    def _search_all(self, frame: Frame, watch: Stopwatch) -> Steps[Found]:
        large = self._large_first
        if large is not None and self._until_small > 0 and large.saves(frame.size):
            self._until_small -= 1
            return (yield from self._search_large(large, frame, watch))
        self._until_small = self._small_every - 1
        if self._moved is not None:
            self._moved.searched(None, frame.captured_ns)
        faces = yield WantedSearch(frame, self.detector, self._second_look, watch)
        if self._looks_again:
            faces = self._with_missed(faces, frame, watch)
        return self._tracked(faces, frame, watch)

    def _search_moved(self, moved: MovedAreas, frame: Frame, watch: Stopwatch) -> Found | None:
        """Known faces are followed, and others found where something changed or a face was lost;
        None: the whole frame is to be searched."""
        able = self._areas is not None and self._areas.takes_areas(frame.size)
        with watch("motion"):
            missing = self.tracker.missing(frame.captured_ns, size=self._size)
            if self._resets != self.tracker.resets:  # nobody is followed who stands still
                moved.reset()
            self._resets = self.tracker.resets
            areas = moved.areas(missing) if moved.look(frame.pixels, frame.captured_ns) else None
        only_predicted = self.refiner is None and len(self.tracker.alive())
        if areas is None or (areas and not able) or only_predicted:
            return None
        followed, _ = self._followed(frame, watch, every=True)
        missing = self.tracker.missing(frame.captured_ns, size=self._size)
        if len(missing):
            areas = moved.areas(missing)
        if areas is None or (areas and not able):
            return None
        self._until_small = 0
        if self._areas is None or not areas:
            return replace(followed, spared="all")
        moved.searched(areas, frame.captured_ns)
        return self._with_areas(followed.faces, self._areas, areas, frame, watch)

    def _with_areas(
        self,
        known: Detections,
        detector: AreaSearch,
        areas: Sequence[Area],
        frame: Frame,
        watch: Stopwatch,
    ) -> Found:
        """With what is found in the areas; known faces that are not found there are missed. No
        other track is: it is followed, or an area is around it."""
        with watch("detect"):
            image = picture_for(self.detector, frame)
            parts = [_complete(detector.search_area(image, a), a, frame.size) for a in areas]
        covered = _covered(known.boxes, areas)
        faces = _together(known[~covered], *parts)
        if self._looks_again:
            faces = _together(faces, known[covered])
        found = self._tracked(faces, frame, watch)
        return replace(found, searched=False, spared="part")

    def _with_missed(self, faces: Detections, frame: Frame, watch: Stopwatch) -> Detections:
        """With the known faces that the search missed and that are seen where they should be."""
        with watch("track"):
            _, boxes = self.tracker.predict(frame.captured_ns, size=self._size)
        missed = iou_matrix(boxes, faces.boxes).max(axis=1, initial=0) < KNOWN_IOU_MIN
        if self.refiner is None or not missed.any():
            return faces
        with watch("refine"):
            again = self.refiner.refine(picture_for(self.refiner, frame), boxes[missed])
        return _together(faces, again[np.asarray(again.scores > 0, np.bool_)])

    def _search_large(self, detector: LargeFirst, frame: Frame, watch: Stopwatch) -> Steps[Found]:
        """Known faces are followed, and large ones that are not among them found."""
        known = self._follow(frame, watch, every=True).faces
        faces = yield WantedSearch(frame, self.detector, None, watch, detector)
        known = known[np.asarray(known.scores > 0, np.bool_)]
        return self._tracked(_together(known, faces), frame, watch)

    def _tracked(self, faces: Detections, frame: Frame, watch: Stopwatch) -> Found:
        with watch("track"):
            tracks = self.tracker.update(faces, frame.captured_ns, size=self._size)
        numbered = tracks >= 0  # more faces than tracks are kept: the rest goes unnamed
        return Found(tracks[numbered], faces[numbered], searched=True)

    def _follow(self, frame: Frame, watch: Stopwatch, *, every: bool = False) -> Found:
        found, given_up = self._followed(frame, watch, every=every)
        if len(given_up):
            self.interval.lose(given_up)
        return found

    def _followed(
        self, frame: Frame, watch: Stopwatch, *, every: bool = False
    ) -> tuple[Found, I64]:
        """The known faces, and the tracks given up now. every: nobody moves on unseen, and all
        landmarks may be rough."""
        with watch("track"):
            tracks, boxes = self.tracker.predict(frame.captured_ns, size=self._size)
            lost, places = self.tracker.lost(frame.captured_ns)
        if self.refiner is None or not len(tracks) + len(lost):
            return Found(tracks, _only_boxes(boxes), searched=False), tracks[:0]
        with watch("track"):
            wanted = unseen = np.zeros(len(tracks), np.bool_)
            if self._second_look and self._wanted is not None and not every:
                wanted = np.array([track in self._wanted for track in tracks.tolist()], np.bool_)
                unseen = unseen.copy()
                unseen[~wanted] = self.tracker.coast(tracks[~wanted], frame.captured_ns)
            coasting, guesses = tracks[unseen], _only_boxes(boxes[unseen])
            tracks, boxes, wanted = tracks[~unseen], boxes[~unseen], wanted[~unseen]
        with watch("refine"):
            sharp = np.concatenate([wanted, np.zeros(len(lost), np.bool_)])
            faces = self._looked_at(frame, self.refiner, np.concatenate([boxes, places]), sharp)
            faces = without_doubles(faces, len(tracks))
        with watch("track"):
            tracks = np.concatenate([tracks, lost])
            given_up = self.tracker.advance(tracks, faces, frame.captured_ns)
        seen = faces.scores > 0
        tracks = np.concatenate([tracks[seen], coasting])
        faces = _joined([faces[seen], guesses])
        sharp = np.concatenate([sharp[seen], np.zeros(len(coasting), np.bool_)])
        order = np.argsort(tracks)  # the same on every frame
        return Found(tracks[order], faces[order], searched=False, sharp=sharp[order]), given_up

    def _looked_at(
        self, frame: Frame, refiner: Refiner, boxes: F32, sharp: BoolArray
    ) -> Detections:
        """The faces in known boxes (N, 4); those of `sharp` (N,) with exact landmarks."""
        if not len(boxes):
            return Detections.empty()
        picture, look = picture_for(refiner, frame), self._second_look
        if look is None or sharp.all():
            return refiner.refine(picture, boxes)
        if not sharp.any():
            return look.follow(picture, boxes)
        parts = [refiner.refine(picture, boxes[sharp]), look.follow(picture, boxes[~sharp])]
        order = np.concatenate([np.flatnonzero(sharp), np.flatnonzero(~sharp)])
        return _joined(parts)[np.argsort(order)]


def without_doubles(faces: Detections, known: int) -> Detections:
    """The faces, of which those after the first `known` are lost (score 0, landmarks NaN) where one
    that comes before was found in the same place."""
    if known == len(faces):  # as a rule
        return faces
    near = iou_matrix(faces.boxes[known:], faces.boxes) >= KNOWN_IOU_MIN
    before = np.arange(len(faces)) < np.arange(known, len(faces))[:, None]
    double = (near & before & (faces.scores > 0)).any(axis=1)
    if not double.any():
        return faces
    scores, landmarks = faces.scores.copy(), faces.landmarks.copy()
    rows = known + np.flatnonzero(double)
    scores[rows], landmarks[rows] = 0, np.nan
    return Detections(faces.boxes, scores, landmarks)


def _together(some: Detections, *more: Detections) -> Detections:
    """Some faces, and those of `more` that are none of them."""
    for each in more:
        near = iou_matrix(each.boxes, some.boxes).max(axis=1, initial=0)
        some = _joined([some, each[np.asarray(near < KNOWN_IOU_MIN, np.bool_)]])
    return some


def _joined(parts: Sequence[Detections]) -> Detections:
    parts = [part for part in parts if len(part)] or parts[:1]
    if len(parts) == 1:
        return parts[0]
    return Detections(
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.landmarks for part in parts]),
    )


def _covered(boxes: F32, areas: Sequence[Area]) -> BoolArray:
    """(N,) boxes that lie in one of the areas."""
    corners, edges = boxes[:, None], np.array(areas, np.float32)
    beyond = np.maximum(edges[:, :2] - corners[..., :2], corners[..., 2:] - edges[:, 2:])
    return np.asarray(beyond.max(axis=2).min(axis=1) <= 0, np.bool_)


def _complete(faces: Detections, area: Area, size: tuple[int, int]) -> Detections:
    """Without those that the edge of an area cuts, unless it is the frame's."""
    edges = np.array(area, np.float32)
    inner = np.flatnonzero(edges != np.array([0, 0, *size], np.float32))
    away = np.abs(faces.boxes - edges)[:, inner].min(axis=1, initial=EDGE_PX)
    return faces[np.asarray(away >= EDGE_PX, np.bool_)]


def _only_boxes(boxes: F32) -> Detections:
    count = len(boxes)
    return Detections(
        boxes, np.zeros(count, np.float32), np.full((count, 5, 2), np.nan, np.float32)
    )
