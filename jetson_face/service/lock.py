"""One service to a state folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from jetson_face.core.errors import OutputError, StateLockedError
from jetson_face.util.locks import HeldError, file_lock


@contextmanager
def state_lock(folder: Path) -> Iterator[None]:
    """Hold `FOLDER/lock` for the block.

    Raises StateLockedError when another process holds it, OutputError when the folder cannot be
    made.
    """
    path = folder / "lock"
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            stack.enter_context(file_lock(path))
        except HeldError as error:
            raise StateLockedError(
                f"{folder}: another jetson-face (pid {error.pid}) uses this state folder; stop it, "
                f"or give this one a `state_dir` of its own"
            ) from None
        except OSError as error:
            raise OutputError(
                f"{path}: the state folder cannot be used: {error.strerror}; set another "
                f"`state_dir` or mend its rights"
            ) from error
        yield


def holder(folder: Path) -> int | None:
    """The process that holds `FOLDER/lock`, 0 where it did not say; None where nobody does."""
    try:
        fd = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        said = os.pread(fd, 20, 0).strip()
        return int(said) if said.isdigit() else 0
    finally:
        os.close(fd)
    return None
