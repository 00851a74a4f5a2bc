"""Two people who are one: the templates of the first become the second's."""

from __future__ import annotations

from jetson_face.core.errors import GalleryError, UsageError
from jetson_face.core.types import Person
from jetson_face.gallery.accept import erase
from jetson_face.gallery.book import Book, ids_in
from jetson_face.gallery.permission import not_recognised
from jetson_face.gallery.store import GalleryStore
from jetson_face.gallery.templates import SET_ASIDE, TemplateRows


def merge(store: GalleryStore, who: str, into: str) -> Person:
    """Move every template of one person to another, and remove the first; returns the second.

    Raises UsageError when nobody is called so, or both are one, GalleryError where one of them must
    not be recognised and the other may be.
    """
    with store.transaction():
        gone, kept = store.show(who).person, store.show(into).person
        if gone.id == kept.id:
            raise UsageError(f"{gone.name} cannot be merged with themselves")
        if len({gone.id, kept.id} & not_recognised(store)) == 1:
            raise GalleryError("one of them is on the do-not-recognise list, the other is not")
        moved = _move_templates(store.book, gone.id, kept)
        store.act("merged", kept, {"from": gone.id, "name": gone.name, "templates": moved})
    store.checkpoint()
    return kept


def _move_templates(book: Book, gone: str, kept: Person) -> int:
    """Move the templates of `gone` (id) to `kept` and erase `gone`, inside a transaction; returns
    how many moved. A photo that `kept` has already is not kept twice; what was not matched is not
    matched now."""
    rows = TemplateRows(book)
    found, ids, hidden = rows.kept(gone), rows.ids(gone), ids_in(book.note(SET_ASIDE))
    # First: the rows of a person are bound to that person, and its photos count as erased.
    erase(book, gone)
    moved, aside = 0, set(ids_in(book.note(SET_ASIDE)))
    for (new, created), key in zip(found, ids, strict=True):
        if rows.add(kept, new, new.vector, created):
            moved += 1
            aside |= set(rows.ids(kept.id)[-1:] if key in hidden else ())
        book.forget_erased(book.photo_tag(new.photo))
    book.set_ids(SET_ASIDE, aside)
    return moved
