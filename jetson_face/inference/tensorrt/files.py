"""What an engine cache on a full or read-only disk says, and a lock that says who holds it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from jetson_face.core.errors import EngineError, OutputError
from jetson_face.util.locks import HeldError, file_lock


def reason(exc: OSError) -> str:
    """What went wrong, with the way out where there is a usual one."""
    text = exc.strerror or str(exc)
    if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{text}: free some space, or set engines.cache to another disk"
    if exc.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"{text}: set engines.cache to a folder that this user may write to"
    return text


@contextmanager
def folder_lock(folder: Path, what: str) -> Iterator[None]:
    """Hold `folder/.lock` for the block.

    Raises EngineError at once, naming the process, where another holds it; OutputError where the
    lock file cannot be made or locked.
    """
    path = folder / ".lock"
    with ExitStack() as stack:
        try:
            stack.enter_context(file_lock(path, mode=0o644))
        except HeldError as exc:
            raise EngineError(
                f"{what} is already under way in {folder} (process {exc.pid}): wait for it to end"
            ) from None
        except OSError as exc:
            raise OutputError(f"{path}: cannot be locked: {reason(exc)}") from exc
        yield
