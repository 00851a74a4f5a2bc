"""Log lines without secrets, one line each, whatever was logged."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import TypeAlias

from jetson_face.util.redact import clean, redact, visible

_ExcInfo: TypeAlias = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)


def message_of(record: logging.LogRecord) -> str:
    """What was logged, clean; also where its arguments do not fit it."""
    try:
        return clean(record.getMessage())
    except Exception:  # of a foreign __str__, or of %-formatting: a log line must not fail
        return clean(f"{record.msg} {record.args!r}")


class CleanFormatter(logging.Formatter):
    """A formatter whose lines hide secrets and show control characters, tracebacks included.

    A traceback's lines are set in, so that no line of an exception's text looks like a line of its
    own.
    """

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        shown = logging.makeLogRecord(record.__dict__)
        shown.msg, shown.args = message_of(record), None
        return super().format(shown)

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - logging's name
        """See logging.Formatter."""
        return _set_in(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - logging's name
        """See logging.Formatter."""
        return _set_in(super().formatStack(stack_info))


def _set_in(text: str) -> str:
    return "\n".join("    " + visible(line) for line in redact(text).split("\n"))
