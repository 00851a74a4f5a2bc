"""Faces of people who must not be recognised: told as nobody's, whatever the gallery says."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from jetson_face.core.types import Match
from jetson_face.recognition.decision import Decision


def is_withheld(
    before: bool, decision: Decision, match: Match, people: Collection[str], similarity_min: float
) -> bool:
    """Whether a face may not be named or kept. before: what was said of its track.

    It may not when it is decided to be one of the people (ids), or is nobody's for sure and one of
    them is the nearest or the second with `similarity_min` (cosine) or more: a face that is named
    wrongly can be corrected, one that is kept against somebody's will was kept. That holds until it
    is surely somebody else.
    """
    if decision.person is not None:
        return decision.person.id in people
    if before or decision.state == "pending":
        return before
    return any(
        one.person.id in people and one.similarity >= similarity_min for one in match.candidates[:2]
    )


def without(match: Match, people: Collection[str]) -> Match:
    """The match with none of the people (ids) among its candidates."""
    if not any(one.person.id in people for one in match.candidates):
        return match
    left = tuple(one for one in match.candidates if one.person.id not in people)
    return replace(match, candidates=left)


def nobody(decision: Decision) -> Decision:
    """What is told in place of a decision about a withheld face."""
    return replace(decision, state="unknown", person=None, similarity=None)
