"""The standard streams of the process: closed ones, full disks, and characters they cannot take."""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
from pathlib import Path
from typing import TextIO

from jetson_face.core.errors import OutputError

_ESCAPED = "jetson_face.escaped"


class _Stream(io.TextIOWrapper):
    """A standard stream that escapes what its encoding lacks.

    what: its name in the error that a failure raises; what is written later goes nowhere, where it
    cannot fail again at the end of the process. None: a failure is nothing, since nobody can be
    told. A pipe that nobody reads any more raises BrokenPipeError in both. lost: the last error.
    """

    def __init__(self, stream: io.TextIOWrapper, what: str | None) -> None:
        encoding, by_line, at_once = stream.encoding, stream.line_buffering, stream.write_through
        super().__init__(stream.detach(), encoding, _ESCAPED, "\n", by_line, at_once)
        self._what = what
        self.lost: OutputError | None = None

    def write(self, text: str) -> int:
        """See TextIOWrapper. Raises OutputError."""
        try:
            return super().write(text)
        except OSError as error:
            self._lose(error)
            return len(text)

    def flush(self) -> None:
        """See TextIOWrapper. Raises OutputError."""
        try:
            super().flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        if isinstance(error, BrokenPipeError):
            raise error
        if self._what is not None:
            point_nowhere(self)
            why = error.strerror or error
            self.lost = OutputError(f"{self._what} cannot be written: {why}")
            raise self.lost from error


def mend_streams() -> None:
    """Streams that were closed are as those of /dev/null, and the others tell a full disk from a
    bug. Called first: what is opened later must not take the place of a closed stream."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
    codecs.register_error(_ESCAPED, _escaped)
    for name, what in (("stdout", "standard output"), ("stderr", None)):
        stream = _Stream(getattr(sys, name), what)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def finish_output() -> int:
    """Write what is held back; 0. Raises OutputError where anything was not written, which nobody
    was told."""
    sys.stdout.flush()
    if isinstance(sys.stdout, _Stream) and sys.stdout.lost is not None:
        raise sys.stdout.lost
    return 0


def told(error: Exception) -> None:
    """`finish_output` need not raise this one again."""
    if isinstance(sys.stdout, _Stream) and sys.stdout.lost is error:
        sys.stdout.lost = None


def point_nowhere(stream: TextIO) -> None:
    """What is still written there is thrown away."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """As `backslashreplace`, but as JSON has it, which then stays valid."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end
