"""One service to a state folder."""

from __future__ import annotations

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
