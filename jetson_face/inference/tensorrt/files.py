"""What an engine cache on a full or read-only disk says, and a lock that says who holds it."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jetson_face.core.errors import EngineError, OutputError


def reason(exc: OSError) -> str:
    """What went wrong, with the way out where there is a usual one."""
    text = exc.strerror or str(exc)
    if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{text}: free some space, or set engines.cache to another disk"
    if exc.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"{text}: set engines.cache to a folder that this user may write to"
    return text


@contextmanager
def folder_lock(folder: Path, what: str) -> Iterator[None]:
    """Hold `folder/.lock` for the block; the kernel frees it however the process ends.

    Raises EngineError at once, naming the process, where another holds it; OutputError where the
    lock file cannot be made.
    """
    path = folder / ".lock"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as exc:
        raise OutputError(f"{path}: cannot be made: {reason(exc)}") from exc
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            if exc.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise OutputError(f"{path}: cannot be locked: {reason(exc)}") from exc
            pid = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise EngineError(
                f"{what} is already under way in {folder} (process {pid}): wait for it to end"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)
