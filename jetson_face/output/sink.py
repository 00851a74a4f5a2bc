"""The sink seam: where reports go."""

from __future__ import annotations

from typing import Protocol

from jetson_face.core.types import Frame, Report


class Sink(Protocol):
    """Takes reports in order, in a thread of its own, from `open` to `close`.

    wants_frame: `write` gets the frame too (pictures, video); otherwise None, which lets the
    frame's memory go early. `close` is called whatever happened before, and leaves nothing
    half-written. Raises OutputError when something cannot be written, which ends the run.
    """

    @property
    def name(self) -> str: ...
    @property
    def wants_frame(self) -> bool: ...
    def open(self) -> None: ...
    def write(self, report: Report, frame: Frame | None) -> None: ...
    def close(self) -> None: ...


def clean_text(text: str) -> str:
    """`text` without what would steer a terminal or break a line."""
    return "".join(c if c.isprintable() else "?" for c in text)
