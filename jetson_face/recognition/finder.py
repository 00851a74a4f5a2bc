"""Where the faces of a frame are, and which track each belongs to: searched or followed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jetson_face.core.types import F32, I64, Detections, Frame
from jetson_face.detection.detector import Detector, Refiner, picture_for
from jetson_face.recognition.detection_interval import DetectionInterval
from jetson_face.recognition.scene_cut import SceneCuts
from jetson_face.recognition.stopwatch import Stopwatch
from jetson_face.recognition.tracker import Tracker


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The faces of one frame. tracks: (N,) the id of each one's track. searched: a full detection
    ran; otherwise the faces were followed, and one of which only a predicted box is known has
    score 0 and landmarks NaN."""

    tracks: I64
    faces: Detections
    searched: bool


class FaceFinder:
    """Searches one frame in N, and follows each face on the frames between, in order.

    refiner: finds a face again near its predicted box; None: boxes are only predicted. stills:
    each frame stands alone, no face is followed from one to the next. cuts: all tracks end where
    it sees another scene, which is searched at once.
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
    ) -> None:
        self.detector, self.refiner = detector, refiner
        self.interval, self.tracker = interval, tracker
        self._stills = stills
        self._cuts = cuts
        self._size: tuple[int, int] | None = None

    def find(self, frame: Frame, watch: Stopwatch) -> Found:
        """The faces of the frame that comes now."""
        other = self._cuts is not None and self._cuts.is_cut(frame.pixels)
        if other or self._stills or self._size not in (None, frame.size):
            self.tracker.reset()
            self.interval.reset()
        self._size = frame.size
        return self._search(frame, watch) if self.interval.next() else self._follow(frame, watch)

    def alive(self) -> set[int]:
        """Tracks that may still come back: what is worth remembering."""
        return {int(track) for track in self.tracker.alive()}

    def take_over(self, older: FaceFinder) -> None:
        """Go on with another finder's tracks."""
        self.tracker, self._size = older.tracker, older._size

    def _search(self, frame: Frame, watch: Stopwatch) -> Found:
        with watch("detect"):
            faces = self.detector.detect(picture_for(self.detector, frame))
        with watch("track"):
            tracks = self.tracker.update(faces, frame.captured_ns, size=self._size)
        numbered = tracks >= 0  # more faces than tracks are kept: the rest goes unnamed
        return Found(tracks[numbered], faces[numbered], searched=True)

    def _follow(self, frame: Frame, watch: Stopwatch) -> Found:
        with watch("track"):
            tracks, boxes = self.tracker.predict(frame.captured_ns, size=self._size)
        if self.refiner is None or not len(tracks):
            return Found(tracks, _only_boxes(boxes), searched=False)
        with watch("refine"):
            faces = self.refiner.refine(picture_for(self.refiner, frame), boxes)
        with watch("track"):
            lost = self.tracker.advance(tracks, faces, frame.captured_ns)
        if len(lost):
            self.interval.lose(lost)
        seen = faces.scores > 0
        return Found(tracks[seen], faces[seen], searched=False)


def _only_boxes(boxes: F32) -> Detections:
    count = len(boxes)
    return Detections(
        boxes, np.zeros(count, np.float32), np.full((count, 5, 2), np.nan, np.float32)
    )
