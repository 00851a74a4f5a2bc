"""The people of a gallery file: their names are sealed, and found by a keyed digest."""

from __future__ import annotations

from jetson_face.core.types import Person
from jetson_face.gallery import manifest, person_notes, schema
from jetson_face.gallery.book import Book
from jetson_face.gallery.names import is_text, name_key

_COLUMNS = "SELECT id, tag, about FROM people"


class PeopleRows:
    """See the module; errors and transactions as with Book."""

    def __init__(self, book: Book) -> None:
        self._book, self._db, self._sealer = book, book.db, book.sealer

    def add(self, person: Person, created: float) -> None:
        """A person with no template yet. created: UTC seconds."""
        tag, about = self.sealed(person, created)
        self._db.execute("INSERT INTO people VALUES (?, ?, ?)", (person.id, tag, about))
        self._book.wrote(manifest.of_person(self._sealer, person.id, tag, about), person.id)

    def rename(self, person: Person, name: str) -> None:
        """Give a person another name."""
        row = self._db.execute(f"{_COLUMNS} WHERE id = ?", (person.id,)).fetchone()
        tag, about = self.sealed(Person(person.id, name), self._opened(*row)[1])
        self._db.execute(
            "UPDATE people SET tag = ?, about = ? WHERE id = ?", (tag, about, person.id)
        )
        self._book.wrote(-manifest.of_person(self._sealer, *row))
        self._book.wrote(manifest.of_person(self._sealer, person.id, tag, about), person.id)

    def remove(self, person: str) -> None:
        """Erase the row of a person (id) who has no templates any more, with what is noted."""
        person_notes.forget(self._book, person)
        row = self._db.execute(f"{_COLUMNS} WHERE id = ?", (person,)).fetchone()
        self._db.execute("DELETE FROM people WHERE id = ?", (person,))
        self._book.wrote(-manifest.of_person(self._sealer, *row), person)

    def find(self, who: str) -> tuple[Person, float] | None:
        """By id, or by name (letter case does not count); and since when (UTC seconds)."""
        if not is_text(who):
            return None
        row = self._db.execute(f"{_COLUMNS} WHERE id = ?", (who,)).fetchone()
        return self.named(who) if row is None else self._opened(*row)

    def named(self, name: str) -> tuple[Person, float] | None:
        """By name alone."""
        row = self._db.execute(f"{_COLUMNS} WHERE tag = ?", (self._tag(name),)).fetchone()
        return None if row is None else self._opened(*row)

    def packed(self, person: str) -> tuple[str, int] | None:
        """Name of a person (id), and the number of the row."""
        row = self._db.execute(f"{_COLUMNS} WHERE id = ?", (person,)).fetchone()
        if row is None:
            return None
        return self._opened(*row)[0].name, manifest.of_person(self._sealer, *row)

    def count(self) -> int:
        """How many there are."""
        (found,) = self._db.execute("SELECT count(*) FROM people").fetchone()
        return int(found)

    def all(self) -> list[tuple[Person, float]]:
        """Everybody, in the order of their names, and since when (UTC seconds)."""
        found = [self._opened(*row) for row in self._db.execute(_COLUMNS)]
        return sorted(found, key=lambda one: name_key(one[0].name))

    def sealed(self, person: Person, created: float) -> tuple[bytes, bytes]:
        """What a person's row holds beside the id."""
        tag = self._tag(person.name)
        known = {"name": person.name, "created": created}
        return tag, self._book.sealed(known, "person", person.id, tag.hex())

    def _tag(self, name: str) -> bytes:
        return self._sealer.tag("name", name_key(name))

    def _opened(self, key: str, tag: bytes, about: bytes) -> tuple[Person, float]:
        known = self._book.opened(about, "person", key, tag.hex())
        try:
            return Person(key, str(known["name"])), float(known["created"])
        except (KeyError, TypeError, ValueError):
            raise schema.corrupt(self._book.path, f"the record of person {key}") from None
