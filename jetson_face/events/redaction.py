"""Takes a person out of events that are written already: name and id give way to a mark.

The mark is as long as what it replaces, byte for byte, and every byte on the way is valid JSON: a
file that a service appends to is rewritten in place, and a process that is killed half-way leaves
whole lines, which the next try finishes.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

from jetson_face.events.outbox_file import OutboxFile

NOBODY = "00000000-0000-0000-0000-000000000000"
"""Stands where the id of an erased person was."""
_NAME = rb'"name":\s*"((?:[^"\\]|\\.)*)"'
_ANY_NAME = re.compile(_NAME)


def mask_names(event: bytes, person: str) -> bytes:
    """The event with `*` for every byte of the person's name; of all names where it is not told
    whose they are, of none where the id is that of somebody who was not enrolled."""
    if re.search(rb'"unknown_id":\s*"' + re.escape(person.encode()) + b'"', event):
        return event
    own = re.compile(_NAME + rb'(?=,\s*"person":\s*"' + re.escape(person.encode()) + rb'")')
    return (own if own.search(event) else _ANY_NAME).sub(_stars, event)


def _stars(found: re.Match[bytes]) -> bytes:
    return found[0][: found.start(1) - found.start()] + b"*" * len(found[1]) + b'"'


def mask_id(event: bytes, person: str) -> bytes:
    """The event with zeros for the id, wherever it is (also in the name of a crop)."""
    mark = NOBODY if len(person) == len(NOBODY) else "0" * len(person)
    return event.replace(person.encode(), mark.encode())


def mask_outbox(path: Path, person: str) -> int:
    """Mask a person in the outbox, also while a service uses it; returns how many events.

    Raises OSError where the file cannot be read or written, or is damaged.
    """
    if not path.exists():
        return 0
    try:
        with contextlib.closing(OutboxFile(path)) as file:
            return file.rewrite(
                person.encode(), lambda body: mask_id(mask_names(body, person), person)
            )
    except sqlite3.Error as error:
        raise OSError(str(error)) from error


def mask_file(path: Path, person: str) -> int:
    """Mask a person in a file of events, one JSON a line; returns how many lines.

    Raises OSError.
    """
    # No O_APPEND: with it, Linux writes at the end whatever the offset.
    fd = os.open(path, os.O_RDWR)
    try:
        # First all names: what still has its id is found again by the next try. The ids of the
        # same lines of the same file: one that is appended meanwhile keeps id and name.
        found, end = _rewrite(fd, person, lambda line: mask_names(line, person), None)
        if found:
            _rewrite(fd, person, lambda line: mask_id(line, person), end)
    finally:
        os.close(fd)
    return found


def _rewrite(
    fd: int, person: str, mask: Callable[[bytes], bytes], end: int | None
) -> tuple[int, int]:
    """How many lines before the byte `end` changed, and the byte reached."""
    needle, found, offset = person.encode(), 0, 0
    os.lseek(fd, 0, os.SEEK_SET)
    with open(fd, "rb", closefd=False) as file:
        for line in file:
            if end is not None and offset + len(line) > end:
                break
            if needle in line:
                found += 1
                os.pwrite(fd, mask(line), offset)
            offset += len(line)
    if found:
        os.fsync(fd)
    return found, offset
