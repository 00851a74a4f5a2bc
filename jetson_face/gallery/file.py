"""The open gallery file: checked against its manifest and its ledger, changed in transactions."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from jetson_face.core.errors import (
    GalleryCorruptError,
    GalleryError,
    InputMissingError,
    OutputError,
)
from jetson_face.core.protocols import Cipher
from jetson_face.core.types import EmbeddingSpace
from jetson_face.gallery import manifest, meta, opening, schema
from jetson_face.gallery.acts import Acts
from jetson_face.gallery.book import Book
from jetson_face.gallery.exact import ExactTemplates
from jetson_face.gallery.groups import PackFollower
from jetson_face.gallery.large import LargeGallery
from jetson_face.gallery.ledger import Ledger, Record
from jetson_face.gallery.manifest import Manifest
from jetson_face.gallery.packs import PackRows
from jetson_face.gallery.people import PeopleRows
from jetson_face.gallery.sealed import Sealer
from jetson_face.gallery.templates import TemplateRows
from jetson_face.privacy.audit import AuditLog
from jetson_face.util import sqlite

logger = logging.getLogger(__name__)
LARGE = 50_000
"""Templates from which a gallery is read from its packs. Fewer are compared as they are: 50,000
take 26 MB, and 2 ms a face."""


class GalleryFile:
    """Transactions on one file, for any thread, one at a time.

    book, people, templates: its rows. acts: what goes into the audit log with a change. ledger:
    remembers how often the gallery changed; None where an older copy may come back unnoticed.
    large: templates from which the gallery is read from its packs, and its rows are checked as they
    are read.
    """

    def __init__(
        self,
        path: Path,
        db: sqlite3.Connection,
        cipher: Cipher | None,
        ledger: Ledger | None,
        recorder: AuditLog | None,
        large: int = LARGE,
    ) -> None:
        self.path, self.db, self.ledger = path, db, ledger
        self._large_from = large
        self._lock = threading.RLock()
        self._identity = schema.identity(path)
        self._seen: tuple[int, int] | None = None
        self._checked: int | None = None
        self._rows_checked: int | None = None
        self._exact: tuple[EmbeddingSpace, ExactTemplates] | None = None
        self._generation = 0
        with self.errors():
            sealer = Sealer(path, cipher)
            sealer.check(meta.value(db, path, "cipher_check"))
            self.book = Book(db, path, sealer.bound(meta.gallery(db, path)))
        self.people, self.templates = PeopleRows(self.book), TemplateRows(self.book)
        self.acts = Acts(self.book, recorder)
        self._packs, self._follower = PackRows(self.book), PackFollower(self.book)

    def close(self) -> None:
        """Let the file go; the last process to do so folds the WAL into it."""
        with self._lock:
            # What was interrupted goes to the audit log; where that cannot be done now, it is when
            # the gallery is opened again.
            with contextlib.suppress(GalleryError, InputMissingError, OutputError), self.errors():
                self.acts.recover()
                if self.acts.copied:
                    with self.transaction():
                        pass
            if self._exact is not None:
                self._exact[1].let_go()
            self.db.close()

    @property
    def id(self) -> str:
        """Of the gallery, whatever its file is called."""
        return self.book.sealer.gallery

    @property
    def changing(self) -> bool:
        """A transaction is under way: what it wrote may yet be taken back."""
        return self.db.in_transaction

    @property
    def exchanged(self) -> bool:
        """The gallery's name is another file's: what is written here is lost."""
        return schema.identity(self.path).file != self._identity.file

    def replaced(self) -> bool:
        """The file under the gallery's name is not the one that is open, or was written over.

        Cheap while nothing is written. Raises InputMissingError, GalleryCorruptError.
        """
        with self._lock, self.errors():
            now = schema.identity(self.path)
            if now == self._identity:
                return False
            if now.file != self._identity.file:
                return True
            # SQLite's own cache does not notice a file that was copied over this one.
            mine = manifest.stored(self.db, self.path)
            with contextlib.closing(
                sqlite.connect(self.path, create=False, timeout_s=1.0)
            ) as other:
                there = manifest.stored(other, self.path)
            if there not in (mine, manifest.stored(self.db, self.path)):
                return True
            self._identity = now
            return False

    def check(self) -> None:
        """Compare the file with its manifest and with the ledger.

        Raises GalleryCorruptError, GalleryRestoredError.
        """
        # The ledger first: the gallery is written before it, so it never says more than that.
        known = None if self.ledger is None else self.ledger.read()
        with self.reading():
            found = self._record(self._manifest())
            if self.ledger is not None:
                opening.compare(self.path, found, known, self._erased_tags)
        if self.ledger is not None and (known is None or known.generation < found.generation):
            self.ledger.catch_up(found)
        with self.errors():
            self.acts.recover()

    @contextlib.contextmanager
    def reading(self, *, rows: bool = False) -> Iterator[None]:
        """What is read inside is of one moment. rows: check every row, also in a large gallery,
        where that takes long. Raises GalleryCorruptError where another process
        changed the gallery and its manifest does not fit, GalleryRestoredError where it is older.
        """
        with self._lock, self.errors():
            if self.db.in_transaction:
                yield
                return
            self.db.execute("BEGIN")
            try:
                self._check_manifest(rows=rows)
                yield
            finally:
                if self.db.in_transaction:
                    self.db.execute("COMMIT")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes inside come into force together or, after an exception, not at all.

        Raises GalleryLockedError when another process writes for longer than the time-out,
        OutputError.
        """
        with self._lock, self.errors():
            if self.db.in_transaction:
                yield
                return
            self.db.execute("BEGIN IMMEDIATE")
            try:
                before = self._manifest()
                self.acts.tidy()
                yield
                self._commit(before)
            except BaseException:
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                self.book.settle()
                self.acts.drop()
                raise
            finally:
                self._seen = None
            self.acts.copy()

    @contextlib.contextmanager
    def accepting(self, known: Record | None) -> Iterator[None]:
        """A transaction on a file that is not the one that was last used, after which it is."""
        with self._lock, self.errors():
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield
                before = 0 if known is None else known.generation
                generation = max(meta.revision(self.db, self.path), before)
                meta.put(self.db, "revision", generation + 1)
                total = manifest.total(self.db, self.path, self.book.sealer)
                self.book.settle()
                self._follower.rebuild(generation + 1)
                self._put_in_force(Manifest(generation + 1, total), over=True)
            except BaseException:
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                raise
            self.acts.copy()

    def revision(self) -> int:
        """Grows with every change by any process. Cheap: ask before every frame if you like."""
        with self._lock, self.errors():
            if self.db.in_transaction:
                return meta.revision(self.db, self.path)
            (data_version,) = self.db.execute("PRAGMA data_version").fetchone()
            if self._seen is None or self._seen[0] != data_version:
                self._seen = (data_version, meta.revision(self.db, self.path))
            return self._seen[1]

    def checkpoint(self) -> None:
        """Fold the write-ahead log, which still holds old pages, into the file, and empty it.

        A reader may keep it busy; then the next checkpoint does it.
        """
        with self._lock, self.errors():
            self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """SQLite's errors in our words."""
        try:
            yield
        except sqlite.RAISED as error:
            raise schema.translated(error, self.path) from error

    def _commit(self, before: Manifest) -> None:
        self._write_packs()
        delta, revision = self.book.settle(), meta.revision(self.db, self.path)
        if revision == before.generation:
            self.db.execute("COMMIT")
        else:
            self._put_in_force(before.after(revision, delta))

    def _write_packs(self) -> None:
        if self.book.touched:
            self._packs.rewrite(self.book.touched, meta.revision(self.db, self.path))
            self.book.touched.clear()

    def _put_in_force(self, after: Manifest, *, over: bool = False) -> None:
        manifest.write(self.db, self.book.sealer, after)
        with contextlib.ExitStack() as stack:
            if self.ledger is not None:
                stack.enter_context(self.ledger.following(self._record(after), over=over))
            self.db.execute("COMMIT")
        self._generation = after.generation

    def _record(self, now: Manifest) -> Record:
        return Record(self.id, now.generation, now.total, self.book.erased())

    def _manifest(self) -> Manifest:
        return manifest.read(self.db, self.path, self.book.sealer)

    @property
    def large(self) -> bool:
        """So many templates that it is read from its packs; inside a transaction."""
        return schema.is_large(self.db, self._large_from)

    def large_snapshot(
        self, space: EmbeddingSpace, aside: frozenset[str], withheld: frozenset[str]
    ) -> LargeGallery:
        """Everybody in a large gallery, inside a transaction. aside: templates (ids) that are not
        matched. withheld: ids of people who must not be named."""
        self._write_packs()
        revision = meta.revision(self.db, self.path)
        self._follower.total(revision)
        if self._exact is None or self._exact[0] != space:
            opened = partial(self.templates.opened, space=space)
            exact = ExactTemplates(self.path, self._identity, space.dim, opened)
            self._exact = space, exact
        groups = self._follower.groups(space, aside)
        return LargeGallery(space, groups, self._exact[1], revision, withheld)

    def _check_manifest(self, *, rows: bool) -> None:
        (data_version,) = self.db.execute("PRAGMA data_version").fetchone()
        checked = self._rows_checked if rows else self._checked
        if data_version == checked:
            return
        large = self.large
        if large and rows:
            schema.quick_check(self.db, self.path, "templates")
        found = self._checked_packs() if large and not rows else self._checked_rows()
        if found.generation < self._generation:
            raise opening.restored(self.path, "it became older while this program had it open")
        self._generation, self._checked = found.generation, data_version
        if rows or not large:
            self._rows_checked = data_version

    def _checked_rows(self) -> Manifest:
        return manifest.check(self.db, self.path, self.book.sealer, self._open_all)

    def _checked_packs(self) -> Manifest:
        """The manifest, after comparing it with the packs, which are made again where only they do
        not fit."""
        found = self._manifest()
        if found.generation == meta.revision(self.db, self.path):
            with contextlib.suppress(GalleryCorruptError):
                if self._follower.total(found.generation) == found.total:
                    return found
        found = self._checked_rows()
        logger.warning("gallery_packs_made_anew path=%s", self.path)
        self._follower.rebuild(found.generation)
        self._follower.total(found.generation)
        return found

    def _open_all(self) -> None:
        people = [person for person, _ in self.people.all()]
        self.templates.infos()
        self.templates.snapshot(people, self.book.space())

    def _erased_tags(self) -> set[bytes]:
        """The tags that an erasure of those enrolled would leave."""
        return {self.book.erased_tag(person.id) for person, _ in self.people.all()}
