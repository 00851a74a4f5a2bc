"""A person as one gallery gives them to another: under one id everywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from jetson_face.core.errors import GalleryError, NameInvalidError
from jetson_face.core.types import F32, Embeddings, EmbeddingSpace, ImageU8, Person
from jetson_face.gallery.book import Book
from jetson_face.gallery.names import valid_name
from jetson_face.gallery.people import PeopleRows
from jetson_face.gallery.permission import consents_of, not_recognised
from jetson_face.gallery.person_notes import (
    CONSENT,
    Consent,
    consents,
    set_listed,
    write_consent,
)
from jetson_face.gallery.records import NewTemplate, checked_vector
from jetson_face.gallery.store import GalleryStore
from jetson_face.gallery.templates import TemplateRows


@dataclass(frozen=True, slots=True, eq=False)
class PersonRecord:
    """Everything that is kept of a person. created: UTC seconds. templates: each with the UTC
    seconds since when it is kept; their vectors are of `space`. never: of the do-not-recognise
    list."""

    person: Person
    created: float
    space: EmbeddingSpace
    templates: tuple[tuple[NewTemplate, float], ...]
    never: bool = False
    consent: Consent | None = None


EmbedPortraits = Callable[[ImageU8, F32], Embeddings]
"""(N, S, S, 3) portraits and (N, 5, 2) landmarks to N vectors."""


def record_of(store: GalleryStore, who: str) -> PersonRecord:
    """A person (name or id) of a gallery. Raises UsageError for nobody, the gallery's errors."""
    info = store.show(who)
    person = info.person
    with store.transaction():  # what is read is of one moment
        templates = TemplateRows(store.book).kept(person.id)
    return PersonRecord(
        person,
        info.created,
        store.space,
        tuple(templates),
        person.id in not_recognised(store),
        consents_of(store).get(person.id),
    )


def fitted(record: PersonRecord, space: EmbeddingSpace, embed: EmbedPortraits) -> PersonRecord:
    """The record with vectors of `space`: embedded again from the portraits where it was made with
    another network. Raises ValueError for a vector that is none, GalleryError where `embed` gives
    others than those of `space`, and what `embed` raises."""
    vectors = [one.vector for one, _ in record.templates]
    if record.space != space and vectors:
        images = np.stack([one.portrait for one, _ in record.templates])
        marks = np.stack([one.landmarks for one, _ in record.templates])
        found = embed(images, marks)
        if found.space != space or len(found) != len(vectors):
            raise GalleryError(f"the network here is {found.space}, the gallery's is {space}")
        vectors = list(found.vectors)
    kept = [
        (replace(one, vector=checked_vector(vector, space)), created)
        for (one, created), vector in zip(record.templates, vectors, strict=True)
    ]
    return replace(record, space=space, templates=tuple(kept))


def put_person(store: GalleryStore, record: PersonRecord) -> bool:
    """Make a person here what the record says: name, templates, whether they may be recognised.
    False where they are so already.

    Nothing is changed where it raises: NameInvalidError for a bad name, or one that somebody else
    has here; GalleryError for a person who was erased here, or a record of another space.
    """
    person = Person(record.person.id, valid_name(record.person.name))
    if record.space != store.space:
        raise GalleryError(f"the record is of {record.space}, the gallery of {store.space}")
    with store.transaction():
        book = store.book
        people = PeopleRows(book)
        if book.was_erased(person.id):
            raise GalleryError("they were erased on this box")
        taken = people.named(person.name)
        if taken is not None and taken[0].id != person.id:
            raise NameInvalidError(f"the name {person.name!r} is somebody else's here")
        known = people.find(person.id)
        if known is None:
            people.add(person, record.created)
            store.act("enrolled", person, {"photos": len(record.templates)})
        elif known[0].name != person.name:
            people.rename(known[0], person.name)
            store.act("renamed", person, {"before": known[0].name})
        changed = _put_templates(store, person, record) or known is None or known[0] != person
        return _put_notes(book, record) or changed


def _put_templates(store: GalleryStore, person: Person, record: PersonRecord) -> bool:
    rows = TemplateRows(store.book)
    kept = rows.kept(person.id) if rows.has(person.id) else []
    have = {(one.photo, one.face): one.vector.tobytes() for one, _ in kept}
    wanted = {(one.photo, one.face): one.vector.tobytes() for one, _ in record.templates}
    if have == wanted:
        return False
    for photo in {photo for (photo, face), old in have.items() if wanted.get((photo, face)) != old}:
        rows.remove(person.id, store.book.photo_tag(photo))
    for one, created in record.templates:
        if rows.add(person, one, one.vector, created):
            store.book.forget_erased(store.book.photo_tag(one.photo))
    if have:
        store.act("photos_added", person, {"photos": len(wanted), "before": len(have)})
    return True


def _put_notes(book: Book, record: PersonRecord) -> bool:
    who = record.person.id
    changed = set_listed(book, who, record.never)
    if consents(book.note(CONSENT)).get(who) == record.consent:
        return changed
    write_consent(book, who, record.consent)
    return True
