"""What is said about each track: evidence averaged, matched with the gallery, decided."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jetson_face.core.types import I64, BoolArray, Embeddings
from jetson_face.gallery.matcher import Matcher
from jetson_face.recognition.decision import Decider
from jetson_face.recognition.embedding_scheduler import AlignedCrops
from jetson_face.recognition.fusion import Fuser
from jetson_face.recognition.track_state import TrackStates
from jetson_face.recognition.withheld import is_withheld, without


class TrackDecisions:
    """Fuses the embeddings of each track and decides about it; writes both into its state.

    people: called with the frame's time, gives the gallery to match against; a new one when
    somebody was added. contradiction_below: cosine of a new vector to its track's mean below which
    it is another person's; doubted_below: the same where the face suddenly looked different.
    """

    def __init__(
        self,
        fuser: Fuser,
        decider: Decider,
        people: Callable[[int], Matcher],
        *,
        contradiction_below: float = 0.0,
        doubted_below: float | None = None,
    ) -> None:
        self.fuser, self.decider, self.people = fuser, decider, people
        self._below = contradiction_below
        self._doubted_below = contradiction_below if doubted_below is None else doubted_below
        self._revision = -1

    def contradicted(self, tracks: I64, vectors: Embeddings, states: TrackStates) -> BoolArray:
        """Which of the vectors (M, dim) show another person than their `tracks` (M,): (M,)."""
        doubted = [state.doubted for state in states.of(tracks)]
        least = np.where(doubted, self._doubted_below, self._below).astype(np.float32)
        return self.fuser.contradicted(tracks, vectors, least)

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
            state.doubted, state.in_vain = False, 0

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
            state.decision = self.decider.decide(
                state.decision, match, int(count), now_ns, matcher.thresholds
            )
            hidden = matcher.snapshot.withheld
            least = self.decider.withholds_from(int(count), matcher.thresholds)
            state.withheld = bool(hidden) and is_withheld(
                state.withheld, state.decision, match, hidden, least
            )
            state.match = without(match, hidden)
