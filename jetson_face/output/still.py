"""One annotated picture of a run: the frame that shows most."""

from __future__ import annotations

from pathlib import Path

from jetson_face.core.errors import OutputError
from jetson_face.core.types import Frame, Report
from jetson_face.output.overlay import draw
from jetson_face.util.images import write_picture


class StillSink:
    """Keeps the frame with the most known, then the most, then the largest faces; writes it at the
    end."""

    wants_frame = True

    def __init__(self, path: Path) -> None:
        self.name = "still"
        self._path = path
        self._best: tuple[Report, Frame] | None = None
        self._score = (-1, -1, 0.0)

    def open(self) -> None:
        """See Sink."""
        if self._path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
            raise OutputError(f"{self._path}: pictures are written as .png or .jpg")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise OutputError(f"{self._path}: cannot be written: {exc.strerror or exc}") from exc

    def write(self, report: Report, frame: Frame | None) -> None:
        """See Sink."""
        if frame is None:
            return
        score = _score(report)
        if score > self._score:
            self._best, self._score = (report, frame), score

    def close(self) -> None:
        """See Sink."""
        best, self._best = self._best, None
        if best is not None:
            report, frame = best
            write_picture(self._path, draw(frame.image, report.sightings))


def _score(report: Report) -> tuple[int, int, float]:
    known = sum(s.state == "known" for s in report.sightings)
    area = sum((s.box[2] - s.box[0]) * (s.box[3] - s.box[1]) for s in report.sightings)
    return known, len(report.sightings), round(float(area), 1)
