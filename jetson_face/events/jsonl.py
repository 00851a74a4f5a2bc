"""Events as JSON, one a line: appended and flushed at once, so that nothing is lost in a crash."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TextIO

from jetson_face.core.errors import OutputError
from jetson_face.core.types import Frame, Report, Sighting


def event(report: Report, sighting: Sighting, first_ns: int) -> dict[str, Any]:
    """One event as plain data. first_ns: the `captured_ns` that `media_ms` counts from.

    time: ISO 8601 UTC. box: xyxy pixels. similarity: cosine, None before any match. name and
    person: None unless known.
    """
    known = sighting.person if sighting.state == "known" else None
    when = datetime.fromtimestamp(report.wall, timezone.utc)
    return {
        "time": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "source": report.source,
        "seq": report.seq,
        "track": sighting.track,
        "state": sighting.state,
        "name": known.name if known else None,
        "person": known.id if known else None,
        "similarity": None if sighting.similarity is None else round(sighting.similarity, 4),
        "box": [round(float(edge), 1) for edge in sighting.box],
        "frames": sighting.frames,
        "media_ms": round((report.captured_ns - first_ns) / 1e6, 1),
    }


class JsonlSink:
    """Appends each event to a file. append False: starts the file anew."""

    wants_frame = False

    def __init__(self, path: Path, *, append: bool = True, name: str = "events") -> None:
        self.name = name
        self.written = 0
        self._path, self._append = path, append
        self._file: TextIO | None = None
        self._first_ns: dict[str, int] = {}

    def open(self) -> None:
        """See Sink."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a" if self._append else "w", encoding="utf-8")
        except OSError as exc:
            raise self._error(exc) from exc

    def write(self, report: Report, frame: Frame | None) -> None:
        """See Sink."""
        first = self._first_ns.setdefault(report.source, report.captured_ns)
        events = [event(report, s, first) for s in report.sightings if s.changed]
        if not events:
            return
        if self._file is None:
            raise OutputError(f"{self._path}: written to before it was opened")
        text = "".join(json.dumps(e, ensure_ascii=False) + "\n" for e in events)
        try:
            self._file.write(text)
            self._file.flush()
        except OSError as exc:
            raise self._error(exc) from exc
        self.written += len(events)

    def close(self) -> None:
        """See Sink."""
        file, self._file = self._file, None
        if file is None:
            return
        try:
            file.close()
        except OSError as exc:
            raise self._error(exc) from exc

    def _error(self, exc: OSError) -> OutputError:
        return OutputError(f"{self._path}: cannot write events: {exc.strerror or exc}")
