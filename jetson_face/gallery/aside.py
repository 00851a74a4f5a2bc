"""Templates that are kept but not matched: set aside by a person, until they are taken back.

Which ones is a sealed note of the gallery, so that it is covered by the gallery's sum and noticed
by running programs like any other change.
"""

from __future__ import annotations

import json
from collections.abc import Collection

from jetson_face.core.errors import UsageError
from jetson_face.gallery.book import Book

NOTE = "set_aside"


def read(book: Book) -> frozenset[str]:
    """The ids of templates that are set aside."""
    text = book.note(NOTE)
    return frozenset() if text is None else frozenset(map(str, json.loads(text)))


def write(book: Book, templates: Collection[str], known: Collection[str]) -> None:
    """Set these aside, and no others; inside a transaction. known: all ids. Raises UsageError for
    another one."""
    if unknown := sorted(set(templates) - set(known)):
        raise UsageError(f"no template {unknown[0]!r}: see `jetson-face gallery hygiene`")
    if frozenset(templates) != read(book):
        book.set_note(NOTE, json.dumps(sorted(templates)) if templates else None)
