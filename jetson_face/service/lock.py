"""One service to a state folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from types import TracebackType

from jetson_face.core.errors import OutputError, StateLockedError


class StateLock:
    """Holds the folder while inside `with`; the kernel lets it go when the process dies. The file
    `lock` in it says for people who has it; without it the folder is held all the same.

    Raises StateLockedError when another process holds it, OutputError when the folder cannot be
    made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fd: int | None = None

    def __enter__(self) -> StateLock:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # The folder, not a file in it: a file that was deleted would let a second service in.
            fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise OutputError(
                f"{self._folder}: the state folder cannot be used: {error.strerror}; set another "
                f"`state_dir` or mend its rights"
            ) from error
        note = self._folder / "lock"
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            raise StateLockedError(
                f"{self._folder}: another jetson-face (pid {_holder(note)}) uses this state "
                f"folder; stop it, or give this one a `state_dir` of its own"
            ) from error
        self._fd = fd
        with contextlib.suppress(OSError):
            # The number is for people only; a full disk must not keep the service from starting.
            note.write_text(f"{os.getpid()}\n", "ascii")
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


def _holder(note: Path) -> str:
    try:
        return note.read_bytes()[:20].decode("ascii", "replace").strip() or "unknown"
    except OSError:
        return "unknown"
