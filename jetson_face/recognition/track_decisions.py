"""What is said about each track: evidence averaged, matched with the gallery, decided."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jetson_face.core.types import I64, Embeddings
from jetson_face.gallery.matcher import Matcher
from jetson_face.recognition.decision import Decider
from jetson_face.recognition.embedding_scheduler import AlignedCrops
from jetson_face.recognition.fusion import Fuser
from jetson_face.recognition.track_state import TrackStates


class TrackDecisions:
    """Fuses the embeddings of each track and decides about it; writes both into its state.

    people: called with the frame's time, gives the gallery to match against; a new one when
    somebody was added.
    """

    def __init__(self, fuser: Fuser, decider: Decider, people: Callable[[int], Matcher]) -> None:
        self.fuser, self.decider, self.people = fuser, decider, people
        self._revision = -1

    def fuse(
        self, tracks: I64, crops: AlignedCrops, vectors: Embeddings, states: TrackStates
    ) -> None:
        """Add the vectors (M, dim) of `tracks` (M,) to their averages."""
        if not len(tracks):
            return
        self.fuser.add(tracks, vectors, crops.quality)
        for state in states.of(tracks):
            state.waited = 0
            state.embeddings += 1

    def decide(self, tracks: I64, states: TrackStates, now_ns: int) -> None:
        """Match the tracks with new evidence; all of them when the gallery changed."""
        matcher = self.people(now_ns)
        if matcher.snapshot.revision != self._revision:
            self._revision = matcher.snapshot.revision
            tracks = np.array(states.ids(), np.int64)
        if not len(tracks):
            return
        counts = self.fuser.frames(tracks)
        found = self.fuser.match(tracks, matcher)
        for state, match, count in zip(states.of(tracks), found, counts, strict=True):
            state.match = match
            state.decision = self.decider.decide(
                state.decision, match, int(count), now_ns, matcher.thresholds
            )
