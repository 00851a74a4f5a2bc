"""Everybody who is enrolled, in one SQLite file bound to one embedding space."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from jetson_face.core.errors import EmbeddingSpaceError, GalleryError, NameInvalidError, UsageError
from jetson_face.core.types import F32, Embeddings, EmbeddingSpace, ImageU8, Person
from jetson_face.gallery import meta, reading, schema
from jetson_face.gallery.matcher import REEMBED, GallerySnapshot
from jetson_face.gallery.names import name_key, valid_name
from jetson_face.gallery.records import (
    NewTemplate,
    PersonInfo,
    Removed,
    TemplateInfo,
    checked_vector,
)
from jetson_face.gallery.sealed import Cipher, Sealer
from jetson_face.util.images import encode_jpeg

_CHUNK = 64


class GalleryStore:
    """The gallery file. Several processes may read while one writes; any thread, one at a time.

    `GalleryStore.open(path, space)` for matching and enrolling, `GalleryStore.open(path)` for what
    needs no embedder (listing, renaming, removing, re-embedding).
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        *,
        cipher: Cipher | None,
        clock: Callable[[], float],
    ) -> None:
        self.path = path
        self._db = connection
        self._sealer = Sealer(path, cipher)
        self._clock = clock
        self._lock = threading.RLock()
        self._seen: tuple[int, int] | None = None
        self._snapshot: GallerySnapshot | None = None
        with self._errors():
            self.space = meta.space(self._db, self.path)

    @classmethod
    def open(
        cls,
        path: Path,
        space: EmbeddingSpace | None = None,
        *,
        create: bool = False,
        timeout_s: float = 5.0,
        cipher: Cipher | None = None,
        clock: Callable[[], float] = time.time,
    ) -> GalleryStore:
        """Open the gallery in `path`; with `create` (and a space) make it where there is none.

        timeout_s: how long to wait for another process that holds it.
        Raises InputMissingError, GalleryCorruptError, GalleryLockedError, EmbeddingSpaceError when
        `space` is not the gallery's, GalleryError when it is sealed and the cipher does not fit,
        OutputError where it cannot be created.
        """
        if create and not path.exists():
            if space is None:
                raise ValueError("a new gallery needs an embedding space")
            about = meta.first(space) | Sealer(path, cipher).meta()
            schema.create(path, about)
        connection = schema.connect(path, timeout_s)
        try:
            store = cls(path, connection, cipher=cipher, clock=clock)
            with store._errors():
                store._sealer.check(meta.value(connection, path, "cipher_check"))
                store._check_space(store.space, space)
                meta.revision(connection, path)
        except BaseException:
            connection.close()
            raise
        return store

    def close(self) -> None:
        """Let the file go; the last process to do so folds the WAL into it."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> GalleryStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes inside come into force together or, after an exception, not at all.

        Raises GalleryLockedError when another process writes for longer than the time-out.
        """
        with self._lock, self._errors():
            nested = self._db.in_transaction
            if nested:
                yield
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            finally:
                self._seen = None

    def revision(self) -> int:
        """Grows with every change by any process. Cheap: ask before every frame if you like."""
        with self._lock, self._errors():
            (data_version,) = self._db.execute("PRAGMA data_version").fetchone()
            if self._seen is None or self._seen[0] != data_version:
                self._seen = (data_version, meta.revision(self._db, self.path))
            return self._seen[1]

    def snapshot(self) -> GallerySnapshot:
        """The templates as they are now; the same object until something changes.

        Raises GalleryCorruptError when a template is damaged, EmbeddingSpaceError when another
        process re-embedded the gallery meanwhile.
        """
        with self._lock, self._errors():
            if self._snapshot is None or self._snapshot.revision != self.revision():
                self._snapshot = self._read()
            return self._snapshot

    def note(self, key: str) -> str | None:
        """A text that is kept with the gallery, such as its calibration."""
        with self._lock, self._errors():
            return meta.note(self._db, key)

    def set_note(self, key: str, text: str | None) -> None:
        """Keep a text with the gallery, or forget it; who is enrolled stays as it is."""
        with self.transaction():
            meta.set_note(self._db, key, text)

    def people(self) -> tuple[PersonInfo, ...]:
        """Everybody, in the order of their names, with what is stored of them."""
        with self._lock, self._errors():
            by_person: dict[str, list[TemplateInfo]] = {}
            for person, *info in self._db.execute(
                "SELECT person, id, source, photo, quality, created FROM templates ORDER BY rowid"
            ):
                by_person.setdefault(person, []).append(TemplateInfo(*info))
            rows = self._db.execute("SELECT id, name, created FROM people ORDER BY name_key")
            return tuple(
                PersonInfo(Person(key, name), created, tuple(by_person.get(key, ())))
                for key, name, created in rows
            )

    def show(self, who: str) -> PersonInfo:
        """One person, by name (letter case does not count) or id. Raises UsageError."""
        person = self._find(who)
        return next(info for info in self.people() if info.person.id == person.id)

    def find(self, name: str) -> Person | None:
        """The person of that name, if there is one. Raises NameInvalidError."""
        with self._lock, self._errors():
            row = self._db.execute(
                "SELECT id, name FROM people WHERE name_key = ?", (name_key(valid_name(name)),)
            ).fetchone()
            return None if row is None else Person(*row)

    def portraits(self, who: str) -> list[tuple[ImageU8, F32]]:
        """The kept portraits of a person, each with its landmarks. Raises UsageError."""
        with self._lock, self._errors():
            ids = self._db.execute(
                "SELECT id FROM templates WHERE person = ? ORDER BY rowid", (self._find(who).id,)
            ).fetchall()
            return [self._portrait(template) for (template,) in ids]

    def add_person(self, name: str) -> Person:
        """Add somebody with no template yet. Raises NameInvalidError, also for a taken name."""
        with self.transaction():
            valid = self._free_name(name, None)
            person = Person(str(uuid.uuid4()), valid)
            self._db.execute(
                "INSERT INTO people VALUES (?, ?, ?, ?)",
                (person.id, valid, name_key(valid), self._clock()),
            )
            meta.raise_revision(self._db)
        return person

    def rename(self, who: str, name: str) -> Person:
        """Give a person another name; templates and id stay.

        Raises UsageError when nobody is called so, NameInvalidError for a bad or taken name.
        """
        with self.transaction():
            person = self._find(who)
            valid = self._free_name(name, person.id)
            self._db.execute(
                "UPDATE people SET name = ?, name_key = ? WHERE id = ?",
                (valid, name_key(valid), person.id),
            )
            meta.raise_revision(self._db)
        return Person(person.id, valid)

    def remove(self, who: str) -> Removed:
        """Erase a person with all templates and portraits, also from the file's free pages.

        Raises UsageError when nobody is called so.
        """
        with self.transaction():
            info = self.show(who)
            self._db.execute("DELETE FROM people WHERE id = ?", (info.person.id,))
            meta.raise_revision(self._db)
        self.checkpoint()
        return Removed(info.person, info.templates)

    def checkpoint(self) -> None:
        """Fold the write-ahead log, which still holds old pages, into the file, and empty it.

        A reader may keep it busy; then the next checkpoint does it.
        """
        with self._lock, self._errors():
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def has_photo(self, person: Person, photo: str) -> bool:
        """A face of that photo (hex SHA-256) is enrolled for the person already."""
        with self._lock, self._errors():
            row = self._db.execute(
                "SELECT 1 FROM templates WHERE person = ? AND photo = ?", (person.id, photo)
            ).fetchone()
            return row is not None

    def add_template(self, person: Person, new: NewTemplate) -> bool:
        """Keep a face of a person; False when that face of that photo is there already.

        Raises ValueError on a vector that does not fit the space, GalleryError when the person is
        gone.
        """
        vector = checked_vector(new.vector, self.space)
        key = str(uuid.uuid4())
        image = encode_jpeg(new.portrait)
        with self.transaction():
            cursor = self._db.execute(
                "INSERT INTO templates VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (
                    *(key, person.id, new.photo, new.face),
                    self._sealer.seal(vector.tobytes(), key, "vector"),
                    *(float(new.quality), new.source, self._clock()),
                ),
            )
            if cursor.rowcount == 0:
                return False
            landmarks = np.asarray(new.landmarks, "<f4").tobytes()
            self._db.execute(
                "INSERT INTO portraits VALUES (?, ?, ?)",
                (
                    key,
                    self._sealer.seal(image, key, "portrait"),
                    self._sealer.seal(landmarks, key, "landmarks"),
                ),
            )
            meta.raise_revision(self._db)
        return True

    def remove_photo(self, person: Person, photo: str) -> int:
        """Erase the templates of one photo (hex SHA-256) of a person; returns how many there were.

        A person who is left without any is removed too: who has no face cannot be recognised.
        """
        with self.transaction():
            gone = self._db.execute(
                "DELETE FROM templates WHERE person = ? AND photo = ?", (person.id, photo)
            ).rowcount
            self._db.execute(
                "DELETE FROM people WHERE id = ?1 AND ?2 > 0 "
                "AND NOT EXISTS (SELECT 1 FROM templates WHERE person = ?1)",
                (person.id, gone),
            )
            meta.raise_revision(self._db)
        self.checkpoint()
        return gone

    def reembed(
        self,
        space: EmbeddingSpace,
        embed_portraits: Callable[[ImageU8, F32], Embeddings],
        *,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> int:
        """Make every template anew from its portrait, all or none, and bind the gallery to `space`.

        embed_portraits: (N, S, S, 3) portraits and (N, 5, 2) landmarks to N vectors of `space`.
        Returns how many. Raises GalleryError when the gallery changed meanwhile.
        """
        before = self.revision()
        with self._lock, self._errors():
            ids = [row[0] for row in self._db.execute("SELECT id FROM templates ORDER BY rowid")]
        vectors: list[F32] = []
        for start in range(0, len(ids), _CHUNK):
            vectors += self._reembedded(ids[start : start + _CHUNK], space, embed_portraits)
            progress(len(vectors), len(ids))
        with self.transaction():
            # The slow part ran with the file free; it counts only if nobody wrote meanwhile.
            if meta.revision(self._db, self.path) != before:
                raise GalleryError(
                    f"{self.path}: somebody changed the gallery meanwhile: try again"
                )
            for key, vector in zip(ids, vectors, strict=True):
                self._db.execute(
                    "UPDATE templates SET vector = ? WHERE id = ?",
                    (self._sealer.seal(vector.tobytes(), key, "vector"), key),
                )
            meta.set_space(self._db, space)
            meta.raise_revision(self._db)
        self.space = space
        return len(ids)

    def _reembedded(
        self,
        ids: Sequence[str],
        space: EmbeddingSpace,
        embed_portraits: Callable[[ImageU8, F32], Embeddings],
    ) -> list[F32]:
        with self._lock, self._errors():
            pairs = [self._portrait(key) for key in ids]
        found = embed_portraits(np.stack([p for p, _ in pairs]), np.stack([m for _, m in pairs]))
        if found.space != space or len(found) != len(ids):
            raise ValueError(f"re-embedding gave {len(found)} of {found.space}, wanted {space}")
        return [checked_vector(vector, space) for vector in found.vectors]

    def _read(self) -> GallerySnapshot:
        # One read transaction: revision, space and rows are of the same moment.
        own = not self._db.in_transaction
        if own:
            self._db.execute("BEGIN")
        try:
            self._check_space(meta.space(self._db, self.path), self.space)
            return reading.snapshot(self._db, self.path, self._sealer, self.space)
        finally:
            if own:
                self._db.execute("COMMIT")

    def _portrait(self, key: str) -> tuple[ImageU8, F32]:
        return reading.portrait(self._db, self.path, self._sealer, key)

    def _find(self, who: str) -> Person:
        row = self._db.execute(
            "SELECT id, name FROM people WHERE id = ?1 OR name_key = ?2", (who, name_key(who))
        ).fetchone()
        if row is None:
            shown = repr(who if len(who) <= 40 else who[:40] + "…")
            raise UsageError(f"nobody is called {shown}: see `jetson-face people list`")
        return Person(*row)

    def _free_name(self, name: str, own: str | None) -> str:
        valid = valid_name(name)
        row = self._db.execute(
            "SELECT id, name FROM people WHERE name_key = ?", (name_key(valid),)
        ).fetchone()
        if row is not None and row[0] != own:
            raise NameInvalidError(f"the name {row[1]!r} is taken: choose another one")
        return valid

    def _check_space(self, stored: EmbeddingSpace, mine: EmbeddingSpace | None) -> None:
        if mine is not None and stored != mine:
            raise EmbeddingSpaceError(
                f"{self.path}: the gallery was made with {stored}, the embedder is {mine}: "
                f"run {REEMBED}"
            )

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except schema.RAISED as error:
            raise schema.translated(error, self.path) from error
