"""Why a library's call failed, for people."""

from __future__ import annotations

from jetson_face.util.redact import clean

_LENGTH_MAX = 200


def why(error: BaseException) -> str:
    """The first cause of `error` in one line: its kind and its text, without secrets."""
    met = {id(error)}
    while True:
        group = getattr(error, "exceptions", ())
        cause = group[0] if group else error.__cause__ or error.__context__
        if cause is None or id(cause) in met:
            break
        met.add(id(cause))
        error = cause
    text = clean(str(error), _LENGTH_MAX)
    kind = type(error).__name__
    return f"{kind}: {text}" if text else kind
