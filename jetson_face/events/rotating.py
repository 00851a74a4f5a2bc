"""Events as JSON lines in files of bounded size and number; a sink of the outbox."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from jetson_face.events.delivery import SinkDownError
from jetson_face.events.outbox import Event
from jetson_face.events.remote import document


class RotatingJsonl:
    """Appends one line an event to `path`; a full file becomes `path.1`, and so on.

    max_bytes: of one file. files: how many are kept, with the one in use. Mode 0600. When `send`
    returns, the lines are on the disk.
    """

    def __init__(self, path: Path, *, max_bytes: int, files: int) -> None:
        if max_bytes < 1 or files < 1:
            raise ValueError(f"a size and a number above 0, got {max_bytes} and {files}")
        self._path, self._max_bytes, self._files = path, max_bytes, files
        self._fd: int | None = None
        self._size = 0

    def send(self, events: Sequence[Event]) -> None:
        """Raises SinkDownError where the disk does not take them; nothing is half-written then."""
        try:
            for event in events:
                self._append(document(event) + b"\n")
            if self._fd is not None:
                os.fsync(self._fd)
        except OSError as error:
            self.close()
            raise SinkDownError(f"{self._path}: {error.strerror or error}") from error

    def close(self) -> None:
        """Close the file; the next `send` opens it again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _append(self, line: bytes) -> None:
        fd = self._opened()
        if self._size and self._size + len(line) > self._max_bytes:
            os.fsync(fd)
            self._rotate()
            fd = self._opened()
        written = os.write(fd, line)
        if written != len(line):
            # A full disk took a part: take it back, so that every line is whole.
            os.ftruncate(fd, self._size)
            raise OSError(28, "No space left on device")
        self._size += len(line)

    def _opened(self) -> int:
        if self._fd is None:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            self._fd = fd
            self._size = os.fstat(fd).st_size
            self._cut_torn_line(fd)
        return self._fd

    def _cut_torn_line(self, fd: int) -> None:
        """A power cut may have torn the last line; its event comes again."""
        end = self._size
        while end:
            start = max(0, end - 65536)
            found = os.pread(fd, end - start, start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end != self._size:
            os.ftruncate(fd, end)
            self._size = end

    def _rotate(self) -> None:
        self.close()
        if self._files == 1:
            self._path.unlink()
            return
        for index in range(self._files - 2, 0, -1):
            older = self._numbered(index)
            if older.exists():
                older.replace(self._numbered(index + 1))
        self._path.replace(self._numbered(1))

    def _numbered(self, index: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{index}")
