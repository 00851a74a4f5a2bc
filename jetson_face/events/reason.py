"""Why a library's call failed, for people."""

from __future__ import annotations

from collections.abc import Iterator

from jetson_face.util.redact import clean

_LENGTH_MAX = 200


def why(error: BaseException) -> str:
    """What went wrong in one line, without secrets: the kind and the text of the system's own
    error, where one is behind `error`, else of `error`."""
    told = error
    for cause in _causes(error):
        if isinstance(cause, OSError):
            told = cause
    text = clean(str(told), _LENGTH_MAX)
    kind = type(told).__name__
    return f"{kind}: {text}" if text else kind


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what it came from, and so on; of a group of errors the first."""
    met: set[int] = set()
    now: BaseException | None = error
    while now is not None and id(now) not in met:
        met.add(id(now))
        yield now
        group = getattr(now, "exceptions", ())
        now = group[0] if group else now.__cause__ or now.__context__
