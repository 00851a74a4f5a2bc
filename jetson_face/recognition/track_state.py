"""What is remembered of each face while it is in view."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from jetson_face.core.types import I64, NO_MATCH, Match, State
from jetson_face.recognition.decision import Decision, undecided
from jetson_face.recognition.withheld import nobody

LOOKS_MAX = 25
"""A face that comes nearer is soon as sure as it is now."""


@dataclass(slots=True)
class TrackState:
    """One track. waited: frames since it was last embedded, or since it began. embeddings: how
    often it was. reported: state and person id of its last sighting: a difference is an event.
    in_review: it was a review candidate already; as_unknown: it was reported as an `UnknownFace`.
    doubted: the face suddenly looked different, and was not embedded since. withheld: it must not
    be named or kept. in_vain: its last crops, so many in a row, were too poor or showed nobody.
    rest: frames until it is tried again. score: the detector's, the mean of the last LOOKS_MAX
    looks, of which `looks` were taken."""

    decision: Decision
    match: Match = NO_MATCH
    waited: int = 0
    embeddings: int = 0
    reported: tuple[State, str | None] = ("pending", None)
    in_review: bool = False
    as_unknown: bool = False
    doubted: bool = False
    withheld: bool = False
    in_vain: int = 0
    rest: int = 0
    score: float = 0.0
    looks: int = 0

    def seen(self, score: float) -> None:
        """The detector or the refiner saw its face; score 0: only its box was predicted."""
        if score > 0:
            self.looks = min(self.looks + 1, LOOKS_MAX)
            self.score += (score - self.score) / self.looks

    def tried_in_vain(self, rest_max: int) -> None:
        """Its crop was good for nothing: try again after a frame, then after more, up to a limit.

        Faces too small or turned away were half of what was embedded on the crowd clip.
        """
        self.in_vain += 1
        self.rest = min(2**self.in_vain, rest_max)

    def doubt(self) -> None:
        """The face suddenly looks different: it is wanted now."""
        if not self.doubted:
            self.doubted, self.in_vain, self.rest = True, 0, 0

    @property
    def told(self) -> Decision:
        """The decision as it may be told."""
        return nobody(self.decision) if self.withheld else self.decision


class TrackStates:
    """The states of one source's tracks, by id."""

    def __init__(self) -> None:
        self._states: dict[int, TrackState] = {}

    def __getitem__(self, track: int) -> TrackState:
        return self._states[int(track)]

    def __len__(self) -> int:
        return len(self._states)

    def ids(self) -> list[int]:
        """All tracks, in order."""
        return sorted(self._states)

    def of(self, tracks: I64) -> list[TrackState]:
        """The states of some tracks, in their order."""
        return [self._states[track] for track in tracks.tolist()]

    def next_frame(self, tracks: Iterable[int], now_ns: int) -> None:
        """A frame with these tracks came: begin a state for each new one; all waited once more."""
        self.begin(tracks, now_ns)
        for state in self._states.values():
            state.waited += 1
            state.rest = max(0, state.rest - 1)

    def begin(self, tracks: Iterable[int], now_ns: int) -> None:
        """Begin a state for each of these tracks that has none."""
        for track in tracks:
            if int(track) not in self._states:
                self._states[int(track)] = TrackState(undecided(now_ns))

    def keep_only(self, alive: set[int]) -> bool:
        """Forget every track but these; whether any was forgotten."""
        if self._states.keys() <= alive:
            return False
        self._states = {track: state for track, state in self._states.items() if track in alive}
        return True
