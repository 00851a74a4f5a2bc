"""Events as JSON lines in files of bounded size and number; a sink of the outbox."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jetson_face.events.delivery import SinkDownError
from jetson_face.events.lines import LineFile
from jetson_face.events.older import document
from jetson_face.events.outbox import Event


class RotatingJsonl:
    """Appends one line an event to `path`; a full file becomes `path.1`, and so on.

    max_bytes: of one file. files: how many are kept, with the one in use. Mode 0600. When `send`
    returns, the lines are on the disk. A file that was moved or deleted is begun again.
    """

    def __init__(self, path: Path, *, max_bytes: int, files: int) -> None:
        if max_bytes < 1 or files < 1:
            raise ValueError(f"a size and a number above 0, got {max_bytes} and {files}")
        self._path, self._max_bytes, self._files = path, max_bytes, files
        self._file = LineFile(path)

    def send(self, events: Sequence[Event]) -> None:
        """Raises SinkDownError where the disk does not take them; nothing is half-written then."""
        try:
            for _ in range(2):
                for event in events:
                    self._append(document(event) + b"\n")
                self._file.sync()
                if not self._file.deleted:
                    return
        except OSError as error:
            self.close()
            raise SinkDownError(f"{self._path}: {error.strerror or error}") from error
        raise SinkDownError(f"{self._path}: deleted while it was written, twice")

    def close(self) -> None:
        """Close the file; the next `send` opens it again."""
        self._file.close()

    def _append(self, line: bytes) -> None:
        self._file.open()
        size = self._file.size
        if size and size + len(line) > self._max_bytes:
            self._file.sync()
            self._rotate()
        self._file.append(line)

    def _rotate(self) -> None:
        self.close()
        if self._files == 1:
            self._path.unlink(missing_ok=True)
            return
        for index in range(self._files - 2, 0, -1):
            older = self._numbered(index)
            if older.exists():
                older.replace(self._numbered(index + 1))
        self._path.replace(self._numbered(1))

    def _numbered(self, index: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{index}")
