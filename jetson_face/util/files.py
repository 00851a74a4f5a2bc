"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from jetson_face.core.errors import OutputError

TEMPORARY = ".tmp-"
"""How names of unfinished files begin."""


def file_sha256(path: Path) -> str:
    """The SHA-256 (hex) of a file's content. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


class Inode(NamedTuple):
    """Which file it is, whatever it is called."""

    device: int
    number: int

    @classmethod
    def of(cls, found: os.stat_result) -> Inode:
        """The file that was looked at."""
        return cls(found.st_dev, found.st_ino)

    def is_at(self, path: Path) -> bool:
        """The path leads to this file; also where it cannot be seen."""
        try:
            return self == Inode.of(path.stat())
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True


def write_file(path: Path, data: bytes | str, *, mode: int = 0o644) -> None:
    """`write_all` of one file; a device or a pipe takes it as it is. Raises OutputError."""
    if not _takes_bytes(path):
        write_all({path: data}, mode=mode)
        return
    try:
        path.write_bytes(data.encode("utf-8") if isinstance(data, str) else data)
    except OSError as exc:
        raise OutputError(f"{path}: cannot be written: {exc.strerror or exc}") from exc


def _takes_bytes(path: Path) -> bool:
    """What a rename would put an end to: /dev/null, /dev/stdout, a named pipe."""
    folder = path.parent.resolve()
    if folder == Path("/dev") or folder.is_relative_to("/proc"):
        return path.exists()
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)


def write_all(
    files: Mapping[Path, bytes | str],
    reason: Callable[[OSError], str] | None = None,
    *,
    mode: int = 0o644,
) -> None:
    """Write each to a temporary file beside it, flush all to disk, then rename them in order.

    Folders are made where they are missing. A full disk is met before the first rename. `reason`
    words an error. Raises OutputError; every file is then as before.
    """
    temporaries: dict[Path, Path] = {}
    path = Path()
    try:
        for path, data in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY)
            temporaries[path] = Path(name)
            with os.fdopen(handle, "wb") as file:
                file.write(data.encode("utf-8") if isinstance(data, str) else data)
                file.flush()
                os.fsync(file.fileno())
            # mkstemp makes 0600; a service under another user reads it
            Path(name).chmod(mode)
        for path in list(temporaries):
            temporaries[path].replace(path)
            del temporaries[path]
    except OSError as exc:
        why = reason(exc) if reason else exc.strerror or exc
        raise OutputError(f"{path}: cannot be written: {why}") from exc
    finally:
        for temporary in temporaries.values():
            with suppress(OSError):  # the error that led here is the one to tell
                temporary.unlink(missing_ok=True)


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """An empty folder whose files, also those in folders of it, move into `folder` when the block
    ends; where it fails none does, and what was made for them is taken away.

    Raises OutputError; those of the block name the files as they are called in `folder`.
    """
    made: list[Path] = []
    try:
        stage = _stage_in(folder, made)
        try:
            yield stage
            _move_all(stage, folder, made)
        except OutputError as exc:
            before, after = (f"{home / '_'}"[:-1] for home in (stage, folder))
            raise OutputError(str(exc).replace(before, after)) from exc
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    except BaseException:
        for one in reversed(made):
            with suppress(OSError):  # the error that led here is the one to tell
                one.rmdir()
        raise


def _stage_in(folder: Path, made: list[Path]) -> Path:
    try:
        _make_folder(folder, made)
        return Path(tempfile.mkdtemp(dir=folder, prefix=TEMPORARY))
    except OSError as exc:
        raise OutputError(f"{folder}: cannot be written: {exc.strerror or exc}") from exc


def _move_all(stage: Path, folder: Path, made: list[Path]) -> None:
    """What the disk may refuse is done before the first file moves."""
    files = sorted(one for one in stage.rglob("*") if not one.is_dir())
    targets = [folder / one.relative_to(stage) for one in files]
    target = folder
    try:
        for target in targets:
            _make_folder(target.parent, made)
            if target.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        for file, target in zip(files, targets, strict=True):
            file.replace(target)
    except OSError as exc:
        raise OutputError(f"{target}: cannot be written: {exc.strerror or exc}") from exc


def _make_folder(folder: Path, made: list[Path]) -> None:
    """As `mkdir -p`; adds to `made` which there were not before. Raises OSError."""
    if not folder.exists():
        _make_folder(folder.parent, made)
        folder.mkdir(exist_ok=True)
        made.append(folder)
    elif not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def append_line(path: Path, line: str, *, mode: int = 0o600) -> None:
    """Add a line to a file, which is made where it is not, and have it on the disk; after a line
    that was cut, on one of its own. Raises OutputError; the file is then as before."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, mode)
        try:
            append_whole(fd, f"{line}\n".encode())
        finally:
            os.close(fd)
    except OSError as exc:
        raise OutputError(f"{path}: cannot be written: {exc.strerror or exc}") from exc


def append_whole(fd: int, data: bytes) -> None:
    """Add whole lines to an open file and have them on the disk; after a line that was cut, on
    lines of their own. Raises OSError; the file is then as before."""
    size = os.fstat(fd).st_size
    if size and os.pread(fd, 1, size - 1) != b"\n":
        data = b"\n" + data
    if os.write(fd, data) != len(data):
        os.ftruncate(fd, size)
        raise OSError(28, "no space left")
    os.fsync(fd)


def sync_folder(folder: Path) -> None:
    """Have what was renamed, made or removed in a folder on the disk. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
