"""Taking a gallery that is not the one that was last used: a backup that was put back."""

from __future__ import annotations

from jetson_face.core.types import EmbeddingSpace, Person
from jetson_face.gallery.book import Book
from jetson_face.gallery.people import PeopleRows
from jetson_face.gallery.records import Accepted
from jetson_face.gallery.templates import TemplateRows


def erase(book: Book, person: str) -> None:
    """Erase a person (id) with all templates, and remember that; inside a transaction."""
    people, templates = PeopleRows(book), TemplateRows(book)
    book.add_erased([book.erased_tag(person), *templates.photo_tags(person)])
    templates.remove(person)
    people.remove(person)


def erase_again(book: Book, erased: frozenset[bytes], space: EmbeddingSpace) -> Accepted:
    """Erase whoever is back although they were erased; inside the transaction that takes the rest.

    erased: tags of people and photos. Raises GalleryCorruptError where something does not open.
    """
    people, templates = PeopleRows(book), TemplateRows(book)
    book.add_erased(erased)
    again: list[Person] = []
    for person, _ in people.all():
        if book.erased_tag(person.id) in erased:
            erase(book, person.id)
            again.append(person)
    photos = 0
    for owner, tag in templates.owners(erased):
        photos += templates.remove(owner, tag)
        if not templates.has(owner):
            people.remove(owner)
    left = [person for person, _ in people.all()]
    templates.infos()
    faces = len(templates.snapshot(left, space).vectors)
    return Accepted(len(left), faces, tuple(again), photos)
