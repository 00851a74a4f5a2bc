"""Who was seen when, for people: a line for each event, and a table of visits at the end."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TextIO

from jetson_face.core.types import Frame, Report, Sighting
from jetson_face.util.redact import visible

_PAUSE_S = 2.0
_VISITS_MAX = 10_000
"""Visits remembered; older ones are forgotten first."""


class ConsoleSink:
    """One line for each event on `stream`. media_time: times count from the first frame (files),
    instead of the clock on the wall."""

    name = "console"
    wants_frame = False

    def __init__(self, stream: TextIO, *, media_time: bool = False) -> None:
        self._stream = stream
        self._media_time = media_time
        self._first_ns: dict[str, int] = {}

    def open(self) -> None:
        """See Sink."""

    def write(self, report: Report, frame: Frame | None) -> None:
        """See Sink."""
        first = self._first_ns.setdefault(report.source, report.captured_ns)
        media_s = (report.captured_ns - first) / 1e9
        for sighting in report.sightings:
            if sighting.changed:
                when = media_clock(media_s) if self._media_time else wall_clock(report.wall)
                self._print(event_line(when, report.source, sighting))

    def close(self) -> None:
        """See Sink."""

    def _print(self, line: str) -> None:
        try:
            print(line, file=self._stream, flush=True)
        except OSError as error:
            if error.errno != errno.EIO:  # of a terminal that was closed: SIGHUP follows
                raise


def event_line(when: str, source: str, sighting: Sighting) -> str:
    """For example `00:03.2  door  track 4  known    Ada Lovelace  0.81`."""
    name = visible(sighting.person.name) if sighting.person is not None else ""
    who = name if sighting.state == "known" else (f"({name}?)" if name else "")
    near = "" if sighting.similarity is None else f"{sighting.similarity:.2f}"
    head = f"{when}  {source}  track {sighting.track:<3d} {sighting.state:<8s}"
    return "  ".join(part for part in (head, who, near) if part).rstrip()


def media_clock(seconds: float) -> str:
    """Minutes and seconds, `01:02.5`; with hours where there are some."""
    tenths = round(seconds * 10)
    hours, rest = divmod(tenths, 36_000)
    minutes, rest = divmod(rest, 600)
    text = f"{minutes:02d}:{rest // 10:02d}.{rest % 10}"
    return f"{hours}:{text}" if hours else text


def wall_clock(wall: float) -> str:
    """Local date and time to the second, for people."""
    return datetime.fromtimestamp(wall).astimezone().strftime("%Y-%m-%d %H:%M:%S")


@dataclass(slots=True)
class Visit:
    """A person in view of a source, from first to last. times: seconds since its first frame."""

    source: str
    name: str
    first_s: float
    last_s: float
    first_wall: float
    frames: int
    similarity: float


class VisitSink:
    """Collects visits: sightings of a known person, with pauses of at most _PAUSE_S."""

    name = "visits"
    wants_frame = False

    def __init__(self) -> None:
        self._first_ns: dict[str, int] = {}
        self._current: dict[tuple[str, str], Visit] = {}
        self._visits: list[Visit] = []

    @property
    def visits(self) -> Sequence[Visit]:
        """In the order they began."""
        return tuple(self._visits)

    def open(self) -> None:
        """See Sink."""

    def write(self, report: Report, frame: Frame | None) -> None:
        """See Sink."""
        first = self._first_ns.setdefault(report.source, report.captured_ns)
        now = (report.captured_ns - first) / 1e9
        for sighting in report.sightings:
            if sighting.state == "known" and sighting.person is not None:
                self._see(report, sighting, sighting.person.name, now)

    def close(self) -> None:
        """See Sink."""

    def _see(self, report: Report, sighting: Sighting, name: str, now: float) -> None:
        key = (report.source, name)
        similarity = sighting.similarity or 0.0
        visit = self._current.get(key)
        if visit is None or now - visit.last_s > _PAUSE_S:
            visit = Visit(report.source, name, now, now, report.wall, 0, similarity)
            self._current[key] = visit
            self._visits.append(visit)
            del self._visits[:-_VISITS_MAX]
        visit.last_s = now
        visit.frames += 1
        visit.similarity = max(visit.similarity, similarity)

    def lines(self, *, media_time: bool) -> list[str]:
        """A line for each visit: who, where, from when to when, how sure at best."""
        wide = max((len(visible(visit.name)) for visit in self._visits), default=0)
        lines = []
        for visit in self._visits:
            if media_time:
                start, end = media_clock(visit.first_s), media_clock(visit.last_s)
            else:
                start = wall_clock(visit.first_wall)
                end = wall_clock(visit.first_wall + visit.last_s - visit.first_s)[-8:]
            lines.append(
                f"{visible(visit.name):<{wide}}  {visit.source}  {start} to {end}  "
                f"{visit.frames} frames, similarity up to {visit.similarity:.2f}"
            )
        return lines
