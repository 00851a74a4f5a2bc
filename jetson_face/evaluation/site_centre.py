"""What a site's own mean gains on people who are not in it, and how many faces it needs.

In each division half of the people, drawn, are the site's: the mean of some of their videos is
the centre. The other half is divided into enrolled people and impostors as in `divisions`, and
identified with and without the centre, which is taken from templates and probes as the matcher
does it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jetson_face.core.errors import InputBrokenError
from jetson_face.core.types import F32
from jetson_face.evaluation import divisions as d
from jetson_face.evaluation import report
from jetson_face.evaluation.extract import ExtractedFaces
from jetson_face.evaluation.metrics import F64
from jetson_face.evaluation.people import Shot

VIDEOS = (20, 50, 100, 200)
"""Of the site's half, so many videos make the mean, one vector each; and all there are."""
ENROLLED = 30
_WITHOUT = "without"


def gain_of_centre(
    people: Mapping[str, Sequence[Shot]],
    faces: ExtractedFaces,
    *,
    count: int = d.DIVISIONS,
    enrolled: int = ENROLLED,
) -> dict[str, dict[str, dict[str, float]]]:
    """By how many videos make the centre, and by kind of probe: DIR at FPIR 1 % and its gain over
    no centre on the same division, per cent, with standard errors over divisions.

    Raises InputBrokenError where half of the people cannot be divided.
    """
    found: dict[str, dict[str, list[float]]] = {}
    place = faces.row_of
    for seed in range(count):
        site, test = _halves(people, seed)
        videos = _means(site, faces, place, seed)
        sizes = {str(n): n for n in VIDEOS if n < len(videos)} | {"all": len(videos)}
        centres: dict[str, F32 | None] = {_WITHOUT: None}
        for name, n in sizes.items():
            centres[name] = np.asarray(videos[:n].mean(axis=0), np.float32)
        for name, centre in centres.items():
            told = d.one_division(
                test, faces.vectors, place, seed, enrolled=enrolled, centre=centre
            )
            for kind, direct in told.items():
                found.setdefault(name, {}).setdefault(kind, []).append(direct)
    plain = found[_WITHOUT]
    return {
        name: {kind: _told(np.array(values), np.array(plain[kind])) for kind, values in own.items()}
        for name, own in found.items()
    }


def table(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """As Markdown."""
    header = ["videos in the centre"]
    for kind in d.KINDS:
        header += [f"{kind}: DIR at FPIR {d.FPIR:g}", "gain, points"]
    rows: list[list[object]] = []
    for name, own in found.items():
        row: list[object] = [name]
        for kind in d.KINDS:
            told = own[kind]
            row.append(f"{told['dir']:.1f} ± {told['dir_error']:.1f} %")
            gain = f"{told['gain']:+.1f} ± {told['gain_error']:.1f}"
            row.append("–" if name == _WITHOUT else gain)
        rows.append(row)
    return report.table(header, rows)


def as_json(
    found: Mapping[str, Mapping[str, Mapping[str, float]]],
    count: int,
    method: Mapping[str, object],
) -> dict[str, Any]:
    """Every figure under its key."""
    return {"kind": "centre", "divisions": count, "centre": dict(found), "method": dict(method)}


def _halves(
    people: Mapping[str, Sequence[Shot]], seed: int
) -> tuple[dict[str, Sequence[Shot]], dict[str, Sequence[Shot]]]:
    names = sorted(people)
    order = [names[i] for i in np.random.default_rng((seed, 1)).permutation(len(names))]
    half = len(order) // 2
    site, test = order[:half], order[half:]
    return {n: people[n] for n in site}, {n: people[n] for n in test}


def _means(
    people: Mapping[str, Sequence[Shot]],
    faces: ExtractedFaces,
    place: Mapping[str, int],
    seed: int,
) -> F32:
    """(V, dim) the mean of each video, of length 1, in a drawn order."""
    videos: dict[tuple[str, str], list[int]] = {}
    for person, shots in people.items():
        for shot in shots:
            row = place[shot.name]
            if faces.found[row]:
                videos.setdefault((person, shot.session), []).append(row)
    if not videos:
        raise InputBrokenError("no video of half of the people has a face")
    means = np.stack([faces.vectors[rows].mean(axis=0) for rows in videos.values()])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return np.asarray(np.random.default_rng((seed, 2)).permutation(means), np.float32)


def _told(values: F64, plain: F64) -> dict[str, float]:
    direct, error = d.mean_and_error(values)
    gain, gain_error = d.mean_and_error(values - plain)
    return {"dir": direct, "dir_error": error, "gain": gain, "gain_error": gain_error}
