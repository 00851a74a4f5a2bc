"""Why a call failed, in one line."""

from __future__ import annotations

import pytest

from jetson_face.events.reason import why


class SeveralError(Exception):
    """As an ExceptionGroup, which Python 3.10 does not have."""

    exceptions = (OSError(111, "refused"), OSError(113, "No route to host"))


def caused(error: Exception, by: BaseException) -> Exception:
    error.__cause__ = by
    return error


def while_handling(error: Exception, first: BaseException) -> Exception:
    error.__context__ = first
    return error


def in_a_circle() -> Exception:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    return one


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ValueError("no such"), "ValueError: no such"),
        (ValueError(), "ValueError"),
        (caused(ValueError("no"), OSError(5, "I/O")), "OSError: [Errno 5] I/O"),
        (while_handling(ValueError("no"), OSError(5, "I/O")), "OSError: [Errno 5] I/O"),
        (caused(ValueError("no"), KeyError("x")), "ValueError: no"),
        (caused(ValueError("no"), SeveralError()), "ConnectionRefusedError: [Errno 111] refused"),
        (in_a_circle(), "ValueError: one"),
        (ValueError("x" * 300), f"ValueError: {'x' * 199}…"),
        (ValueError("rtsp://me:hush@cam/1\n2"), r"ValueError: rtsp://***@cam/1\n2"),
    ],
)  # fmt: skip
def test_the_system_s_own_error_is_told_where_there_is_one(error: Exception, says: str) -> None:
    assert why(error) == says
