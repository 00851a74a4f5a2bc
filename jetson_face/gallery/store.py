"""Everybody who is enrolled, in one SQLite file bound to one embedding space."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from jetson_face.core.errors import GalleryError, NameInvalidError, UsageError
from jetson_face.core.protocols import Cipher
from jetson_face.core.types import F32, Embeddings, EmbeddingSpace, ImageU8, Person
from jetson_face.gallery import opening, person_notes, schema
from jetson_face.gallery.accept import erase, erase_again
from jetson_face.gallery.book import Book, ids_in
from jetson_face.gallery.file import LARGE, GalleryFile
from jetson_face.gallery.ledger import Ledger
from jetson_face.gallery.names import shown, valid_name
from jetson_face.gallery.records import (
    Accepted,
    NewTemplate,
    PersonInfo,
    checked_vector,
)
from jetson_face.gallery.snapshot import GallerySnapshot
from jetson_face.gallery.templates import SET_ASIDE
from jetson_face.privacy.audit import Action, AuditLog

_CHUNK = 64


class GalleryStore:
    """The gallery file. Several processes may read while one writes; any thread, one at a time.

    `GalleryStore.open(path, space)` for matching and enrolling, `GalleryStore.open(path)` for what
    needs no embedder (listing, renaming, removing, re-embedding).
    """

    def __init__(
        self,
        path: Path,
        open_file: Callable[[EmbeddingSpace | None], GalleryFile],
        space: EmbeddingSpace | None,
        clock: Callable[[], float],
        withhold_expired: bool = False,
    ) -> None:
        self.path = path
        self._open_file, self._clock = open_file, clock
        self._withhold_expired, self._holds_until = withhold_expired, float("inf")
        self._opened: GalleryFile | None = open_file(space)
        self._closed = False
        self._snapshot: GallerySnapshot | None = None
        self.space = self._opened.book.space()

    @classmethod
    def open(
        cls,
        path: Path,
        space: EmbeddingSpace | None = None,
        *,
        create: bool = False,
        timeout_s: float = 5.0,
        cipher: Cipher | None = None,
        ledger: Ledger | None = None,
        recorder: AuditLog | None = None,
        restored: bool = False,
        withhold_expired: bool = False,
        large: int = LARGE,
        clock: Callable[[], float] = time.time,
    ) -> GalleryStore:
        """Open the gallery in `path`; with `create` (and a space) make it where there is none.

        timeout_s: how long to wait for another process that holds it. ledger: remembers how often
        it changed; None where an older copy may come back unnoticed. recorder: the audit log.
        restored: open it whatever the ledger says, for `accept` alone. withhold_expired: whose
        consent is over is not recognised. large: templates from which it is not held whole.
        Raises InputMissingError, GalleryCorruptError, GalleryLockedError, GalleryRestoredError,
        EmbeddingSpaceError when `space` is not the gallery's, GalleryError when it is sealed and
        the cipher does not fit, OutputError where it cannot be created.
        """
        if create and not path.exists():
            if space is None:
                raise ValueError("a new gallery needs an embedding space")
            opening.create(path, space, cipher, ledger)

        def open_file(wanted: EmbeddingSpace | None) -> GalleryFile:
            upgrade = opening.upgrader(path, cipher, None if restored else ledger)
            connection = schema.connect(path, timeout_s, upgrade, large)
            try:
                file = GalleryFile(path, connection, cipher, ledger, recorder, large)
                with file.errors():
                    opening.check_space(path, file.book.space(), wanted)
                if not restored:
                    file.check()
            except BaseException:
                connection.close()
                raise
            return file

        return cls(path, open_file, space, clock, withhold_expired)

    def close(self) -> None:
        """Let the file go; the last process to do so folds the WAL into it."""
        self.let_go()
        self._closed = True

    def let_go(self) -> None:
        """Close the file until it is needed again, which opens the one that lies there then.

        Two connections of one process to two files that had one name after the other share a
        write-ahead log and lose each other's locks: before another is opened, this one goes.
        """
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def __enter__(self) -> GalleryStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _file(self) -> GalleryFile:
        if self._opened is None:
            if self._closed:
                raise GalleryError(f"{self.path}: the gallery was closed")
            self._opened = self._open_file(self.space)
        return self._opened

    @property
    def id(self) -> str:
        """Of the gallery, whatever its file is called."""
        return self._file.id

    def replaced(self) -> bool:
        """The file that lies there is not the one that is open; see GalleryFile."""
        return self._opened is None or self._opened.replaced()

    def transaction(self) -> AbstractContextManager[None]:
        """All changes inside come into force together or, after an exception, not at all.

        Raises GalleryLockedError when another process writes for longer than the time-out,
        GalleryError when the file was exchanged, OutputError.
        """
        if not self._file.changing and self._file.exchanged:
            self.let_go()
            raise GalleryError(f"{self.path}: the gallery's file was exchanged: try again")
        return self._file.transaction()

    def act(self, act: Action, person: Person, details: Mapping[str, object]) -> None:
        """Put an entry into the audit log that comes into force with the transaction around it."""
        self._file.acts.add(act, person, details)

    def revision(self) -> int:
        """Grows with every change by any process. Cheap: ask before every frame if you like."""
        return self._file.revision()

    def checkpoint(self) -> None:
        """See GalleryFile."""
        self._file.checkpoint()

    def snapshot(self) -> GallerySnapshot:
        """The templates as they are now; the same object until something changes or a consent ends.

        Raises GalleryCorruptError when a template is damaged, EmbeddingSpaceError when another
        process re-embedded the gallery meanwhile.
        """
        if self._file.changing:
            return self._read()
        known = self._snapshot
        if known is None or known.revision != self.revision() or self._clock() >= self._holds_until:
            known = self._snapshot = self._read()
        return known

    def note(self, key: str) -> str | None:
        """A text that is kept with the gallery, such as its calibration."""
        with self._file.reading():
            return self._file.book.note(key)

    def set_note(self, key: str, text: str | None) -> None:
        """Keep a text with the gallery, or forget it; who is enrolled stays as it is."""
        with self.transaction():
            self._file.book.set_note(key, text)

    def aside(self) -> frozenset[str]:
        """Ids of the templates that are kept but not matched."""
        return ids_in(self.note(SET_ASIDE))

    def set_aside(self, templates: Collection[str]) -> None:
        """Keep these templates (ids) out of matching, and no others. Raises UsageError for an id
        that no template has."""
        with self.transaction():
            there = set(self._file.templates.ids())
            # Earlier versions left the ids of templates that went with a photo or a merge.
            if unknown := sorted(set(templates) - there - self.aside()):
                raise UsageError(f"no template {unknown[0]!r}: see `jetson-face gallery hygiene`")
            self._file.book.set_ids(SET_ASIDE, there.intersection(templates))

    def people(self) -> tuple[PersonInfo, ...]:
        """Everybody, in the order of their names, with what is stored of them."""
        with self._file.reading(rows=True):
            by_person = self._file.templates.infos()
            return tuple(
                PersonInfo(person, created, tuple(by_person.get(person.id, ())))
                for person, created in self._file.people.all()
            )

    def show(self, who: str) -> PersonInfo:
        """One person, by name (letter case does not count) or id. Raises UsageError."""
        with self._file.reading():
            person, created = self._find(who)
            infos = self._file.templates.infos(person.id).get(person.id, ())
            return PersonInfo(person, created, tuple(infos))

    def find(self, name: str) -> Person | None:
        """The person of that name, if there is one. Raises NameInvalidError."""
        with self._file.reading():
            found = self._file.people.named(valid_name(name))
            return None if found is None else found[0]

    def portraits(self, who: str) -> list[tuple[ImageU8, F32]]:
        """The kept portraits of a person, each with its landmarks. Raises UsageError."""
        with self._file.reading():
            person, _ = self._find(who)
            return [
                self._file.templates.portrait(key) for key in self._file.templates.ids(person.id)
            ]

    def add_person(self, name: str) -> Person:
        """Add somebody with no template yet. Raises NameInvalidError, also for a taken name."""
        with self.transaction():
            person = Person(str(uuid.uuid4()), self._free_name(name, None))
            self._file.people.add(person, self._clock())
        return person

    def rename(self, who: str, name: str) -> Person:
        """Give a person another name; templates and id stay.

        Raises UsageError when nobody is called so, NameInvalidError for a bad or taken name.
        """
        with self.transaction():
            before, _ = self._find(who)
            person = Person(before.id, self._free_name(name, before.id))
            self._file.people.rename(before, person.name)
            self.act("renamed", person, {"before": before.name})
        return person

    def remove(self, who: str) -> PersonInfo:
        """Erase a person with all templates and portraits, also from the file's free pages; that
        they were erased is remembered, by digests that tell nothing of them.

        Returns what was stored of them. Raises UsageError when nobody is called so.
        """
        with self.transaction():
            info = self.show(who)
            erase(self._file.book, info.person.id)
            self.act("removed", info.person, {"templates": len(info.templates)})
        self.checkpoint()
        return info

    @property
    def book(self) -> Book:
        """Its rows, for who changes several at once inside a transaction."""
        return self._file.book

    def has_photo(self, person: Person, photo: str) -> bool:
        """A face of that photo (hex SHA-256) is enrolled for the person already."""
        with self._file.reading():
            return self._file.templates.has(person.id, photo)

    def was_erased(self, photo: str) -> bool:
        """That photo (hex SHA-256) was erased with a person, and not enrolled since."""
        with self._file.reading():
            return self._file.book.photo_tag(photo) in self._file.book.erased()

    def add_template(self, person: Person, new: NewTemplate) -> bool:
        """Keep a face of a person; False when that face of that photo is there already.

        Raises ValueError on a vector that does not fit the space, GalleryError when the person is
        gone.
        """
        vector = checked_vector(new.vector, self.space)
        with self.transaction():
            added = self._file.templates.add(person, new, vector, self._clock())
            if added:
                self._file.book.forget_erased(self._file.book.photo_tag(new.photo))
        return added

    def remove_photo(
        self,
        person: Person,
        photo: str,
        act: Action | None = None,
        details: Mapping[str, object] | None = None,
    ) -> int:
        """Erase the templates of one photo (hex SHA-256) of a person; returns how many there were.

        A person who is left without any is removed too: who has no face cannot be recognised. act:
        what the audit log calls it, with details.
        """
        with self.transaction():
            gone = self._file.templates.remove(person.id, self._file.book.photo_tag(photo))
            if gone and not self._file.templates.has(person.id):
                self._file.people.remove(person.id)
            if act is not None:
                self.act(act, person, {"photos": gone, **(details or {})})
        self.checkpoint()
        return gone

    def accept(self) -> Accepted:
        """Take a gallery that is not the one that was last used, opened as `restored`; who was
        erased since it was copied is erased again.

        Raises GalleryCorruptError where something of it does not open.
        """
        book, known = self._file.book, opening.remembered(self.path, self._file.ledger)
        with self._file.accepting(known):
            erased = book.erased() | (frozenset() if known is None else known.erased)
            done = erase_again(book, erased, self.space)
            for person in done.again:
                self.act("removed", person, {"again": True})
            counts = {"people": done.people, "templates": done.templates}
            counts |= {"people_erased_again": len(done.again), "photos_erased_again": done.photos}
            self.act("restore_accepted", Person("", ""), counts)
        self.checkpoint()
        return done

    def reembed(
        self,
        space: EmbeddingSpace,
        embed_portraits: Callable[[ImageU8, F32], Embeddings],
        *,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> int:
        """Make every template again from its portrait, all or none; binds the gallery to `space`.

        embed_portraits: (N, S, S, 3) portraits and (N, 5, 2) landmarks to N vectors of `space`.
        Returns how many. Raises GalleryError when the gallery changed meanwhile.
        """
        before = self.revision()
        with self._file.reading():
            ids = self._file.templates.ids()
        vectors: dict[str, F32] = {}
        for start in range(0, len(ids), _CHUNK):
            part = ids[start : start + _CHUNK]
            vectors |= zip(part, self._reembedded(part, space, embed_portraits), strict=True)
            progress(len(vectors), len(ids))
        with self.transaction():
            # The slow part ran with the file free; it counts only if nobody wrote meanwhile.
            if self.revision() != before:
                raise GalleryError(
                    f"{self.path}: somebody changed the gallery meanwhile: try again"
                )
            self._file.templates.change_space(space, vectors)
        self.space = space
        return len(ids)

    def _read(self) -> GallerySnapshot:
        with self._file.reading():
            opening.check_space(self.path, self._file.book.space(), self.space)
            book = self._file.book
            now = self._clock() if self._withhold_expired else None
            withheld, self._holds_until = person_notes.withheld(book, now)
            aside = ids_in(book.note(SET_ASIDE))
            if self._file.large:
                return self._file.large_snapshot(self.space, aside, withheld)
            people = [person for person, _ in self._file.people.all()]
            return self._file.templates.snapshot(people, self.space, aside, withheld)

    def _reembedded(
        self,
        ids: Sequence[str],
        space: EmbeddingSpace,
        embed_portraits: Callable[[ImageU8, F32], Embeddings],
    ) -> list[F32]:
        with self._file.reading():
            pairs = [self._file.templates.portrait(key) for key in ids]
        found = embed_portraits(np.stack([p for p, _ in pairs]), np.stack([m for _, m in pairs]))
        if found.space != space or len(found) != len(ids):
            raise ValueError(f"re-embedding gave {len(found)} of {found.space}, wanted {space}")
        return [checked_vector(vector, space) for vector in found.vectors]

    def _find(self, who: str) -> tuple[Person, float]:
        found = self._file.people.find(who)
        if found is None:
            raise UsageError(f"nobody is called {shown(who)}: see `jetson-face people list`")
        return found

    def _free_name(self, name: str, own: str | None) -> str:
        valid = valid_name(name)
        taken = self._file.people.named(valid)
        if taken is not None and taken[0].id != own:
            raise NameInvalidError(f"the name {taken[0].name!r} is taken: choose another one")
        return valid
