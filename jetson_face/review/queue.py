"""The review queue: items in one SQLite file, sealed, bounded by number and age.

The service adds, `jetson-face review` answers; both may have it open. An answered item stays
for a while: it can be taken back, and "is not X" keeps the same face from being queued again.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from jetson_face.core.errors import GalleryCorruptError, UsageError
from jetson_face.review.item import ReviewItem
from jetson_face.review.sealed_file import Limits, SealedFile

REVIEW = "review.db"
"""Its file, in the state folder."""
# AUTOINCREMENT: a number that a person has read stands for one face, for ever.
_SCHEMA = """
CREATE TABLE items (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL, age REAL NOT NULL, candidate TEXT NOT NULL,
    state TEXT NOT NULL, person TEXT, answered INTEGER NOT NULL, body BLOB NOT NULL
);
"""
_ROWS = "SELECT number, state, person, key, candidate, body FROM items"
_NUMBER_MAX = 2**63 - 1
"""SQLite's largest; what a person types may be larger."""
Answer: TypeAlias = Literal["accepted", "rejected"]


@dataclass(frozen=True, slots=True, eq=False)
class QueuedItem:
    """An item and its row. state: open, accepted or rejected. person: whom the answer named, an
    id."""

    number: int
    state: str
    person: str | None
    item: ReviewItem


class ReviewQueue(SealedFile):
    """See the module. Its limit is that of open items, and of answered ones.

    repeats, given_up: items not queued because the same face was before, and open ones that made
    room.
    """

    SCHEMA, VERSION, LIMITS = _SCHEMA, 1, Limits(200)
    WHAT = "the review queue"
    REMEDY = "remove it; only faces that wait for a person are in it"

    repeats = given_up = 0

    def add(self, item: ReviewItem, *, same_face_min: float) -> int | None:
        """Keep an item; its number, or None when that face was queued before.

        same_face_min: cosine at or above which two faces are taken for one person.
        """
        key = uuid.uuid4().hex
        body = self._cipher.encrypt(item.to_bytes(), _context(key, item.candidate))
        with self._transaction():
            if self._queued_before(item, same_face_min):
                self.repeats += 1
                return None
            number = self._db.execute(
                "INSERT INTO items (key, age, candidate, state, answered, body) "
                "VALUES (?, ?, ?, 'open', 0, ?)",
                (key, self._age(), item.candidate, body),
            ).lastrowid
            self.given_up += self._shrink("open")
        return number

    def numbers(self, state: str = "open") -> list[int]:
        """The numbers of what waits, oldest first; or of what was answered."""
        with self._reading():
            rows = self._db.execute(
                "SELECT number FROM items WHERE state = ? ORDER BY number", (state,)
            )
            return [number for (number,) in rows]

    def waiting(self) -> int:
        """How many items wait."""
        with self._reading():
            (count,) = self._db.execute(
                "SELECT count(*) FROM items WHERE state = 'open'"
            ).fetchone()
            return int(count)

    def read(self, number: int) -> QueuedItem:
        """One item. Raises UsageError for none, GalleryCorruptError for a damaged one."""
        if abs(number) > _NUMBER_MAX:
            raise _no_item(number)
        with self._reading():
            row = self._db.execute(f"{_ROWS} WHERE number = ?", (number,)).fetchone()
            if row is None:
                raise _no_item(number)
            return self._opened(row)

    def answer(self, number: int, answer: Answer, person: str | None) -> None:
        """A person said who it is. Raises UsageError when it is not open."""
        with self._transaction():
            done = self._db.execute(
                "UPDATE items SET state = ?, person = ?, "
                "answered = 1 + (SELECT max(answered) FROM items) "
                "WHERE number = ? AND state = 'open'",
                (answer, person, number),
            ).rowcount
            if not done:
                raise _no_item(number)
            self._shrink(answer)

    def last_answer(self) -> QueuedItem | None:
        """The item that was answered last, of those still kept."""
        with self._reading():
            row = self._db.execute(
                f"{_ROWS} WHERE state != 'open' ORDER BY answered DESC LIMIT 1"
            ).fetchone()
            return None if row is None else self._opened(row)

    def reopen(self, number: int) -> None:
        """Take an answer back: the item waits again."""
        with self._transaction():
            self._db.execute(
                "UPDATE items SET state = 'open', person = NULL, answered = 0 WHERE number = ?",
                (number,),
            )

    def throw_away(self, number: int) -> None:
        """Erase one item, readable or not."""
        with self._transaction():
            self._db.execute("DELETE FROM items WHERE number = ?", (number,))

    def about(self, person: str, near: Callable[[ReviewItem], bool]) -> list[int]:
        """Items and answers that name a person, or whose face is `near`; of damaged ones only
        what their row says."""
        with self._reading():
            rows = self._db.execute(f"{_ROWS} ORDER BY number").fetchall()
            return [row[0] for row in rows if person in (row[2], row[4]) or self._is(row, near)]

    def erase(self, person: str, numbers: list[int]) -> int:
        """Erase what names a person, and these, also from the file's free pages; returns how
        many."""
        with self._transaction():
            gone = self._db.execute(
                "DELETE FROM items WHERE candidate = ?1 OR person = ?1", (person,)
            ).rowcount
            for number in numbers:
                gone += self._db.execute("DELETE FROM items WHERE number = ?", (number,)).rowcount
        self._wipe()
        return gone

    def prune(self) -> int:
        """Erase what is too old, answered or not; returns how many. For a timer."""
        with self._transaction():
            oldest = self._age() - self._limits.age_s
            return self._db.execute("DELETE FROM items WHERE age < ?", (oldest,)).rowcount

    def _queued_before(self, item: ReviewItem, same_face_min: float) -> bool:
        def same(other: ReviewItem) -> bool:
            if other.face.space != item.face.space:
                return False
            return float(other.face.vectors[0] @ item.face.vectors[0]) >= same_face_min

        rows = self._db.execute(
            f"{_ROWS} WHERE candidate = ? AND state IN ('open', 'rejected')",
            (item.candidate,),
        )
        return any(self._is(row, same) for row in rows)

    def _shrink(self, state: str) -> int:
        """Keep the newest; called inside a transaction."""
        return self._db.execute(
            "DELETE FROM items WHERE state = ?1 AND number NOT IN (SELECT number FROM items "
            "WHERE state = ?1 ORDER BY answered DESC, number DESC LIMIT ?2)",
            (state, self._limits.rows),
        ).rowcount

    def _is(self, row: tuple[Any, ...], wanted: Callable[[ReviewItem], bool]) -> bool:
        try:
            return wanted(self._opened(row).item)
        except GalleryCorruptError:
            return False

    def _opened(self, row: tuple[Any, ...]) -> QueuedItem:
        number, state, person, key, candidate, body = row
        damaged = (
            f"review item {number} is damaged: `jetson-face review reject {number}` throws it away"
        )
        context = _context(str(key), str(candidate))
        item = self._unsealed(body, context, ReviewItem.from_bytes, damaged)
        return QueuedItem(number, str(state), None if person is None else str(person), item)


def _context(key: str, candidate: str) -> bytes:
    return f"review/{key}/{candidate}".encode()


def _no_item(number: int) -> UsageError:
    return UsageError(f"no review item {number} waits: see `jetson-face review list`")
