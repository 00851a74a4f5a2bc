"""Entries of the audit log that come into force with the change they tell of.

They are written into the gallery in the change's own transaction and then copied to the log: a
process that is killed between the two leaves them in the gallery; who opens it next copies them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from jetson_face.core.errors import OutputError
from jetson_face.core.types import Person
from jetson_face.gallery.book import Book
from jetson_face.privacy.audit import Action, AuditLog

logger = logging.getLogger(__name__)


class Acts:
    """See the module. recorder: None where nobody keeps an audit log."""

    def __init__(self, book: Book, recorder: AuditLog | None) -> None:
        self._book, self._recorder = book, recorder
        self._new: dict[str, str] = {}
        self._copied: list[str] = []

    @property
    def copied(self) -> bool:
        """Some are in the log and need not be here any more."""
        return bool(self._copied)

    def add(self, act: Action, person: Person, details: Mapping[str, object]) -> None:
        """Inside the transaction of the change."""
        if self._recorder is None:
            return
        key, line = self._recorder.line(act, person=person.id, name=person.name, details=details)
        self._book.db.execute(
            "INSERT INTO acts VALUES (?, ?)",
            (key, self._book.sealer.seal(line.encode(), "act", key)),
        )
        self._new[key] = line

    def drop(self) -> None:
        """The transaction did not come into force."""
        self._new.clear()

    def copy(self) -> None:
        """After the transaction: to the log. Raises OutputError; then the next open copies them."""
        if self._recorder is not None and self._new:
            self._recorder.add_once(self._new, since_long=False)
            self._copied += self._new
            self._new.clear()

    def recover(self) -> None:
        """Copy what a process that was killed left. Raises GalleryCorruptError."""
        if self._recorder is None:
            return
        left = {
            key: self._book.sealer.open(blob, "act", key).decode()
            for key, blob in self._book.db.execute("SELECT id, line FROM acts ORDER BY rowid")
        }
        if not left:
            return
        try:
            self._recorder.add_once(left, since_long=True)
        except OutputError as error:
            logger.warning("audit_log_behind error=%s", error)  # nothing is lost by waiting
            return
        self._copied += left

    def tidy(self) -> None:
        """Inside a transaction: erase those that are in the log."""
        for key in self._copied:
            self._book.db.execute("DELETE FROM acts WHERE id = ?", (key,))
        self._copied.clear()
