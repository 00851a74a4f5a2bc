"""How far a box has read the log of people: kept in its gallery, and changed with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from jetson_face.gallery.store import GalleryStore

_NOTE = "fleet"
_WHY_MAX = 200


@dataclass(frozen=True, slots=True)
class Held:
    """Somebody whose entry (its number in the log) could not be applied, and why."""

    scope: str
    seq: int
    why: str


@dataclass(frozen=True, slots=True)
class FleetPlace:
    """log: id of the log that was read. positions: by scope, the number of its last entry that is
    in the gallery. erasing: people (ids) whose erasure is not finished, or not yet told. held: by
    person (id). newest: by scope, number and time (UTC seconds by the server's clock) of the newest
    entry that was ever read, also where the log is read again."""

    log: str = ""
    positions: Mapping[str, int] = field(default_factory=dict)
    erasing: tuple[str, ...] = ()
    held: Mapping[str, Held] = field(default_factory=dict)
    newest: Mapping[str, tuple[int, float]] = field(default_factory=dict)

    def start(self, scope: str) -> int:
        """The number from which the log is to be read: what is held is tried again."""
        again = [held.seq for held in self.held.values() if held.scope == scope]
        return min([self.positions.get(scope, 0) + 1, *again])

    def at(self, scope: str, seq: int, time: float) -> FleetPlace:
        """One that has read up to `seq`; never back. time: of that entry."""
        newest = self.newest
        if time > newest.get(scope, (0, 0.0))[1]:
            newest = {**newest, scope: (seq, time)}
        positions = {**self.positions, scope: max(seq, self.positions.get(scope, 0))}
        return replace(self, positions=positions, newest=newest)

    def has_read(self, scope: str, seq: int, time: float) -> bool:
        """An entry was read before, or newer ones in its place."""
        number, newest = self.newest.get(scope, (0, 0.0))
        return seq <= number and time <= newest

    def denies(self, scope: str, seq: int, time: float) -> bool:
        """An entry cannot be of the history that was read: its number was, and it is newer."""
        newest = self.newest.get(scope)
        return newest is not None and seq <= self.positions.get(scope, 0) and time > newest[1]

    def holding(self, person: str, held: Held | None) -> FleetPlace:
        """One in which a person is held, or is no more."""
        others = {who: one for who, one in self.held.items() if who != person}
        if held is not None:
            others[person] = replace(held, why=held.why[:_WHY_MAX])
        return replace(self, held=others)

    def to_erase(self, person: str) -> FleetPlace:
        """One that has a person to erase."""
        return replace(
            self.holding(person, None), erasing=tuple(dict.fromkeys((*self.erasing, person)))
        )

    def erased(self, person: str) -> FleetPlace:
        """One that has told of the erasure."""
        return replace(self, erasing=tuple(one for one in self.erasing if one != person))


def read_place(store: GalleryStore) -> FleetPlace:
    """Raises the gallery's errors."""
    text = store.note(_NOTE)
    if text is None:
        return FleetPlace()
    known = json.loads(text)
    held = {who: Held(**one) for who, one in known["held"].items()}
    newest = {scope: (seq, time) for scope, (seq, time) in known.get("newest", {}).items()}
    return FleetPlace(known["log"], known["positions"], tuple(known["erasing"]), held, newest)


def write_place(store: GalleryStore, place: FleetPlace) -> None:
    """Inside the transaction of the change that it belongs to, or in one of its own."""
    if place != read_place(store):
        store.set_note(_NOTE, json.dumps(asdict(place), sort_keys=True))
