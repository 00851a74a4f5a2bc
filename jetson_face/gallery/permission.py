"""Whether somebody may be recognised: consent recorded or withdrawn, the do-not-recognise list."""

from __future__ import annotations

from dataclasses import asdict

from jetson_face.core.types import Person
from jetson_face.gallery.book import ids_in
from jetson_face.gallery.person_notes import (
    CONSENT,
    DO_NOT_RECOGNISE,
    Consent,
    consents,
    set_listed,
    write_consent,
)
from jetson_face.gallery.store import GalleryStore


def consents_of(store: GalleryStore) -> dict[str, Consent]:
    """By person (id), for those who have a record. Raises the gallery's errors."""
    return consents(store.note(CONSENT))


def not_recognised(store: GalleryStore) -> frozenset[str]:
    """Ids of the people of the do-not-recognise list. Raises the gallery's errors."""
    return ids_in(store.note(DO_NOT_RECOGNISE))


def record_consent(store: GalleryStore, who: str, consent: Consent | None) -> Person:
    """Keep the consent of a person (name or id) in place of the one before; None: it is withdrawn.

    Raises UsageError when nobody is called so, and the gallery's errors.
    """
    with store.transaction():
        person = store.show(who).person
        write_consent(store.book, person.id, consent)
        if consent is None:
            store.act("consent_withdrawn", person, {})
        else:
            store.act("consent_recorded", person, asdict(consent))
    store.checkpoint()
    return person


def withhold(store: GalleryStore, who: str, on: bool = True) -> Person:
    """Put a person (name or id) on the do-not-recognise list, or take them off.

    Raises UsageError when nobody is called so, and the gallery's errors.
    """
    with store.transaction():
        person = store.show(who).person
        if set_listed(store.book, person.id, on):
            store.act("withheld" if on else "no_longer_withheld", person, {})
    return person
