"""What is kept of a person beside templates: the consent record, and whether they must not be
recognised.

Both are sealed notes of the gallery, so that they are covered by its sum, noticed by running
programs like any other change, and gone with the person.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta, timezone

from jetson_face.core.errors import NameInvalidError
from jetson_face.gallery.book import Book, ids_in

CONSENT, DO_NOT_RECOGNISE = "consent", "do_not_recognise"
_TEXT_MAX = 2000
_BY_MAX = 200


@dataclass(frozen=True, slots=True)
class Consent:
    """given_by: who agreed: the person, a parent. given: the day, ISO 8601. until: the last day
    on which it holds, None: until it is withdrawn. text: what they agreed to, or which version of
    it. Raises NameInvalidError."""

    given_by: str
    given: str
    until: str | None = None
    text: str = ""

    def __post_init__(self) -> None:
        for what, text, most in (
            ("given_by", self.given_by, _BY_MAX),
            ("text", self.text, _TEXT_MAX),
        ):
            if len(text) > most or not all(c.isprintable() or c == "\n" for c in text):
                raise NameInvalidError(f"{what}: at most {most} characters, all printable")
        if not self.given_by.strip():
            raise NameInvalidError("given_by: say who agreed")
        given = _day("given", self.given)
        if self.until is not None and _day("until", self.until) < given:
            raise NameInvalidError("until: it ends before it was given")

    @property
    def ends(self) -> float:
        """UTC seconds from which it holds no more."""
        if self.until is None:
            return float("inf")
        night = datetime.combine(date.fromisoformat(self.until), datetime.min.time(), timezone.utc)
        return night.timestamp() + timedelta(days=1).total_seconds()

    def expired(self, now: float) -> bool:
        """now: UTC seconds."""
        return now >= self.ends


def consents(text: str | None) -> dict[str, Consent]:
    """The records in the gallery's note `CONSENT`, by person (id)."""
    return {who: Consent(**known) for who, known in json.loads(text or "{}").items()}


def write_consent(book: Book, person: str, consent: Consent | None) -> None:
    """Keep it, or forget it; inside a transaction."""
    records = consents(book.note(CONSENT))
    records.pop(person, None)
    if consent is not None:
        records[person] = consent
    plain = {who: asdict(one) for who, one in records.items()}
    book.set_note(CONSENT, json.dumps(plain, ensure_ascii=False) if plain else None)


def set_listed(book: Book, person: str, on: bool) -> bool:
    """Put a person (id) on the do-not-recognise list, or take them off; inside a transaction. False
    where it is so already."""
    before = ids_in(book.note(DO_NOT_RECOGNISE))
    return book.set_ids(DO_NOT_RECOGNISE, before | {person} if on else before - {person})


def forget(book: Book, person: str) -> None:
    """Everything of a person (id) who is erased; inside the transaction."""
    if person in consents(book.note(CONSENT)):
        write_consent(book, person, None)
    set_listed(book, person, False)


def withheld(book: Book, now: float | None) -> tuple[frozenset[str], float]:
    """Who must not be recognised (ids), and the UTC seconds until which that holds. now: UTC
    seconds at which a consent may be over; None: that does not matter."""
    found = ids_in(book.note(DO_NOT_RECOGNISE))
    if now is None:
        return found, float("inf")
    records = consents(book.note(CONSENT))
    over = {who for who, consent in records.items() if consent.expired(now)}
    ends = [one.ends for one in records.values() if not one.expired(now)]
    return found | over, min(ends, default=float("inf"))


def _day(what: str, text: str) -> date:
    try:
        day = date.fromisoformat(text)
        if day.isoformat() != text:
            raise ValueError
        return day
    except ValueError:
        raise NameInvalidError(
            f"{what}: {text!r:.40} is no day: write it like 2027-11-29"
        ) from None
