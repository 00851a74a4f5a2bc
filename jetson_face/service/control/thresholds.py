"""What each threshold would mean, by the gallery's own faces: strangers named, people found."""

from __future__ import annotations

from typing import Any

import numpy as np

from jetson_face.calibration.fpir import RateWithInterval, Scores, correctly_identified, named
from jetson_face.calibration.leave_one_out import ask_as_known, ask_as_strangers
from jetson_face.factory.parts import build_matcher
from jetson_face.gallery.matcher import GallerySnapshot, Matcher
from jetson_face.service.control.desk import Desk, same_person_min
from jetson_face.service.control.http import ControlError, ControlRequest, Reply, Route

_METHODS = ("cosine", "knn")
_TEMPLATES_MAX = 5000
_STEPS = 41


class Thresholds:
    """`GET /tuning/thresholds`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.routes: tuple[Route, ...] = (("GET", "/tuning/thresholds", self.show),)

    def show(self, request: ControlRequest) -> Reply:
        """For thresholds between 0.1 and 0.9: the share of strangers' faces that would get a name
        (FPIR), each enrolled person counting as a stranger to the others, and of the enrolled
        people's faces that would get the right one, both with their 95 % intervals."""
        config = self._desk.config
        if config.matching.method not in _METHODS:
            raise ControlError(
                409, f"not for matching by {config.matching.method}: run `jetson-face calibrate`"
            )
        with self._desk.gallery() as (_, store):
            snapshot = store.snapshot()
        if snapshot.template_count > _TEMPLATES_MAX:
            raise ControlError(
                409, "the gallery is too large for this: run `jetson-face calibrate`"
            )
        same, margin = same_person_min(config), config.matching.margin_min

        def enrol(part: GallerySnapshot) -> Matcher:
            return build_matcher(config, part, same)

        strangers = ask_as_strangers(snapshot, enrol, margin_min=margin)
        known = ask_as_known(snapshot, enrol, margin_min=margin)
        points = [_point(t, strangers, known) for t in np.linspace(0.1, 0.9, _STEPS).tolist()]
        return Reply.of({"strangers": len(strangers), "known": len(known), "points": points})


def _point(threshold: float, strangers: Scores, known: Scores) -> dict[str, Any]:
    return {
        "similarity_min": round(threshold, 4),
        "fpir": _plain(named(strangers, threshold)),
        "correctly_identified": _plain(correctly_identified(known, threshold)),
    }


def _plain(rate: RateWithInterval) -> dict[str, Any] | None:
    if not rate.faces:
        return None
    return {"share": rate.share, "low": rate.low, "high": rate.high, "faces": rate.faces}
