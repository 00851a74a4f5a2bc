"""What lies in a folder of pictures and is not read: what somebody may miss, and the fix."""

from __future__ import annotations

from pathlib import Path

from jetson_face.core.errors import InputBrokenError
from jetson_face.util.images import SUFFIXES

_UNREAD = frozenset(
    {".heic", ".heif", ".hif", ".avif", ".jxl", ".jp2", ".j2k", ".jpx", ".jxr", ".psd", ".tga"}
    | {".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw"}
)
"""Of pictures that need a decoder which is not here, in lower case."""
_HEADS = {b"\xff\xd8\xff": ".jpg", b"\x89PNG\r\n": ".png", b"GIF8": ".gif"}
_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis")
_CONVERT = "convert it to JPEG or PNG"
SUBFOLDER = "a folder in a folder of photos is not looked into: move its photos up, right into that"


def is_named_as_picture(path: Path) -> bool:
    """Whether the name ends as that of a picture which can be read."""
    return path.suffix.lower() in SUFFIXES


def why_unread(path: Path) -> str | None:
    """Why a file is not read as a picture, and the fix; None for a picture by its name, and for
    what is none."""
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return None
    if suffix in _UNREAD:
        return f"{suffix[1:].upper()} is not read: {_CONVERT}"
    head = _head(path)
    if head[4:8] == b"ftyp" and head[8:12] in _BRANDS:
        return f"HEIC or AVIF by its content, which is not read: {_CONVERT}"
    kind = ".webp" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None
    kind = kind or next((end for start, end in _HEADS.items() if head.startswith(start)), None)
    if kind is None:
        return None
    return f"a picture by its content, and not by its name: call it {path.stem}{kind}"


def passed_over(folder: Path) -> list[tuple[Path, str]]:
    """What is passed over in a folder of photos and somebody may miss, each with the reason and the
    fix: folders, and pictures of formats that are not read. Raises InputBrokenError."""
    found = []
    for entry in listed(folder):
        why = SUBFOLDER if is_folder(entry) else why_unread(entry)
        if why is not None:
            found.append((entry, why))
    return found


def listed(folder: Path) -> list[Path]:
    """What is in a folder, sorted by name, without hidden ones. Raises InputBrokenError."""
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise unreadable(folder, error) from error


def unreadable(path: Path, error: OSError) -> InputBrokenError:
    """What the system says of a path, in our words."""
    return InputBrokenError(f"{path}: cannot be read: {error.strerror or error}")


def is_folder(path: Path) -> bool:
    """Not so where that cannot be seen: who reads it as a picture says why."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _head(path: Path) -> bytes:
    """The first bytes of a file; none of what is no file or cannot be read."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(12)
    except OSError:
        return b""
