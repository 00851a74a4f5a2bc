"""A file that one process at a time holds; the kernel lets it go however the process ends."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class HeldError(Exception):
    """Another process holds the lock. pid: its number as text, or `unknown`."""

    def __init__(self, pid: str) -> None:
        super().__init__(f"held by process {pid}")
        self.pid = pid


@contextmanager
def file_lock(path: Path, *, mode: int = 0o600) -> Iterator[None]:
    """Hold `path` for the block; it is made where it is not there, and stays.

    Raises HeldError at once where another process holds it, OSError where it cannot be made.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            pid = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
            raise HeldError(pid or "unknown") from None
        with suppress(OSError):  # the number is for people only: a full disk must stop nobody
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode("ascii"), 0)
        yield
    finally:
        os.close(handle)
