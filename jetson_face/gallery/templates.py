"""The templates of a gallery file, each sealed for its person, its photo and its space."""

from __future__ import annotations

import uuid
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeAlias

import numpy as np

from jetson_face.core.types import F32, EmbeddingSpace, ImageU8, Person
from jetson_face.gallery import manifest, meta, schema
from jetson_face.gallery.book import Book, ids_in
from jetson_face.gallery.records import LENGTH_ERROR, NewTemplate, TemplateInfo
from jetson_face.gallery.snapshot import GallerySnapshot
from jetson_face.util.images import decode_picture, encode_jpeg

SET_ASIDE = "set_aside"
"""The note that says which templates are not matched."""
_COLUMNS = "SELECT id, person, photo, face, about, vector FROM templates"


TemplateRow: TypeAlias = tuple[str, str, bytes, int, bytes, bytes]
"""id, person, photo, face, about, vector."""
SealedVector: TypeAlias = tuple[str, str, bytes, int, bytes]
"""id, person, photo, face, vector."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is sealed of a template beside its vector. photo: hex SHA-256. created: UTC seconds."""

    photo: str
    source: str
    quality: float
    created: float


class TemplateRows:
    """See the module; errors and transactions as with Book."""

    def __init__(self, book: Book) -> None:
        self._book, self._db, self._sealer = book, book.db, book.sealer
        # A portrait is bound to its template alone, as it was in the first format: the template is
        # bound to the person, and its id is never used again.
        self._portraits = book.sealer.bound("")

    def add(self, person: Person, new: NewTemplate, vector: F32, created: float) -> bool:
        """Keep a face; False when that face of that photo is there already."""
        key = str(uuid.uuid4())
        facts = Facts(new.photo, new.source, float(new.quality), created)
        values = self.sealed(key, person.id, new.face, facts, vector.tobytes())
        added = self._db.execute(
            "INSERT INTO templates VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", values
        ).rowcount
        if not added:
            return False
        marks = np.asarray(new.landmarks, "<f4").tobytes()
        self._db.execute(
            "INSERT INTO portraits VALUES (?, ?, ?)",
            (
                key,
                self._portraits.seal(encode_jpeg(new.portrait), "portrait", key),
                self._portraits.seal(marks, "landmarks", key),
            ),
        )
        self._book.wrote(manifest.of_template(self._sealer, *values), person.id)
        return True

    def sealed(self, key: str, person: str, face: int, facts: Facts, vector: bytes) -> TemplateRow:
        """The whole row of a template."""
        photo = self._book.photo_tag(facts.photo)
        row = key, person, photo.hex(), str(face)
        about = self._book.sealed(asdict(facts), "template", *row)
        blob = self._sealer.seal(vector, "vector", *row, self._book.space().full_name)
        return key, person, photo, face, about, blob

    def remove(self, person: str, photo: bytes | None = None) -> int:
        """Erase the templates of a person (id), or those of one photo (its tag); returns how many
        there were."""
        rows = self._db.execute(
            f"{_COLUMNS} WHERE person = ?1 AND (?2 IS NULL OR photo = ?2)", (person, photo)
        ).fetchall()
        for row in rows:
            self._db.execute("DELETE FROM templates WHERE id = ?", (row[0],))
            self._book.wrote(-manifest.of_template(self._sealer, *row), person)
        aside = ids_in(self._book.note(SET_ASIDE))
        self._book.set_ids(SET_ASIDE, aside - {row[0] for row in rows})
        return len(rows)

    def has(self, person: str, photo: str | None = None) -> bool:
        """The person (id) has a template, of that photo (hex SHA-256)."""
        tag = None if photo is None else self._book.photo_tag(photo)
        row = self._db.execute(
            "SELECT 1 FROM templates WHERE person = ?1 AND (?2 IS NULL OR photo = ?2)",
            (person, tag),
        ).fetchone()
        return row is not None

    def photo_tags(self, person: str) -> list[bytes]:
        """The tags of a person's photos."""
        rows = self._db.execute("SELECT DISTINCT photo FROM templates WHERE person = ?", (person,))
        return [tag for (tag,) in rows]

    def owners(self, photos: Iterable[bytes]) -> list[tuple[str, bytes]]:
        """Who (ids) has templates of these photos (tags)."""
        found: list[tuple[str, bytes]] = []
        for tag in photos:
            found += self._db.execute(
                "SELECT DISTINCT person, photo FROM templates WHERE photo = ?", (tag,)
            ).fetchall()
        return found

    def ids(self, person: str | None = None) -> list[str]:
        """In the order in which they came."""
        where, asked = _of(person)
        rows = self._db.execute(f"SELECT id FROM templates {where} ORDER BY rowid", asked)
        return [key for (key,) in rows]

    def infos(self, person: str | None = None) -> dict[str, list[TemplateInfo]]:
        """What people may read of the templates, by person (id)."""
        found: dict[str, list[TemplateInfo]] = {}
        where, asked = _of(person)
        for key, owner, photo, face, about in self._db.execute(
            f"SELECT id, person, photo, face, about FROM templates {where} ORDER BY rowid", asked
        ):
            known = self._book.opened(about, "template", key, owner, _hex(photo), str(face))
            try:
                info = TemplateInfo(id=key, **known)
            except TypeError:
                raise schema.corrupt(self._book.path, f"the record of template {key}") from None
            found.setdefault(owner, []).append(info)
        return found

    def portrait(self, key: str) -> tuple[ImageU8, F32]:
        """The portrait of a template, and its landmarks (5, 2)."""
        image, marks = self.portrait_bytes(key)
        try:
            return decode_picture(image, ""), np.frombuffer(marks, "<f4").reshape(5, 2).copy()
        except ValueError:
            raise schema.corrupt(self._book.path, f"portrait of template {key}") from None

    def portrait_bytes(self, key: str) -> tuple[bytes, bytes]:
        """The same as they are kept, not decoded."""
        row = self._db.execute(
            "SELECT image, landmarks FROM portraits WHERE template = ?", (key,)
        ).fetchone()
        if row is None or not all(isinstance(blob, bytes) for blob in row):
            raise schema.corrupt(self._book.path, f"template {key} keeps no portrait")
        image, marks = row
        return (
            self._portraits.open(image, "portrait", key),
            self._portraits.open(marks, "landmarks", key),
        )

    def vector(self, key: str) -> F32:
        """The vector of one template: (dim,) float32."""
        rows = self._db.execute(
            "SELECT id, person, photo, face, vector FROM templates WHERE id = ?", (key,)
        ).fetchall()
        (vector,) = self.opened(rows)
        found: F32 = vector
        return found

    def opened(self, rows: Sequence[SealedVector], space: EmbeddingSpace | None = None) -> F32:
        """The vectors of some rows: (N, dim). space: the gallery's, where that is known."""
        of = space or self._book.space()
        plain = [
            self._sealer.open(blob, "vector", key, owner, _hex(photo), str(face), of.full_name)
            for key, owner, photo, face, blob in rows
        ]
        return self._vectors(plain, of)

    def packed(self, person: str) -> Iterator[tuple[str, int, bytes]]:
        """Of each template of a person (id): id, number of the row, and the vector's bytes."""
        for row in self._db.execute(
            f"{_COLUMNS} WHERE person = ? ORDER BY rowid", (person,)
        ).fetchall():
            key, owner, photo, face, _, blob = row
            (vector,) = self.opened([(key, owner, photo, face, blob)])
            yield key, manifest.of_template(self._sealer, *row), vector.tobytes()

    def kept(self, person: str) -> list[tuple[NewTemplate, float]]:
        """Everything of a person (id), as it could be added again, and since when (UTC seconds)."""
        faces = dict(self._db.execute("SELECT id, face FROM templates WHERE person = ?", (person,)))
        found = []
        for info in self.infos(person).get(person, []):
            image, marks = self.portrait(info.id)
            vector, face = self.vector(info.id), int(faces[info.id])
            new = NewTemplate(vector, info.quality, info.photo, image, marks, info.source, face)
            found.append((new, info.created))
        return found

    def snapshot(
        self,
        people: Sequence[Person],
        space: EmbeddingSpace,
        aside: Container[str] = (),
        withheld: Container[str] = (),
    ) -> GallerySnapshot:
        """Those of the people who have templates, in their order, with every vector but those of
        the templates (ids) that are set aside. withheld: ids of people who must not be named."""
        plain: dict[str, list[bytes]] = {}
        name = space.full_name
        for key, owner, photo, face, blob in self._db.execute(
            "SELECT id, person, photo, face, vector FROM templates ORDER BY rowid"
        ):
            if key in aside:
                continue
            opened = self._sealer.open(blob, "vector", key, owner, _hex(photo), str(face), name)
            plain.setdefault(owner, []).append(opened)
        present = tuple(person for person in people if person.id in plain)
        counts = [len(plain[person.id]) for person in present]
        index = np.repeat(np.arange(len(present), dtype=np.int64), counts)
        vectors = self._vectors([one for person in present for one in plain[person.id]], space)
        revision = meta.revision(self._db, self._book.path)
        hidden = frozenset(person.id for person in present if person.id in withheld)
        return GallerySnapshot(space, vectors, index, present, revision, hidden)

    def change_space(self, space: EmbeddingSpace, vectors: Mapping[str, F32]) -> None:
        """Bind the gallery to another space. vectors: what replaces each template's, by id."""
        before = self._book.space()
        for key, vector in vectors.items():
            ((_, owner, photo, face, about, old),) = self._db.execute(
                f"{_COLUMNS} WHERE id = ?", (key,)
            ).fetchall()
            row = key, owner, _hex(photo), str(face), space.full_name
            blob = self._sealer.seal(vector.tobytes(), "vector", *row)
            self._db.execute("UPDATE templates SET vector = ? WHERE id = ?", (blob, key))
            values = key, owner, photo, face, about
            self._book.wrote(-manifest.of_template(self._sealer, *values, old), owner)
            self._book.wrote(manifest.of_template(self._sealer, *values, blob))
        meta.set_space(self._db, space)
        self._book.wrote(-manifest.of_space(self._sealer, before))
        self._book.wrote(manifest.of_space(self._sealer, space))

    def _vectors(self, plain: Sequence[bytes], space: EmbeddingSpace) -> F32:
        """Stored vectors as (M, dim), all at once: a live program reads them between two frames."""
        path = self._book.path
        if any(len(one) != 4 * space.dim for one in plain):
            raise schema.corrupt(path, f"a vector without {space.dim} numbers")
        vectors: F32 = np.frombuffer(b"".join(plain), "<f4").reshape(-1, space.dim).copy()
        if not (np.abs(np.einsum("ij,ij->i", vectors, vectors) - 1) <= LENGTH_ERROR).all():
            raise schema.corrupt(path, "a vector that is not of length 1")
        return vectors


def _of(person: str | None) -> tuple[str, tuple[str, ...]]:
    """A condition that SQLite has an index for, and its value: `? IS NULL OR` would read all."""
    return ("", ()) if person is None else ("WHERE person = ?", (person,))


def _hex(tag: object) -> str:
    """A photo's tag as text; one of another type opens nothing."""
    return tag.hex() if isinstance(tag, bytes) else ""
