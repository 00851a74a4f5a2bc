"""When it was used, and with whom enrolled: what article 12(3) of the EU AI Act asks a log for,
beside the matches (the event history) and who verified them (the audit log).

`use.log` has one JSON object a line, only ever added to; `use.alive` says when a period that has no
end was last known to go on.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jetson_face.core.errors import OutputError
from jetson_face.privacy.audit import utc
from jetson_face.util.files import append_line, write_file

LOG, ALIVE = "use.log", "use.alive"
_DAY_S = 86400.0


@dataclass(slots=True)
class UsePeriod:
    """One period of use. begin, end: UTC ISO 8601; end: None while it goes on or where nothing is
    known. ended: `stopped`; `interrupted`, where `end` is when it was last known to go on; None
    while it goes on. databases: the reference databases by time, as they were recorded. age:
    service seconds (`Outbox.age`) when it was last known to go on; None where nobody recorded them.
    """

    id: str
    begin: str
    facts: dict[str, Any]
    end: str | None = None
    ended: str | None = None
    databases: list[dict[str, Any]] = field(default_factory=list)
    age: float | None = None


class UseLog:
    """Writes the log of one running service; files of mode 0600. days: kept so long, of service.
    age: service seconds now (`Outbox.age`): never wall time, a clock step must forget nothing.

    Every method raises OutputError for a bad disk.
    """

    def __init__(
        self,
        folder: Path,
        days: float,
        age: Callable[[], float],
        clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self._log, self._alive = folder / LOG, folder / ALIVE
        self._days, self._age, self._clock = days, age, clock
        self._period: str | None = None
        self._database: dict[str, Any] | None = None

    def begin(self, facts: Mapping[str, Any]) -> None:
        """A period begins; one before it that has no end gets the one that is known. facts: of the
        whole period."""
        self._tidy()
        period = uuid.uuid4().hex
        self._add("begin", period, facts)
        self._period, self._database = period, None
        self.alive()

    def database(self, facts: Mapping[str, Any]) -> None:
        """The reference database from now on; nothing is written where it is the same."""
        if self._period is not None and facts != self._database:
            self._add("database", self._period, facts)
            self._database = dict(facts)

    def alive(self) -> None:
        """It goes on; for a timer."""
        if self._period is not None:
            line = {"period": self._period, "time": utc(self._clock()), "age": self._age()}
            write_file(self._alive, json.dumps(line) + "\n", mode=0o600)

    def end(self) -> None:
        """The period ends; harmless when repeated."""
        if self._period is not None:
            self._add("end", self._period, {"ended": "stopped"})
            self._period = None

    def _add(self, what: str, period: str, facts: Mapping[str, Any]) -> None:
        times = {"time": utc(self._clock()), "age": self._age()}
        line = {"what": what, "period": period, **times, **facts}
        append_line(self._log, json.dumps(line, ensure_ascii=False))

    def _tidy(self) -> None:
        """Forget what is too old, and give what was interrupted its end."""
        now, lines = self._age(), list[str]()
        for one in read_periods(self._log.parent, running=False):
            # Of before ages were recorded, or before service time began again: it counts from now.
            one.age = now if one.age is None else min(one.age, now)
            if one.age >= now - self._days * _DAY_S:
                lines += _lines(one)
        if lines or self._log.exists():
            write_file(self._log, "".join(f"{line}\n" for line in lines), mode=0o600)


def read_periods(folder: Path, *, running: bool) -> list[UsePeriod]:
    """The periods of use, oldest first; what a power failure cut is passed over. running: a service
    runs, so the last one without an end may go on."""
    found: dict[str, UsePeriod] = {}
    for line in _objects(folder / LOG):
        what, key, time, age = (line.pop(one, None) for one in ("what", "period", "time", "age"))
        if what == "begin":
            found[str(key)] = UsePeriod(str(key), str(time), line)
        if (period := found.get(str(key))) is None:
            continue
        period.age = _number(age)
        if what == "database":
            period.databases.append({"time": time, **line})
        elif what == "end":
            period.end, period.ended = str(time), str(line.get("ended"))
    alive = next(_objects(folder / ALIVE), {})
    periods = list(found.values())
    for one in periods:
        if one.end is None and not (running and one is periods[-1]):
            one.end = one.databases[-1]["time"] if one.databases else one.begin
            if alive.get("period") == one.id:
                one.end, one.age = str(alive["time"]), _number(alive.get("age"))
            one.ended = "interrupted"
    return periods


def _lines(one: UsePeriod) -> list[str]:
    head = {"what": "begin", "period": one.id, "time": one.begin, **one.facts}
    parts = [{"what": "database", "period": one.id, **known} for known in one.databases]
    end = {"what": "end", "period": one.id, "time": one.end, "age": one.age, "ended": one.ended}
    return [json.dumps(line, ensure_ascii=False) for line in (head, *parts, end)]


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"{path}: cannot be read: {error.strerror or error}") from error
    for line in text.split("\n"):  # names may hold other line ends (U+2028)
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found
