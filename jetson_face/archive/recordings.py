"""Recordings of cameras: found in files, folders and object stores, with camera and time."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath

from jetson_face.archive.places import ArchivePlace
from jetson_face.config.section import check_name
from jetson_face.core.errors import (
    InputBrokenError,
    InputMissingError,
    JetsonFaceError,
    UsageError,
)
from jetson_face.util.files import file_sha256

SUFFIXES = (".mp4", ".mkv", ".avi", ".mov", ".ts", ".m4v", ".webm", ".mpg", ".mpeg", ".dav")
"""What folders are searched for, in lower case."""
_TIME = re.compile(
    r"(?<!\d)(20\d\d)[-_.]?([01]\d)[-_.]?([0-3]\d)(?:[T_ /.-]{0,3}([0-2]\d)[-_.:h]?([0-5]\d)"
    r"(?:[-_.:m]?([0-5]\d))?)?(?!\d)"
)
_CHANGED = ("mtime", "ETag", "etag", "LastModified", "last_modified", "updated", "created")
"""What stores call the mark of a file's last change."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One file of a camera. address: what opens it, with places for credentials; size: bytes;
    modified: what the store says. start: UTC seconds, from its name or as given; None: only the
    time it was modified is known."""

    address: str
    size: int
    modified: str
    camera: str
    start: float | None


def find_recordings(
    texts: Iterable[str], *, camera: str | None = None, start: float | None = None
) -> list[Recording]:
    """The recordings that files, folders and addresses of object stores name, in order.

    camera, start: of all of them, instead of what their names say. Raises InputMissingError where
    nothing is there, UsageError for one start of several recordings and a name that no camera has.
    """
    if camera is not None:
        check_name(camera, "--camera")
    found = [one for text in texts for one in _in(text, camera, start)]
    if start is not None and len(found) > 1:
        raise UsageError(f"{len(found)} recordings cannot all start at one time: leave out --start")
    return found


def _in(text: str, camera: str | None, start: float | None) -> Iterator[Recording]:
    place = ArchivePlace(text)
    single = (place.local and place.folder.is_file()) or place.text.lower().endswith(SUFFIXES)
    if single:
        parent, _, name = place.text.rpartition("/")
        home = ArchivePlace(parent or ("/" if place.text.startswith("/") else "."))
        names = [name]
    else:
        home, names = place, [n for n in place.names() if _is_recording(n)]
    if not names:
        raise InputMissingError(
            f"{place.shown}: no recordings there; looked for {' '.join(SUFFIXES)}"
        )
    for name in names:
        info = home.info(name)
        modified = next((str(info[key]) for key in _CHANGED if info.get(key) is not None), "")
        own = camera or _camera_of(home, name, single=single)
        begun = start if start is not None else time_in(PurePosixPath(name).name)
        begun = time_in(name) if begun is None else begun
        # absolute: another process may have another working folder
        base = home.root if home.local else home.text.rstrip("/")
        address = f"{base.rstrip('/')}/{name}"
        yield Recording(address, int(info.get("size") or 0), modified, own, begun)


def _is_recording(name: str) -> bool:
    hidden = any(part.startswith(".") for part in name.split("/"))
    return name.lower().endswith(SUFFIXES) and not hidden


def _camera_of(home: ArchivePlace, name: str, *, single: bool) -> str:
    """Of CAMERA/file.mp4, or of a file's name without the time in it."""
    parts = [part for part in PurePosixPath(name).parts[:-1] if not _TIME.fullmatch(part)]
    stem = _TIME.sub("", PurePosixPath(name).stem)
    text = parts[0] if parts and not single else stem
    text = text or PurePosixPath(home.root).name
    return re.sub(r"[^\w.-]+", "_", text).strip("_.-")[:40] or "camera"


def time_in(text: str) -> float | None:
    """UTC seconds of a date and time in a name; None where there is none with a time of day."""
    for hit in _TIME.finditer(text):
        if hit[4] is None:
            continue
        try:
            year, month, day, hour, minute, second = (int(part or 0) for part in hit.groups())
            moment = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
            return moment.timestamp()
        except ValueError:
            continue
    return None


@contextmanager
def local_copy(address: str) -> Iterator[Path]:
    """The recording as a file on this machine: itself, or a copy that goes away afterwards.

    Raises InputMissingError, InputBrokenError, SourceError.
    """
    parent, _, name = address.rpartition("/")
    home = ArchivePlace(parent or "/")
    if home.local:
        path = home.folder / name
        if not path.exists():
            raise InputMissingError(f"{path}: no such file")
        yield path
        return
    with (
        home.open(name) as source,
        tempfile.NamedTemporaryFile(
            prefix="jetson-face-archive-", suffix=PurePosixPath(name).suffix
        ) as copy,
    ):
        try:
            shutil.copyfileobj(source, copy, 1 << 20)
            copy.flush()
        except JetsonFaceError:
            raise
        except OSError as error:
            why = f"cannot be copied to {tempfile.gettempdir()}: {error.strerror}"
            raise InputBrokenError(f"{home.shown}/{name}: {why}") from None
        yield Path(copy.name)


def digest_of(path: Path) -> str:
    """Hex SHA-256 of the content. Raises InputBrokenError."""
    try:
        return file_sha256(path)
    except OSError as error:
        raise InputBrokenError(f"{path}: cannot be read: {error.strerror}") from None
