"""People who are not enrolled and were seen: faces and visits in one SQLite file, sealed, bounded.

The service adds, where the operator turned it on; `jetson-face unknown` lists and erases. Nobody
has a name here, only an id that means nothing elsewhere. Whoever was not seen for so long is
erased; where there are too many, who was not seen for the longest goes first.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from jetson_face.core.errors import GalleryCorruptError, UsageError
from jetson_face.core.types import F32, Embeddings, EmbeddingSpace
from jetson_face.review.sealed_file import Limits, SealedFile

logger = logging.getLogger(__name__)
UNKNOWNS = "unknown.db"
"""Its file, in the state folder."""
FACES_MAX = 3
"""Faces that are kept of a person, the best ones."""
_VISITS_MAX = 1000
_SCHEMA = """
CREATE TABLE unknowns (id TEXT PRIMARY KEY, seen REAL NOT NULL, body BLOB NOT NULL)
"""


@dataclass(frozen=True, slots=True, eq=False)
class KeptFace:
    """A face of somebody who is not enrolled. face: one vector, the mean of a track. portrait:
    JPEG; landmarks: (5, 2) float32, its pixels. quality: [0, 1]. time: UTC seconds."""

    face: Embeddings
    quality: float
    portrait: bytes
    landmarks: F32
    time: float
    source: str

    @property
    def photo(self) -> str:
        """Hex SHA-256 of the portrait: names its template in the gallery."""
        return hashlib.sha256(self.portrait).hexdigest()


@dataclass(frozen=True, slots=True)
class UnknownVisit:
    """From first to last seen. begin, end: service seconds (`Outbox.age`). time: of its last
    moment, UTC seconds, for people."""

    begin: float
    end: float
    time: float


def with_visit(
    visits: Sequence[UnknownVisit], visit: UnknownVisit, gap_s: float
) -> tuple[UnknownVisit, ...]:
    """Visits, oldest first, and one more: within `gap_s` of the last it goes on with that."""
    if visits and visit.begin - visits[-1].end <= gap_s:
        last = visits[-1]
        longer = UnknownVisit(last.begin, max(last.end, visit.end), visit.time)
        return (*visits[:-1], longer)
    return (*visits, visit)[-_VISITS_MAX:]


@dataclass(frozen=True, slots=True, eq=False)
class UnknownPerson:
    """Somebody who is not enrolled. visits: oldest first. faces: the best first."""

    id: str
    visits: tuple[UnknownVisit, ...]
    faces: tuple[KeptFace, ...]

    def seen(self, visit: UnknownVisit, face: KeptFace | None, gap_s: float) -> UnknownPerson:
        """The same, seen once more: within `gap_s` of the last time it is the same visit."""
        visits, faces = with_visit(self.visits, visit, gap_s), self.faces
        if face is not None:
            same = [one for one in faces if one.face.space == face.face.space]
            faces = tuple(sorted((*same, face), key=lambda one: -one.quality)[:FACES_MAX])
        return replace(self, visits=visits, faces=faces)


class UnknownStore(SealedFile):
    """See the module. Its limits are of people, and of the time since somebody was seen."""

    SCHEMA, VERSION, LIMITS = _SCHEMA, 1, Limits(500)
    WHAT, REMEDY = "the file of unknown people", "remove it; nobody in it is enrolled"

    def version(self) -> int:
        """Another number when another connection changed the file."""
        with self._reading():
            return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def people(self) -> list[UnknownPerson]:
        """Everybody, who was seen last first; damaged ones are left out with a warning."""
        found: list[UnknownPerson] = []
        with self._reading():
            rows = self._db.execute("SELECT id, body FROM unknowns ORDER BY seen DESC, id")
            for row in rows.fetchall():
                try:
                    found.append(self._opened(*row))
                except GalleryCorruptError as error:
                    logger.warning("left out: %s", error)
        return found

    def ids(self) -> list[str]:
        """Everybody's id, also of damaged ones, who was seen last first."""
        with self._reading():
            rows = self._db.execute("SELECT id FROM unknowns ORDER BY seen DESC, id")
            return [str(row[0]) for row in rows]

    def read(self, who: str) -> UnknownPerson:
        """One of them. Raises UsageError for none."""
        found = None
        if who.isprintable():  # not so: bytes of the command line that are no text
            with self._reading():
                found = self._row(who)
        if found is None:
            raise UsageError(f"no unknown person {who}: see `jetson-face unknown list`")
        return found

    def erasures(self) -> int:
        """How often everybody was erased."""
        with self._reading():
            return self._erasures()

    def see(
        self,
        who: str,
        visit: UnknownVisit,
        face: KeptFace | None,
        *,
        gap_s: float,
        new: bool,
        erasures: int | None = None,
    ) -> bool:
        """Keep that somebody was seen. new: made where there is none; otherwise somebody who was
        erased meanwhile stays so. erasures: when they were seen; nothing is kept of somebody who
        was seen before everybody was erased. False where nothing was kept."""
        with self._transaction():
            if erasures is not None and erasures != self._erasures():
                return False
            known = self._row(who)
            if known is None and not new:
                return False
            known = known or UnknownPerson(who, (), ())
            self._put(known.seen(visit, face, gap_s))
            self._db.execute(
                "DELETE FROM unknowns WHERE id IN (SELECT id FROM unknowns "
                "ORDER BY seen DESC, id LIMIT -1 OFFSET ?)",
                (self._limits.rows,),
            )
        return True

    def take_back(self, who: str, visit: UnknownVisit) -> None:
        """That visit was somebody else's: who has no other is erased."""
        with self._transaction():
            known = self._row(who)
            if known is None:
                return
            visits = tuple(one for one in known.visits if one.begin != visit.begin)
            faces = tuple(one for one in known.faces if one.time != visit.time)
            if visits:
                self._put(replace(known, visits=visits, faces=faces))
            else:
                self._db.execute("DELETE FROM unknowns WHERE id = ?", (who,))

    def erase(self, people: Sequence[str]) -> int:
        """Erase these, also from the file's free pages; returns how many there were."""
        gone = 0
        with self._transaction():
            for who in people:
                gone += self._db.execute("DELETE FROM unknowns WHERE id = ?", (who,)).rowcount
        self._wipe()
        return gone

    def erase_all(self) -> list[str]:
        """Erase everybody, also who is on the way here from a camera; returns the ids."""
        with self._transaction():
            gone = [str(who) for (who,) in self._db.execute("SELECT id FROM unknowns ORDER BY id")]
            self._db.execute("DELETE FROM unknowns")
            self._db.execute(
                "INSERT INTO erasures VALUES (1, 1) "
                "ON CONFLICT (one) DO UPDATE SET times = times + 1"
            )
        self._wipe()
        return gone

    def prune(self) -> int:
        """Erase who was not seen for too long; returns how many. For a timer."""
        oldest = self._age() - self._limits.age_s
        with self._transaction():
            return self._db.execute("DELETE FROM unknowns WHERE seen < ?", (oldest,)).rowcount

    def _set_up(self) -> None:
        super()._set_up()
        # Files of earlier versions have none; those versions do not mind it.
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS erasures "
            "(one INTEGER PRIMARY KEY CHECK (one = 1), times INTEGER NOT NULL)"
        )

    def _erasures(self) -> int:
        row = self._db.execute("SELECT times FROM erasures").fetchone()
        return 0 if row is None else int(row[0])

    def _row(self, who: str) -> UnknownPerson | None:
        found = self._db.execute("SELECT id, body FROM unknowns WHERE id = ?", (who,)).fetchone()
        return None if found is None else self._opened(*found)

    def _put(self, person: UnknownPerson) -> None:
        body = self._cipher.encrypt(_to_bytes(person), _context(person.id))
        self._db.execute(
            "INSERT INTO unknowns (id, seen, body) VALUES (?1, ?2, ?3) "
            "ON CONFLICT (id) DO UPDATE SET seen = ?2, body = ?3",
            (person.id, person.visits[-1].end, body),
        )

    def _opened(self, who: Any, body: object) -> UnknownPerson:
        who = str(who)
        damaged = (
            f"unknown person {who[:40]} is damaged: `jetson-face unknown erase {who[:40]}` throws "
            "the record away"
        )
        return self._unsealed(body, _context(who), partial(_from_bytes, who), damaged)


def _context(who: str) -> bytes:
    return f"unknown/{who}".encode()


def _to_bytes(person: UnknownPerson) -> bytes:
    return json.dumps(
        {
            "visits": [[one.begin, one.end, one.time] for one in person.visits],
            "faces": [
                {
                    "space": asdict(one.face.space),
                    "vector": _text(np.asarray(one.face.vectors[0], "<f4").tobytes()),
                    "quality": one.quality,
                    "portrait": _text(one.portrait),
                    "landmarks": one.landmarks.tolist(),
                    "time": one.time,
                    "source": one.source,
                }
                for one in person.faces
            ],
        }
    ).encode()


def _from_bytes(who: str, data: bytes) -> UnknownPerson:
    told = json.loads(data)
    visits = tuple(UnknownVisit(*map(float, one)) for one in told["visits"])
    if not visits:
        raise ValueError("never seen")
    return UnknownPerson(who, visits, tuple(_face(one) for one in told["faces"]))


def _face(told: dict[str, Any]) -> KeptFace:
    space = EmbeddingSpace(**told["space"])
    vector = np.frombuffer(base64.b64decode(told["vector"]), "<f4").reshape(1, space.dim)
    return KeptFace(
        face=Embeddings(np.array(vector, np.float32), space),
        quality=float(told["quality"]),
        portrait=base64.b64decode(told["portrait"]),
        landmarks=np.array(told["landmarks"], np.float32).reshape(5, 2),
        time=float(told["time"]),
        source=str(told["source"]),
    )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
