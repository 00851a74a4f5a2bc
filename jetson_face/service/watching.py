"""Annotated frames for who watches: made when somebody asks, and not before."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import cv2

from jetson_face.core.types import Frame, ImageU8, Report, Sighting, bgr
from jetson_face.core.widths import width_for
from jetson_face.detection.shrink import shrink_fast
from jetson_face.factory.parts import Parts
from jetson_face.output.overlay import draw
from jetson_face.service.http import Folders, Page, problem
from jetson_face.service.walking import face_page
from jetson_face.util.idle import IDLE_MIN, IdleShare

WATCHED_S = 2.0
"""A camera counts as watched for so long after somebody asked for its frame."""
SHARE = 0.03
"""Shrinking, drawing and encoding takes at most so much of the processor, all cores together,
however many cameras and widths are watched: the rest is fewer pictures a second."""
BUSY_SHARE = 0.005
"""The same where less than IDLE_MIN of the processor is idle: with 0.015 one viewer cost a
recogniser at its limit 3.4 % of its decision rate."""
_QUALITY = 80


@dataclass(slots=True, eq=False)
class _View:
    """A camera at one width. due: no picture is made before. seq: the frame of `page`."""

    until: float = 0.0
    due: float = 0.0
    seq: int = -1
    page: Page | None = None


class Watching:
    """The newest frame of each watched camera, with what was said about it.

    The recogniser hands over two references a frame, and only while somebody watches; drawing and
    encoding are done in the thread of who asks, once for all who ask for the same, and seldom
    enough for `SHARE`. parts: those in force, asked for once there is a frame. spent: processor
    time of the calling thread, seconds. idle: share of the processor that nobody uses.
    """

    def __init__(
        self,
        parts: Callable[[], Parts],
        clock: Callable[[], float] = time.monotonic,
        spent: Callable[[], float] = time.thread_time,
        idle: Callable[[], float] | None = None,
    ) -> None:
        self._parts, self._clock, self._spent = parts, clock, spent
        self._idle = idle or IdleShare()
        self._cores = len(os.sched_getaffinity(0))
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}
        self._newest: dict[str, tuple[Frame, Report]] = {}
        self._views: dict[tuple[str, int], _View] = {}

    @property
    def folders(self) -> Folders:
        """What the status socket answers."""
        return {"/frames/": self.page, "/faces/": self.face}

    def offer(self, frame: Frame, report: Report) -> None:
        """In the recogniser's thread, after each frame."""
        until = self._until.get(frame.source)
        if until is None:
            return
        with self._lock:
            if self._clock() > until:
                # Nobody looks any more: the picture's memory goes.
                self._until.pop(frame.source, None)
                self._newest.pop(frame.source, None)
                for key in [key for key in self._views if key[0] == frame.source]:
                    del self._views[key]
            else:
                self._newest[frame.source] = frame, report

    def page(self, source: str, query: Mapping[str, str]) -> Page:
        """The newest frame: one line of JSON about it, then a JPEG. 204 while there is none, none
        after frame `after`, or no time for one; for the next one there is time after `next_s`.
        width: at most so many pixels wide."""
        after, width = query.get("after", "-1"), query.get("width", "960")
        if not re.fullmatch(r"-?[0-9]{1,15}", after) or not re.fullmatch(r"[0-9]{1,5}", width):
            return problem(400, "after and width are whole numbers")
        wide = width_for(int(width))
        newest, now = self._look(source), self._clock()
        with self._lock:
            for key in [key for key, view in self._views.items() if view.until < now]:
                del self._views[key]
            view, watched = self._views.setdefault((source, wide), _View()), len(self._views)
        view.until = now + WATCHED_S
        if newest is None or newest[0].seq == int(after):
            return Page(204, b"")
        if now >= view.due and newest[0].seq != view.seq:
            began = self._spent()
            head, picture = _annotated(*newest, wide)
            share = SHARE if self._idle() >= IDLE_MIN else BUSY_SHARE
            pause_s = (self._spent() - began) * watched / (share * self._cores)
            head["next_s"] = round(pause_s, 3)
            made = Page(
                200, json.dumps(head).encode() + b"\n" + picture, "application/octet-stream"
            )
            # Both at once: another thread that asks meanwhile gets the one before, as that.
            view.seq, view.page, view.due = newest[0].seq, made, now + pause_s
        return Page(204, b"") if view.page is None or view.seq == int(after) else view.page

    def face(self, source: str, query: Mapping[str, str]) -> Page:
        """See `face_page`, of the newest frame; 204 as with `page`."""
        after = query.get("after", "-1")
        if not re.fullmatch(r"-?[0-9]{1,15}", after):
            return problem(400, "after is a whole number")
        newest = self._look(source)
        if newest is None or newest[0].seq == int(after):
            return Page(204, b"")
        return face_page(*newest, self._parts)

    def _look(self, source: str) -> tuple[Frame, Report] | None:
        """The newest frame of a camera, which from now on is watched."""
        with self._lock:
            self._until[source] = self._clock() + WATCHED_S
            return self._newest.get(source)


def _annotated(frame: Frame, report: Report, width: int) -> tuple[dict[str, Any], bytes]:
    head = {
        "seq": frame.seq,
        "time": frame.wall,
        "size": list(report.size),
        "searched": report.searched,
        "faces": [_plain(one) for one in report.sightings],
    }
    # Converted when it is small: BGRx of the whole frame takes as long as all the rest.
    across, down = frame.size
    small, share = shrink_fast(frame.pixels, round(width * max(1.0, down / across)))
    return head, _jpeg(draw(bgr(small), [_scaled(one, share) for one in report.sightings]))


def _jpeg(image: ImageU8) -> bytes:
    """By OpenCV, which lets the recogniser's thread go on meanwhile: Pillow takes five times as
    long, and lets no other thread run."""
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise ValueError(f"OpenCV cannot encode a picture of {image.shape}")
    return bytes(data)


def _scaled(face: Sighting, share: float) -> Sighting:
    x1, y1, x2, y2 = (edge * share for edge in face.box)
    return replace(face, box=(x1, y1, x2, y2))


def _plain(face: Sighting) -> dict[str, Any]:
    return {
        "track": face.track,
        "state": face.state,
        "name": None if face.person is None else face.person.name,
        "person": None if face.person is None else face.person.id,
        "similarity": None if face.similarity is None else round(face.similarity, 4),
        "box": [round(edge, 1) for edge in face.box],
    }
