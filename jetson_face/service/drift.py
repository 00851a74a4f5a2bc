"""The similarities of a running service's unnamed faces, held against what the curve expects."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from typing import Any

from jetson_face.calibration.drift import DriftEvent, SimilarityDrift
from jetson_face.calibration.impostor_curve import GallerySize
from jetson_face.core.types import Frame, Report, Sighting
from jetson_face.events.recorder import EventRecorder
from jetson_face.factory.threshold import curve_of, threshold_in_force
from jetson_face.service.events import own_event
from jetson_face.service.swap import Deck, HotSwap

logger = logging.getLogger(__name__)
_TRACKS = 1000


class ServiceDrift:
    """Looks at each track once, when it is first said to be unknown. An event and a log line where
    the similarities drift; the service goes on.

    Without an impostor curve, or with `matching.drift_faces` 0, it looks at nothing. It begins
    again when the gallery or the configuration changed: both change what is expected.
    """

    def __init__(self, swap: HotSwap, recorder: EventRecorder) -> None:
        self._swap, self._recorder = swap, recorder
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._for: tuple[object, int] | None = None
        self._watch: SimilarityDrift | None = None
        self._moved = 0.0

    def see(self, frame: Frame, report: Report) -> None:
        """The faces of a frame; for the recogniser's thread."""
        fresh = [s for s in report.sightings if s.state == "unknown" and s.similarity is not None]
        if not fresh:
            return
        with self._lock:
            for sighting in fresh:
                key = frame.source, sighting.track
                if key not in self._known:
                    self._known[key] = None
                    self._look(sighting)
            while len(self._known) > _TRACKS:
                self._known.popitem(last=False)

    def document(self) -> dict[str, Any]:
        """For the page `/status`."""
        watch = self._watch
        if watch is None:
            return {"state": "not watched"}
        return {"state": "drifted" if watch.drifted else "ok", "share": watch.share}

    def _look(self, sighting: Sighting) -> None:
        deck = self._swap.deck
        snapshot = deck.people.snapshot
        curve = curve_of(deck.deciding, snapshot.space)
        now = (deck, snapshot.revision)
        if now != self._for:
            self._for, self._watch = now, self._begin(deck)
        if self._watch is None or curve is None or sighting.similarity is None:
            return
        size = GallerySize.of(snapshot, deck.deciding.matching.top_k)
        rate = curve.fpir(sighting.similarity - self._moved, size, sighting.frames)
        event = self._watch.see(rate)
        if event is not None:
            self._tell(event)

    def _begin(self, deck: Deck) -> SimilarityDrift | None:
        wanted, snapshot = deck.config.matching, deck.people.snapshot
        curve = curve_of(deck.deciding, snapshot.space)
        if curve is None or not wanted.drift_faces or not snapshot.people:
            return None
        least = deck.parts.embedder.similarity_min
        force = threshold_in_force(deck.config, deck.deciding, snapshot, least)
        size = GallerySize.of(snapshot, deck.deciding.matching.top_k)
        site = force.source == "site calibration"
        # what a site's calibration found is what is expected there
        self._moved = force.similarity_min - curve.threshold(wanted.fpir, size) if site else 0.0
        fpir = wanted.fpir if force.fpir is None else force.fpir
        return SimilarityDrift(wanted.drift_faces, fpir)

    def _tell(self, event: DriftEvent) -> None:
        log = logger.warning if event.state == "drifted" else logger.info
        log("similarity_%s %s", event.state, event)
        said = own_event("similarity", time.time(), **event.to_json(), text=str(event))
        self._recorder.append([said])
