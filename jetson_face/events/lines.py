"""A file that lines are added to, and that others may move, delete or cut meanwhile."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from pathlib import Path

from jetson_face.util.files import Inode

logger = logging.getLogger(__name__)


class LineFile:
    """Appends whole lines to `path`, which is made again where it has gone. One thread.

    Mode 0600; an existing file loses the rights of others. fresh: an existing file is emptied
    first. Every method may raise OSError.
    """

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        self.path = path
        self._fresh = fresh
        self._fd: int | None = None
        self._inode: Inode  # of the open file
        self._regular: bool

    def open(self) -> None:
        """Open the file, or another one where the one in use was moved or deleted."""
        if self._fd is not None and not self._inode.is_at(self.path):
            logger.warning("file_gone path=%s begun=again", self.path)
            self.close()
        if self._fd is None:
            self._open()

    def append(self, data: bytes) -> None:
        """Add whole lines; where the disk takes only a part, none of it stays."""
        self.open()
        assert self._fd is not None
        if not self._regular:
            while data:  # a pipe or a terminal takes what it can
                data = data[os.write(self._fd, data) :]
            return
        before = self.size
        if os.write(self._fd, data) != len(data):
            os.ftruncate(self._fd, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self) -> None:
        """Returns when everything is on the disk."""
        if self._fd is not None and self._regular:
            os.fsync(self._fd)

    @property
    def size(self) -> int:
        """Bytes in the file; 0 while it is not open."""
        return 0 if self._fd is None else os.fstat(self._fd).st_size

    @property
    def deleted(self) -> bool:
        """The open file has no name any more: what was added last may be lost."""
        return self._fd is not None and os.fstat(self._fd).st_nlink == 0

    def close(self) -> None:
        """Close the file; `append` opens it again."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._regular = self.path.is_file() or not self.path.exists()
        access = os.O_RDWR if self._regular else os.O_WRONLY
        fd = os.open(self.path, access | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            found = os.fstat(fd)
            if self._regular:
                self._make_ready(fd, found)
        except BaseException:
            os.close(fd)
            raise
        self._fd, self._inode, self._fresh = fd, Inode.of(found), False

    def _make_ready(self, fd: int, found: os.stat_result) -> None:
        if found.st_mode & 0o007:
            with contextlib.suppress(PermissionError):  # somebody else's file
                os.fchmod(fd, stat.S_IMODE(found.st_mode) & 0o770)
        if self._fresh:
            os.ftruncate(fd, 0)
        else:
            _cut_torn_line(fd, found.st_size)


def _cut_torn_line(fd: int, size: int) -> None:
    """A power cut may have torn the last line; its event comes again."""
    end = size
    while end:
        start = max(0, end - 65536)
        found = os.pread(fd, end - start, start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if end != size:
        os.ftruncate(fd, end)
