"""A search of an archive, and the log of use: who searched, when, why, and in what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from jetson_face.archive.probes import SearchProbe
from jetson_face.archive.store import ArchiveStore, day_of
from jetson_face.archive.templates import TemplateIndex
from jetson_face.archive.visits import ArchivedVisit, beyond_the_curve, visits_of
from jetson_face.archive.withheld import withheld_faces
from jetson_face.config import Config
from jetson_face.core.errors import EmbeddingSpaceError, UsageError
from jetson_face.factory.threshold import curve_of
from jetson_face.privacy.audit import ARCHIVE_USES, AuditLog, utc

_TRACKS_A_VISIT = 5


@dataclass(frozen=True, slots=True)
class ArchiveFilter:
    """What is searched. start, end: UTC seconds; camera: a name. None: all. fpir: visits with a
    larger one are not shown; where nothing states it, those below the network's own threshold."""

    start: float | None = None
    end: float | None = None
    camera: str | None = None
    fpir: float = 0.1


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """searched: tracks that were compared. cameras: of them. certain: the FPIR is of measured
    gallery sizes, not a continuation; None where no curve says it."""

    visits: tuple[ArchivedVisit, ...]
    searched: int
    cameras: tuple[str, ...]
    certain: bool | None


def check_allowed(config: Config, why: str) -> None:
    """Raises UsageError where searching is off or no reason is given."""
    if not config.archive.search:
        raise UsageError(
            "searching the archive is off: its operator turns it on with `archive: {search: true}` "
            "in the configuration; every search is then written down"
        )
    if not why.strip():
        raise UsageError("a search needs a reason, which is written down: --reason TEXT")


def search(
    config: Config,
    store: ArchiveStore,
    probe: SearchProbe,
    wanted: ArchiveFilter,
    count: int,
    why: str,
) -> SearchAnswer:
    """The visits most alike, `count` at most, after the search was written to the log of use.

    Raises UsageError as `check_allowed` and for a face of the do-not-recognise list,
    EmbeddingSpaceError, OutputError where the log cannot be written (nothing is shown then), and
    the archive's errors.
    """
    check_allowed(config, why)
    began = datetime.now(timezone.utc)
    if probe.space != store.space:
        raise EmbeddingSpaceError(
            f"{store.place.shown}: the archive was made with {store.space}, the face was embedded "
            f"with {probe.space}: search with the network that made the archive"
        )
    withheld = withheld_faces(config, store.space)
    if withheld(probe.mean[None]).any():
        raise UsageError(f"{probe.shown}: whoever is on the do-not-recognise list is not searched")
    index = TemplateIndex.load(
        store,
        # a track may begin before midnight and last beyond it
        first=None if wanted.start is None else day_of(wanted.start - 86_400),
        last=None if wanted.end is None else day_of(wanted.end),
        camera=wanted.camera,
    )
    curve = curve_of(config, store.space)
    searched = index.within(wanted.start, wanted.end)
    hits = index.nearest(
        probe.mean,
        count * _TRACKS_A_VISIT,
        start=wanted.start,
        end=wanted.end,
        without=probe.without,
        hides=withheld,
    )
    found = visits_of(hits, similarity_min=probe.similarity_min, searched=searched, curve=curve)
    # what chance does as well is nobody's visit, and must not look like one
    visits = [one for one in found if _counts(one, wanted.fpir, probe.similarity_min)][:count]
    _write_down(config, store, probe, wanted, why, began, searched, visits)
    certain = None if curve is None else not beyond_the_curve(searched, curve)
    return SearchAnswer(tuple(visits), searched, tuple(index.cameras), certain)


def _counts(visit: ArchivedVisit, fpir: float, similarity_min: float) -> bool:
    if visit.fpir is None:
        return visit.similarity >= similarity_min
    return visit.fpir <= fpir


def _write_down(
    config: Config,
    store: ArchiveStore,
    probe: SearchProbe,
    wanted: ArchiveFilter,
    why: str,
    began: datetime,
    searched: int,
    visits: list[ArchivedVisit],
) -> None:
    """One line of the log of use (EU AI Act, article 12(3): period, reference database, input)."""
    details: Mapping[str, object] = {
        "why": why.strip(),
        "began": utc(began),
        "archive": store.id,
        "reference": probe.reference,
        "from": wanted.start,
        "to": wanted.end,
        "camera": wanted.camera,
        "fpir": wanted.fpir,
        "tracks_searched": searched,
        "visits_shown": len(visits),
        "best": round(visits[0].similarity, 4) if visits else None,
        "tracks": [hit.id for visit in visits for hit in visit.tracks],
    }
    AuditLog(config.state_dir / ARCHIVE_USES).record(
        "archive_searched", person=probe.person, name=probe.shown, details=details
    )
