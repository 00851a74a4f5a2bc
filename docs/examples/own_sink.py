"""A sink of your own: python own_sink.py film.mp4 seen.csv"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import jetson_face


class CsvSink:
    """Writes a row whenever a decision changes."""

    name = "csv"
    wants_frame = False  # True: `write` also gets the frame, for pictures

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def open(self) -> None:
        """Called in the sink's own thread, before the first report."""
        self._file = self._path.open("w", newline="", encoding="utf-8")
        self._rows = csv.writer(self._file)
        self._rows.writerow(["source", "frame", "track", "state", "name"])

    def write(self, report: jetson_face.Report, frame: jetson_face.Frame | None) -> None:
        """One decided frame."""
        for face in report.sightings:
            if face.changed:
                name = face.person.name if face.person else ""
                self._rows.writerow([report.source, report.seq, face.track, face.state, name])

    def close(self) -> None:
        """Called whatever happened before."""
        self._file.close()


film, table = sys.argv[1:]
with jetson_face.Recognizer() as recognizer:
    frames = sum(1 for _ in recognizer.watch(film, sinks=[CsvSink(table)]))
print(f"{frames} frames")
