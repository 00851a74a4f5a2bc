"""What a search answers: visits, the most alike first, with how often chance does as well."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jetson_face.archive.templates import TrackHit
from jetson_face.calibration.impostor_curve import GallerySize, ImpostorCurve
from jetson_face.factory.threshold import LEAST_PEOPLE

PAUSE_S = 30.0
"""Tracks of one camera that are no further apart are one visit: people turn away and come back."""


@dataclass(frozen=True, slots=True)
class ArchivedVisit:
    """Tracks of one camera that follow one another.

    start, end: UTC seconds. similarity: of the best track, cosine. fpir: the share of people who
    are not in the archive whose search finds a track as similar as that; None where the network has
    no impostor curve. tracks: the best one first.
    """

    camera: str
    start: float
    end: float
    similarity: float
    fpir: float | None
    tracks: tuple[TrackHit, ...]


def visits_of(
    hits: Iterable[TrackHit],
    *,
    similarity_min: float,
    searched: int,
    curve: ImpostorCurve | None,
) -> list[ArchivedVisit]:
    """Visits in order of similarity.

    Tracks at or above similarity_min (cosine) that follow one another are one visit; others stand
    alone: they may be anybody's. searched: tracks that the probe was compared with.
    """
    groups: list[list[TrackHit]] = []
    last: dict[str, list[TrackHit]] = {}
    for hit in sorted(hits, key=lambda hit: (hit.start, hit.row)):
        sure = hit.similarity >= similarity_min
        before = last.get(hit.camera) if sure else None
        if before is not None and hit.start - max(own.end for own in before) <= PAUSE_S:
            before.append(hit)
            continue
        groups.append([hit])
        if sure:
            last[hit.camera] = groups[-1]
    made = [_visit(group, searched, curve) for group in groups]
    return sorted(made, key=lambda visit: (-visit.similarity, visit.start))


def _visit(group: Sequence[TrackHit], searched: int, curve: ImpostorCurve | None) -> ArchivedVisit:
    best = sorted(group, key=lambda hit: (-hit.similarity, hit.row))
    return ArchivedVisit(
        camera=best[0].camera,
        start=min(hit.start for hit in group),
        end=max(hit.end for hit in group),
        similarity=best[0].similarity,
        fpir=stated_fpir(best[0].similarity, best[0].frames, searched, curve),
        tracks=tuple(best),
    )


def stated_fpir(
    similarity: float, frames: int, searched: int, curve: ImpostorCurve | None
) -> float | None:
    """How often the search for somebody who is not in the archive finds a track so similar.

    The tracks are taken for people with one template each, of so many averaged `frames`: several
    tracks of one person are fewer chances than as many people, so that the true rate is lower. Very
    few are taken for LEAST_PEOPLE, as in a gallery.
    """
    if curve is None or searched < 1:
        return None
    chances = max(searched, LEAST_PEOPLE)
    size = GallerySize(chances, ((1, chances),), 1)
    return curve.fpir(similarity, size, max(1, min(frames, curve.frames.at[-1])))


def beyond_the_curve(searched: int, curve: ImpostorCurve) -> bool:
    """The curve was measured on smaller galleries: its rate is a continuation."""
    return searched > curve.sizes[-1]
