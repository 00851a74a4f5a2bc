"""The portraits of a gallery: nothing reads them from day to day, so damage would show late."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jetson_face.gallery.records import PersonInfo
from jetson_face.gallery.store import GalleryStore
from jetson_face.gallery.templates import TemplateRows


def check_portraits(
    store: GalleryStore,
    people: Sequence[PersonInfo],
    progress: Callable[[int, int, object], None] = lambda done, total, item: None,
) -> None:
    """Read all of them; the file is free for others between two people.

    Raises GalleryCorruptError for one that is missing or damaged, and the gallery's other errors.
    """
    for done, info in enumerate(people, 1):
        with store.transaction():
            rows = TemplateRows(store.book)
            for key in rows.ids(info.person.id):
                rows.portrait_bytes(key)
        progress(done, len(people), info.name)
