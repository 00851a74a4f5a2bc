"""The open gallery file: checked against its manifest and its ledger, changed in transactions."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from jetson_face.core.errors import GalleryError, InputMissingError, OutputError
from jetson_face.core.protocols import Cipher
from jetson_face.gallery import manifest, meta, opening, schema
from jetson_face.gallery.acts import Acts, Recorder
from jetson_face.gallery.book import Book
from jetson_face.gallery.ledger import Ledger, Record
from jetson_face.gallery.manifest import Manifest
from jetson_face.gallery.people import PeopleRows
from jetson_face.gallery.sealed import Sealer
from jetson_face.gallery.templates import TemplateRows
from jetson_face.util import sqlite

logger = logging.getLogger(__name__)


class GalleryFile:
    """Transactions on one file, for any thread, one at a time.

    book, people, templates: its rows. acts: what goes into the audit log with a change. ledger:
    remembers how often the gallery changed; None where an older copy may come back unnoticed.
    """

    def __init__(
        self,
        path: Path,
        db: sqlite3.Connection,
        cipher: Cipher | None,
        ledger: Ledger | None,
        recorder: Recorder | None,
    ) -> None:
        self.path, self.db, self.ledger = path, db, ledger
        self._lock = threading.RLock()
        self._identity = schema.identity(path)
        self._seen: tuple[int, int] | None = None
        self._checked: int | None = None
        self._generation = 0
        with self.errors():
            sealer = Sealer(path, cipher)
            sealer.check(meta.value(db, path, "cipher_check"))
            self.book = Book(db, path, sealer.bound(meta.gallery(db, path)))
        self.people, self.templates = PeopleRows(self.book), TemplateRows(self.book)
        self.acts = Acts(self.book, recorder)

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
    def reading(self) -> Iterator[None]:
        """What is read inside is of one moment. Raises GalleryCorruptError where another process
        changed the gallery and its manifest does not fit, GalleryRestoredError where it is older.
        """
        with self._lock, self.errors():
            if self.db.in_transaction:
                yield
                return
            self.db.execute("BEGIN")
            try:
                self._check_manifest()
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

    def known(self) -> Record | None:
        """What the ledger says, as far as it can be read."""
        try:
            return None if self.ledger is None else self.ledger.read()
        except GalleryError as error:
            logger.warning("gallery_history_lost path=%s error=%s", self.path, error)
            return None

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
        except schema.RAISED as error:
            raise schema.translated(error, self.path) from error

    def _commit(self, before: Manifest) -> None:
        delta, revision = self.book.settle(), meta.revision(self.db, self.path)
        if revision == before.generation:
            self.db.execute("COMMIT")
        else:
            self._put_in_force(before.after(revision, delta))

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

    def _check_manifest(self) -> None:
        (data_version,) = self.db.execute("PRAGMA data_version").fetchone()
        if data_version == self._checked:
            return
        found = manifest.check(self.db, self.path, self.book.sealer, self._open_all)
        if found.generation < self._generation:
            raise opening.restored(self.path, "it became older while this program had it open")
        self._generation, self._checked = found.generation, data_version

    def _open_all(self) -> None:
        people = [person for person, _ in self.people.all()]
        self.templates.infos()
        self.templates.snapshot(people, self.book.space())

    def _erased_tags(self) -> set[bytes]:
        """The tags that an erasure of those enrolled would leave."""
        return {self.book.erased_tag(person.id) for person, _ in self.people.all()}
