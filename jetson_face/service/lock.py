"""One service to a state folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from jetson_face.core.errors import OutputError, StateLockedError
from jetson_face.util.locks import HeldError, folder_lock, holder_of


@contextmanager
def state_lock(folder: Path) -> Iterator[None]:
    """Hold a state folder for the block.

    Raises StateLockedError when another process holds it, OutputError when the folder cannot be
    made.
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            stack.enter_context(folder_lock(folder))
        except HeldError as error:
            raise StateLockedError(
                f"{folder}: another jetson-face (pid {error.pid}) uses this state folder; stop it, "
                f"or give this one a `state_dir` of its own"
            ) from None
        except OSError as error:
            raise OutputError(
                f"{folder}: the state folder cannot be used: {error.strerror}; set another "
                f"`state_dir` or fix its rights"
            ) from error
        yield


def holder(folder: Path) -> int | None:
    """The process that holds a state folder, 0 where it did not say; None where nobody does."""
    said = holder_of(folder)
    return None if said is None else int(said) if said.isdigit() else 0
