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

    Raises HeldError at once where another process holds it, OSError where it cannot be made or is
    a link: what a link points to would be emptied.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        _lock(handle, path)
        with suppress(OSError):  # the number is for people only: a full disk must stop nobody
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode("ascii"), 0)
        yield
    finally:
        os.close(handle)


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold a folder for the block. The file `lock` in it says for people who has it; the folder is
    held all the same when somebody deletes that file.

    Raises HeldError at once where another process holds it, OSError where it cannot be opened.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    note = folder / "lock"
    try:
        _lock(handle, note)
        with suppress(OSError):  # as above
            note.write_text(f"{os.getpid()}\n", "ascii")
        yield
    finally:
        os.close(handle)


def holder_of(folder: Path) -> str | None:
    """Who holds a folder, `unknown` where it did not say; None where nobody does."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _said(folder / "lock")
    finally:
        os.close(handle)
    return None


def _lock(handle: int, note: Path) -> None:
    """note: where another process says who it is."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        raise HeldError(_said(note)) from None


def _said(note: Path) -> str:
    try:
        return note.read_bytes()[:20].decode("ascii", "replace").strip() or "unknown"
    except OSError:
        return "unknown"
