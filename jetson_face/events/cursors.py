"""How far each consumer of the outbox is; one that is away keeps its place for a while."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from jetson_face.events.outbox_rows import Cursor


class Cursors:
    """Positions by consumer, and which of them the file does not have yet. One thread at a time."""

    def __init__(self) -> None:
        self._at: dict[str, Cursor] = {}
        self._here: set[str] = set()
        self._unsaved: set[str] = set()

    def acked(self, consumer: str) -> int:
        """The last acknowledged number. Raises KeyError for nobody."""
        return self._at[consumer].acked

    def low(self, last: int) -> int:
        """Everybody who is there has acknowledged up to here; `last` where nobody is."""
        return min((self._at[name].acked for name in self._here), default=last)

    def lag(self, first: int, last: int) -> dict[str, int]:
        """Events that each consumer that is there has still to acknowledge, of those kept."""
        return {
            name: max(0, last - max(self._at[name].acked, first - 1)) for name in sorted(self._here)
        }

    def come(self, consumer: str) -> bool:
        """Somebody delivers to it in this process; False where the file knows that."""
        self._here.add(consumer)
        if consumer in self._at and self._at[consumer].away is None:
            return False
        self._set(consumer, Cursor(self._at[consumer].acked if consumer in self._at else 0))
        return True

    def leave(self, stay: Collection[str], age: float) -> None:
        """Nobody delivers to the others from now on (service time)."""
        self._here.intersection_update(stay)
        for name, cursor in self._at.items():
            if name not in stay and cursor.away is None:
                self._set(name, cursor._replace(away=age))

    def gone(self, before: float) -> list[str]:
        """Take out and return who went away before an age."""
        names = [n for n, c in self._at.items() if c.away is not None and c.away < before]
        for name in names:
            del self._at[name]
            self._unsaved.discard(name)
        return names

    def move(self, consumer: str, seq: int) -> bool:
        """Up to here is acknowledged; False where it was."""
        cursor = self._at[consumer]
        if seq <= cursor.acked:
            return False
        self._set(consumer, cursor._replace(acked=seq))
        return True

    def put_back(self, consumer: str, seq: int) -> None:
        """What `move` changed could not be stored."""
        self._set(consumer, self._at[consumer]._replace(acked=seq))

    def learn(self, stored: Mapping[str, Cursor]) -> None:
        """What the file knows; of two positions the later one holds."""
        for name, cursor in stored.items():
            own = self._at.get(name)
            if own is None:
                self._at[name] = cursor
            elif own.acked < cursor.acked:
                self._at[name] = own._replace(acked=cursor.acked)

    def unsaved(self) -> dict[str, Cursor]:
        """What the file does not have."""
        return {name: self._at[name] for name in self._unsaved}

    def everyone(self) -> dict[str, Cursor]:
        """All of them."""
        return dict(self._at)

    def saved(self) -> None:
        """The file has them."""
        self._unsaved.clear()

    def _set(self, consumer: str, cursor: Cursor) -> None:
        self._at[consumer] = cursor
        self._unsaved.add(consumer)
