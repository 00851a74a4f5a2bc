"""Annotated frames for who watches: made when somebody asks, and not before."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import cv2

from jetson_face.core.types import Frame, ImageU8, Report, Sighting
from jetson_face.output.overlay import draw
from jetson_face.service.http import Folders, Page, problem
from jetson_face.service.walking import FaceParts, Walking
from jetson_face.util.images import encode_jpeg

WATCHED_S = 2.0
"""A camera counts as watched for so long after somebody asked for its frame."""
_WIDTHS = (320, 640, 960, 1280, 1920)
_QUALITY = 80


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    key: tuple[int, int]
    page: Page


class Watching:
    """The newest frame of each watched camera, with what was said about it.

    The recogniser hands over two references a frame, and only while somebody watches; drawing and
    encoding are done in the thread of who asks, once for all who ask for the same. parts: those in
    force, asked for once there is a frame.
    """

    def __init__(
        self, parts: Callable[[], FaceParts], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._walking, self._clock = Walking(parts), clock
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}
        self._newest: dict[str, tuple[Frame, Report]] = {}
        self._made: dict[str, _Made] = {}

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
                for kept in (self._until, self._newest, self._made):
                    kept.pop(frame.source, None)
            else:
                self._newest[frame.source] = frame, report

    def page(self, source: str, query: Mapping[str, str]) -> Page:
        """The newest frame: one line of JSON about it, then a JPEG. 204 while there is none, or
        none after frame `after`. width: at most so many pixels wide."""
        after, width = query.get("after", "-1"), query.get("width", "960")
        if not re.fullmatch(r"-?[0-9]{1,15}", after) or not re.fullmatch(r"[0-9]{1,5}", width):
            return problem(400, "after and width are whole numbers")
        wide = next((one for one in _WIDTHS if one >= int(width)), _WIDTHS[-1])
        newest, made = self._look(source), self._made.get(source)
        if newest is None or newest[0].seq == int(after):
            return Page(204, b"")
        frame, report = newest
        if made is None or made.key != (frame.seq, wide):
            made = _Made((frame.seq, wide), _page(frame, report, wide))
            with self._lock:
                self._made[source] = made
        return made.page

    def face(self, source: str, query: Mapping[str, str]) -> Page:
        """See `Walking.page`, of the newest frame; 204 as with `page`."""
        after = query.get("after", "-1")
        if not re.fullmatch(r"-?[0-9]{1,15}", after):
            return problem(400, "after is a whole number")
        newest = self._look(source)
        if newest is None or newest[0].seq == int(after):
            return Page(204, b"")
        return self._walking.page(*newest)

    def _look(self, source: str) -> tuple[Frame, Report] | None:
        """The newest frame of a camera, which from now on is watched."""
        with self._lock:
            self._until[source] = self._clock() + WATCHED_S
            return self._newest.get(source)


def _page(frame: Frame, report: Report, width: int) -> Page:
    head = {
        "seq": frame.seq,
        "time": frame.wall,
        "size": list(report.size),
        "searched": report.searched,
        "faces": [_plain(one) for one in report.sightings],
    }
    small, share = _small(frame.image, width)
    picture = encode_jpeg(
        draw(small, [_scaled(one, share) for one in report.sightings]), quality=_QUALITY
    )
    return Page(200, json.dumps(head).encode() + b"\n" + picture, "application/octet-stream")


def _small(image: ImageU8, width: int) -> tuple[ImageU8, float]:
    """At most so wide, and by how much smaller: what is drawn on and encoded costs by its size."""
    share = width / image.shape[1]
    if share >= 1:
        return image, 1.0
    size = width, round(image.shape[0] * share)
    small: ImageU8 = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return small, share


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
