"""What a decider said about the people of labelled clips, counted by track and by second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from jetson_face.benchmark.clips.scenarios import FPS, NO_FACES, TrackClip
from jetson_face.benchmark.ground_truth import VISIBLE_MIN, TrueFace, match_faces
from jetson_face.core.types import Report, Sighting

AFTER_CUT = 12
"""Frames after a cut in which a false name counts as carried over it."""
_EVENT_STATES = ("known", "unknown", "review")
Figures: TypeAlias = dict[str, float | None]


@dataclass(slots=True, eq=False)
class ClipTally:
    """Counts of one clip. waits: seconds to the first right name, by enrolled appearance; the whole
    length of one that never had it."""

    counts: Counter[str] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Appearances:
    """What is known of the actors and tracks of a clip while it is counted."""

    first: dict[int, int] = field(default_factory=dict)
    last: dict[int, int] = field(default_factory=dict)
    enrolled: set[int] = field(default_factory=set)
    right: dict[int, int] = field(default_factory=dict)
    false: set[int] = field(default_factory=set)
    actor_of: dict[int, int] = field(default_factory=dict)
    mixed: set[int] = field(default_factory=set)
    track_of: dict[int, int] = field(default_factory=dict)


def tally(clip: TrackClip, reports: Iterable[Report]) -> ClipTally:
    """Compare a run over a clip with its ground truth.

    A name is on the wrong face where the face is another person's, a non-enrolled person's, hardly
    visible under somebody else, or no face at all. A name on a box that was only predicted counts
    as any other: it is drawn.
    """
    made, seen = ClipTally(), _Appearances()
    for report in reports:
        _count_frame(made.counts, seen, clip, report)
    made.counts["appearances"] = len(seen.first)
    made.counts["enrolled"] = len(seen.enrolled)
    made.counts["ever right"] = len(seen.right)
    made.counts["ever false"] = len(seen.false)
    made.counts["milliseconds"] = round(1000 * clip.seconds)
    for actor in sorted(seen.enrolled):
        named = seen.right.get(actor, seen.last[actor] + 1)
        made.waits.append((named - seen.first[actor]) / FPS)
    return made


def _count_frame(counts: Counter[str], seen: _Appearances, clip: TrackClip, report: Report) -> None:
    faces = clip.faces[report.seq]
    pairs = match_faces(report.sightings, faces)
    wrong, carried = 0, 0
    for index, face in enumerate(faces):
        if face.visible >= VISIBLE_MIN:
            seen.first.setdefault(face.actor, report.seq)
            seen.last[face.actor] = report.seq
            counts["faces"] += 1
            counts["nameable"] += face.name is not None
            if face.name is not None:
                seen.enrolled.add(face.actor)
        sighting = pairs.get(index)
        if sighting is not None:
            _count_track(counts, seen, face, sighting)
            false = _count_name(counts, seen, face, sighting, report.seq)
            wrong += false
            carried += false and sighting.track in seen.mixed
    taken = {id(sighting) for sighting in pairs.values()}
    for sighting in report.sightings:
        if id(sighting) not in taken:
            wrong += sighting.state == "known"
            event = sighting.changed and sighting.state in _EVENT_STATES
            counts["non-face events"] += event
    counts["wrong names"] += wrong
    counts["wrong frames"] += wrong > 0
    counts["carried frames"] += carried > 0
    near = any(0 <= report.seq - cut < AFTER_CUT for cut in clip.cuts)
    counts["wrong frames after a cut"] += wrong > 0 and near


def _count_track(
    counts: Counter[str], seen: _Appearances, face: TrueFace, sighting: Sighting
) -> None:
    """An identity switch: a track goes over to another person; a split: the person's track ends and
    another goes on."""
    before = seen.actor_of.get(sighting.track, face.actor)
    if before != face.actor:
        counts["identity switches"] += 1
        seen.mixed.add(sighting.track)
    seen.actor_of[sighting.track] = face.actor
    old = seen.track_of.get(face.actor, sighting.track)
    counts["splits"] += old != sighting.track
    seen.track_of[face.actor] = sighting.track


def _count_name(
    counts: Counter[str], seen: _Appearances, face: TrueFace, sighting: Sighting, frame: int
) -> bool:
    """Whether the name is wrong."""
    if sighting.state != "known" or sighting.person is None:
        return False
    if sighting.person.name != face.name:
        seen.false.add(face.actor)
        return True
    if face.visible >= VISIBLE_MIN:
        counts["right names"] += 1
        seen.right.setdefault(face.actor, frame)
    return False


def figures(tallies: Sequence[ClipTally]) -> Figures:
    """The figures of some clips together; None for a share of nothing.

    named: share of the visible face-frames of enrolled people with their name. false_s_per_min:
    seconds that a wrong name is shown in each minute of clip. right_tracks, false_tracks: share of
    the enrolled appearances that ever had their name, of all that ever had a wrong one.
    time_to_name_s: mean, the whole length of an appearance that never had its name.
    carried_frames: with a wrong name on a track that was another person's before.
    non_face_events_per_h: an hour of clip. The rest are counts.
    """
    counts: Counter[str] = Counter()
    waits: list[float] = []
    for made in tallies:
        counts.update(made.counts)
        waits += made.waits
    minutes = counts["milliseconds"] / 60_000
    return {
        "named": _share(counts["right names"], counts["nameable"]),
        "false_s_per_min": counts["wrong names"] / FPS / minutes if minutes else None,
        "right_tracks": _share(counts["ever right"], counts["enrolled"]),
        "false_tracks": _share(counts["ever false"], counts["appearances"]),
        "time_to_name_s": sum(waits) / len(waits) if waits else None,
        "wrong_frames": float(counts["wrong frames"]),
        "carried_frames": float(counts["carried frames"]),
        "wrong_frames_after_cut": float(counts["wrong frames after a cut"]),
        "identity_switches": float(counts["identity switches"]),
        "splits": float(counts["splits"]),
        "non_face_events": float(counts["non-face events"]),
        "non_face_events_per_h": counts["non-face events"] / minutes * 60 if minutes else None,
    }


def without_posters(by_kind: Mapping[str, Sequence[ClipTally]]) -> list[ClipTally]:
    """Those of all clips with real faces, and of none: a printed face is a row of its own."""
    return [made for kind, rows in by_kind.items() if kind != NO_FACES[1] for made in rows]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
