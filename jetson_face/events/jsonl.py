"""Events of a run as JSON, one a line: appended at once, so that nothing is lost in a crash."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from jetson_face.core.errors import OutputError
from jetson_face.core.types import Frame, Report
from jetson_face.events.lines import LineFile
from jetson_face.events.making import EventMaker
from jetson_face.events.schema import to_json


class JsonlSink:
    """Writes the events of a run to a file (0600), which is begun again where it was moved away.

    live, enrolled: see EventMaker. append False: starts the file again.
    """

    wants_frame = False

    def __init__(
        self,
        path: Path,
        *,
        live: Collection[str] = (),
        enrolled: Callable[[], Collection[str]] | None = None,
        append: bool = True,
        name: str = "events",
    ) -> None:
        self.name = name
        self._file = LineFile(path, fresh=not append)
        self._maker = EventMaker(live, enrolled=enrolled)
        self._open = False

    def open(self) -> None:
        """See Sink."""
        try:
            self._file.open()
        except OSError as exc:
            raise self._error(exc) from exc
        self._open = True

    def write(self, report: Report, frame: Frame | None) -> None:
        """See Sink."""
        if not self._open:
            raise OutputError(f"{self._file.path}: written to before it was opened")
        self._write(self._maker.of(report))

    def close(self) -> None:
        """See Sink; whoever is still there is told to have left by the end."""
        was_open, self._open = self._open, False
        try:
            if was_open:
                self._write(self._maker.end())
        finally:
            self._file.close()

    def _write(self, events: Iterable[dict[str, Any]]) -> None:
        lines = b"".join(to_json(event) + b"\n" for event in events)
        if not lines:
            return
        try:
            self._file.append(lines)
            if self._file.deleted:  # between the look at its name and the writing
                self._file.append(lines)
        except OSError as exc:
            self._open = False
            raise self._error(exc) from exc

    def _error(self, exc: OSError) -> OutputError:
        return OutputError(f"{self._file.path}: cannot write events: {exc.strerror or exc}")
