"""Faces and state in pieces that are small enough to be carried to another machine and back."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from jetson_face.core.errors import InputBrokenError
from jetson_face.training import data
from jetson_face.util.files import write_file

PIECE = 15 << 20
"""Bytes of a piece of a checkpoint."""


def split_faces(packs: Sequence[Path], folder: Path, most_bytes: int) -> list[Path]:
    """Write the packs' pictures as `faces_0.zip`, ... of at most ``most_bytes`` each.

    Pictures are copied as they are; labels.csv of each has file and person, the person's name
    behind the pack's, so that two packs' people stay apart.

    Raises:
        InputMissingError: a pack is absent.
        ValueError: a picture alone is larger.
    """
    out: list[Path] = []
    waiting: list[tuple[str, str, bytes]] = []
    size = 0
    for name, person, content in _pictures(packs):
        cost = len(content) + 3 * len(name) + len(person) + 200  # headers, directory, labels
        if cost > most_bytes:
            raise ValueError(f"{name} has {len(content)} bytes: more than a part may have")
        if size + cost > most_bytes:
            out.append(write_pack(folder / f"faces_{len(out)}.zip", waiting))
            waiting, size = [], 0
        waiting.append((name, person, content))
        size += cost
    if waiting:
        out.append(write_pack(folder / f"faces_{len(out)}.zip", waiting))
    return out


def _pictures(packs: Sequence[Path]) -> Iterator[tuple[str, str, bytes]]:
    for pack in packs:
        source = data.find(pack)
        names, people, read = data.from_zip(source)
        for name, person in zip(names, people, strict=True):
            owner = f"{source.stem}/{person}" if person else ""
            yield f"{source.stem}/{name}", owner, read(name)


def write_pack(path: Path, rows: Iterable[tuple[str, str, bytes]]) -> Path:
    """A zip of pictures with labels.csv, as ``data.open_packed`` reads it; rows: file, person (""
    unknown), the picture's bytes."""
    labels = io.StringIO()
    table = csv.writer(labels)
    table.writerow(["file", "person"])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, person, content in rows:
            archive.writestr(name, content)
            table.writerow([name, person])
        archive.writestr("labels.csv", labels.getvalue(), zipfile.ZIP_DEFLATED)
    write_file(path, buffer.getvalue())
    return path


def split_file(path: Path, folder: Path, piece: int = PIECE) -> list[Path]:
    """Copy a file as `NAME.0`, `NAME.1`, ... and, last of all, `NAME.count`, their number."""
    content = path.read_bytes()
    out = []
    for number, start in enumerate(range(0, max(len(content), 1), piece)):
        out.append(folder / f"{path.name}.{number}")
        write_file(out[-1], content[start : start + piece])
    count = folder / f"{path.name}.count"
    write_file(count, f"{len(out)} {len(content)}\n")
    return [*out, count]


def join_file(folder: Path, path: Path) -> bool:
    """Put together what ``split_file`` left in ``folder`` under ``path``'s name; False: nothing.

    Raises:
        InputBrokenError: pieces are missing or of two different copies.
    """
    count = folder / f"{path.name}.count"
    if not count.exists():
        return False
    number, size = map(int, count.read_text().split())
    try:
        content = b"".join((folder / f"{path.name}.{i}").read_bytes() for i in range(number))
    except FileNotFoundError as exc:
        raise InputBrokenError(f"{folder}: a piece of {path.name} is missing: {exc}") from exc
    if len(content) != size:
        raise InputBrokenError(f"{folder}: the pieces of {path.name} are {len(content)} bytes")
    write_file(path, content)
    return True
