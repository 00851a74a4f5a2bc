"""The report of `eval tracks`: figures with intervals, by decider and by kind of clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jetson_face.evaluation import report
from jetson_face.evaluation.bootstrap import bootstrap, draw_rows
from jetson_face.evaluation.track_tally import ClipTally, Figures, figures, without_posters

ByDecider = Mapping[str, Mapping[str, Sequence[ClipTally]]]

_COLUMNS = {
    "named": "named",
    "false_s_per_min": "false name, s/min",
    "right_tracks": "tracks ever rightly named",
    "false_tracks": "ever falsely",
    "time_to_name_s": "time to name, s",
    "wrong_frames": "frames with a wrong name",
    "carried_frames": "of these carried over from another face",
    "wrong_frames_after_cut": "within half a second of a cut",
    "identity_switches": "identity switches",
    "splits": "splits",
    "non_face_events": "events that are no face",
}
_SHARES = ("named", "right_tracks", "false_tracks")
_INTERVALS = ("named", "false_s_per_min", "false_tracks", "time_to_name_s")

RULES = (
    "Named: share of the visible face-frames (half of the face or more) of enrolled people with "
    "their name; false name: seconds that a wrong name is shown in each minute of clip; the time "
    "to a name is a mean over all enrolled appearances, the whole length of one never named.",
    "A wrong name is carried over where its track was another person's before; the others "
    "are people who are taken for somebody enrolled on their own looks.",
    "An identity switch is a track that goes over to another person, a split one more track of "
    "the same appearance.",
    "All deciders got the same answers of the detector, the refiner and the network for the same "
    "picture; each follows its own tracks.",
    "Intervals are 95 %, by resampling clips. Posters are a row of their own: a printed face is a "
    "face to every network here.",
)


def as_json(made: ByDecider, facts: Mapping[str, Any], resamples: int, seed: int) -> dict[str, Any]:
    """Every figure under its key, by decider; by kind of clip without intervals."""
    result: dict[str, Any] = {"kind": "tracks", "facts": dict(facts), "rules": list(RULES)}
    for name, by_kind in made.items():
        tallies = without_posters(by_kind)
        result.setdefault("deciders", {})[name] = {
            **figures(tallies),
            "intervals": _intervals(tallies, resamples, seed),
            "by_kind": {kind: figures(rows) for kind, rows in by_kind.items()},
        }
    return result


def _intervals(tallies: Sequence[ClipTally], resamples: int, seed: int) -> dict[str, Any]:
    if resamples == 0 or not tallies:
        return {}
    made: dict[str, Any] = {}
    for key in _INTERVALS:

        def statistic(rows: Any, key: str = key) -> float:
            value = figures([tallies[row] for row in rows])[key]
            if value is None:
                raise ValueError("no such tracks in this resample")
            return value

        rng = np.random.default_rng(seed)
        draw = draw_rows(len(tallies))
        try:
            made[key] = bootstrap(statistic, draw, rng, resamples=resamples)
        except ValueError:
            continue  # clips without a face have no such figure
    return made


def summary(result: Mapping[str, Any]) -> str:
    """The table of all clips but the posters, by decider."""
    rows = [
        [name, *(_cell(key, found, found["intervals"]) for key in _COLUMNS)]
        for name, found in result["deciders"].items()
    ]
    return report.table(["decider", *_COLUMNS.values()], rows)


def markdown(result: Mapping[str, Any], title: str) -> str:
    """The page: all clips, then each kind of clip, and the rules."""
    kinds = next(iter(result["deciders"].values()))["by_kind"]
    rows = [
        [kind, name, *(_cell(key, found["by_kind"][kind], {}) for key in _COLUMNS)]
        for kind in kinds
        for name, found in result["deciders"].items()
    ]
    return report.page(
        title,
        summary(result),
        report.table(["clips", "decider", *_COLUMNS.values()], rows),
        report.bullets(RULES),
        report.facts_table(result["facts"]),
    )


def _cell(key: str, found: Figures | Mapping[str, Any], intervals: Mapping[str, Any]) -> str:
    value, interval = found[key], intervals.get(key)
    if value is None:
        return "–"
    if key in _SHARES:
        return report.with_interval(value, interval, 1)
    if key in ("false_s_per_min", "time_to_name_s"):
        return report.number(value, interval, 2)
    return f"{value:.0f}"
