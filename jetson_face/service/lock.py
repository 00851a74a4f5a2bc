"""One service to a state folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from jetson_face.core.errors import OutputError, StateLockedError


class StateLock:
    """Holds `FOLDER/lock` while inside `with`; the kernel lets it go when the process dies.

    Raises StateLockedError when another process holds it, OutputError when the folder cannot be
    made.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._fd: int | None = None

    def __enter__(self) -> StateLock:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OutputError(
                f"{self._path}: the state folder cannot be used: {error.strerror}; set another "
                f"`state_dir` or mend its rights"
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
            os.close(fd)
            raise StateLockedError(
                f"{self._path.parent}: another jetson-face (pid {holder or 'unknown'}) uses this "
                f"state folder; stop it, or give this one a `state_dir` of its own"
            ) from error
        self._fd = fd
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode("ascii"), 0)
        except OSError:
            # The number is for people only; a full disk must not keep the service from starting.
            pass
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
