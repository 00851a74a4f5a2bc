"""When a face gets a name, keeps it and loses it: a pure state machine with hysteresis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jetson_face.core.types import Match, Person, State


@dataclass(frozen=True, slots=True)
class Decision:
    """What is said about one track.

    similarity: cosine to `person`, or to the nearest person while there is none; None before any
    match. changed: state or person differ from the decision before. since_ns: when this state
    and person began, monotonic. clear: known or unknown, and not by little: a few more embeddings
    would hardly change it.
    """

    state: State
    person: Person | None
    similarity: float | None
    changed: bool
    since_ns: int
    clear: bool = False


def undecided(now_ns: int) -> Decision:
    """Where every track starts: pending, nothing said yet."""
    return Decision("pending", None, None, False, now_ns)


def clearly_below(similarity_min: float) -> float:
    """The cosine below which nobody is nearly named: a quarter of the way from the threshold to
    what two strangers have, taken as symmetric to 1; 0.27 for a threshold of 0.42."""
    return similarity_min - (1 - similarity_min) / 4


class Decider:
    """Turns a track's match into a decision; keeps no state of its own.

    similarity_min: cosine at or above which a face gets a name. similarity_leave: a known face
    keeps its name down to here (default: similarity_min; lower gives hysteresis). margin_min:
    cosine lead over the second person that a name needs; margin_leave: the lead that keeps it
    (default: half of margin_min). frames_min: embeddings averaged before a name is given.
    unknown_after: embeddings before `unknown` or `review` is said. review_margin: this far below
    similarity_min, and where two people are too near each other, a person reviews; None: no
    review, the first are `unknown` and the second `pending`. withhold_margin: this far below
    similarity_min a face counts as one of the do-not-recognise list.

    Raises ValueError when a leaving bound is stricter than the entering one.
    """

    def __init__(
        self,
        similarity_min: float,
        *,
        similarity_leave: float | None = None,
        margin_min: float = 0.0,
        margin_leave: float | None = None,
        frames_min: int = 1,
        unknown_after: int = 3,
        review_margin: float | None = None,
        withhold_margin: float = 0.0,
    ) -> None:
        self.similarity_min = similarity_min
        self.similarity_leave = similarity_min if similarity_leave is None else similarity_leave
        self.margin_min = margin_min
        self.margin_leave = margin_min / 2 if margin_leave is None else margin_leave
        self.frames_min = frames_min
        self.unknown_after = unknown_after
        self.review_margin, self.withhold_margin = review_margin, withhold_margin
        if self.similarity_leave > similarity_min or self.margin_leave > margin_min:
            raise ValueError("a name must not be harder to keep than to get")
        if frames_min < 1 or unknown_after < 1:
            raise ValueError("frames_min and unknown_after are 1 or more")
        if review_margin is not None and review_margin < 0:
            raise ValueError("review_margin is 0 or more")

    def decide(
        self,
        previous: Decision,
        match: Match,
        frames: int,
        now_ns: int,
        thresholds: Sequence[float] | None = None,
    ) -> Decision:
        """The decision after `frames` embeddings of a track, whose mean matches as `match` says.

        thresholds: cosines for 1, 2, … embeddings in place of similarity_min; the last holds for
        more. similarity_leave is as far below them.

        A name is given when similarity, margin and frames suffice; kept while the same person
        stays nearest within the leaving bounds; taken back otherwise. `unknown` needs
        `unknown_after` embeddings and a similarity below the bound; it then stays until a name is
        given or the track's evidence starts again. An ambiguous face (similar enough, no margin) is
        not nobody: it is for `review`, as is one that is less than `review_margin` below the bound.
        """
        if frames < 1:
            return self._next(previous, "pending", None, None, now_ns)
        similarity = None if match.person is None else match.similarity
        least = self._least(frames, thresholds)
        named = self._gets_name(match, frames, least)
        if named or self._keeps_name(previous, match, least):
            return self._next(previous, "known", match.person, similarity, now_ns, clear=named)
        if frames < self.unknown_after:
            return self._next(previous, "pending", None, similarity, now_ns)
        review_from = least - (self.review_margin or 0.0)
        below = similarity is None or similarity < review_from
        ambiguous: State = "pending" if self.review_margin is None else "review"
        state: State = "unknown" if below or previous.state == "unknown" else ambiguous
        far = similarity is None or similarity < clearly_below(least)
        clear = state == "unknown" and far
        return self._next(previous, state, None, similarity, now_ns, clear=clear)

    def withholds_from(self, frames: int, thresholds: Sequence[float] | None = None) -> float:
        """The cosine from which a face counts as one of the do-not-recognise list."""
        return self._least(max(1, frames), thresholds) - self.withhold_margin

    def _least(self, frames: int, thresholds: Sequence[float] | None) -> float:
        if not thresholds:
            return self.similarity_min
        return thresholds[min(frames, len(thresholds)) - 1]

    def _gets_name(self, match: Match, frames: int, least: float) -> bool:
        return (
            match.person is not None
            and frames >= self.frames_min
            and match.similarity >= least
            and match.margin >= self.margin_min
        )

    def _keeps_name(self, previous: Decision, match: Match, least: float) -> bool:
        leave = least - (self.similarity_min - self.similarity_leave)
        return (
            previous.state == "known"
            and previous.person is not None
            and match.person is not None
            and match.person.id == previous.person.id
            and match.similarity >= leave
            and match.margin >= self.margin_leave
        )

    @staticmethod
    def _next(
        previous: Decision,
        state: State,
        person: Person | None,
        similarity: float | None,
        now_ns: int,
        *,
        clear: bool = False,
    ) -> Decision:
        before = None if previous.person is None else previous.person.id
        changed = state != previous.state or (None if person is None else person.id) != before
        return Decision(
            state, person, similarity, changed, now_ns if changed else previous.since_ns, clear
        )
