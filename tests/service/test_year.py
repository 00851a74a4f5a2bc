"""An accelerated year: outbox, event files and crops stay under what was set."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from jetson_face.core.types import Person
from jetson_face.events.delivery import Deliverer, SinkDownError
from jetson_face.events.outbox import Outbox, OutboxLimits
from jetson_face.events.rotating import RotatingJsonl
from jetson_face.events.snapshots import SnapshotStore
from jetson_face.privacy.encryption import AesGcm
from tests.events.event_help import face_body

DAY = 86400.0
OUTBOX, FILE, FILES, CROPS = 1 << 19, 200_000, 4, 150_000
EVENT_DAYS, CROP_DAYS = 30, 14
BUSY_DAYS = 200
# What SQLite keeps beside the rows: its log, cut to 1 MiB, which one transaction may overrun.
WAL = 1_300_000


class Clock:
    """Both clocks; the wall clock is stepped now and then, as on a box without a battery."""

    def __init__(self) -> None:
        self.mono, self.wall = 0.0, 1.7e9


class Year:
    """Outbox, event files and crops of one box, and the most they ever took."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock, self.draw = folder, Clock(), random.Random(7)
        self.outbox = Outbox(
            folder / "outbox.db",
            OutboxLimits(max_bytes=OUTBOX, max_age_s=EVENT_DAYS * DAY),
            clock=lambda: self.clock.mono,
            wall=lambda: self.clock.wall,
        )
        self.crops = SnapshotStore(
            folder / "crops",
            AesGcm(bytes(32)),
            age=self.outbox.age,
            max_bytes=CROPS,
            max_age_s=CROP_DAYS * DAY,
        )
        sink = RotatingJsonl(folder / "log" / "events.jsonl", max_bytes=FILE, files=FILES)
        self.deliverer = Deliverer("file", self.outbox, sink, batch=500)
        self.outbox.subscribe("dead")
        self.peak = {"outbox.db": 0, "outbox.db-wal": 0, "log/*": 0, "crops/*": 0}
        self.events = 0

    def day(self, number: int, *, events: int, crops: int) -> None:
        """One day of work, with one retention timer at its end."""
        self.clock.mono += DAY
        step = self.draw.choice([-400, 400]) * DAY if number % 50 == 49 else 0
        self.clock.wall += DAY + step
        person = Person("p", "x" * self.draw.randint(1, 150))
        numbers = range(self.events, self.events + events)
        self.outbox.append([("decided", face_body(person, frame=n)) for n in numbers])
        self.events += events
        while self.outbox.read("file", 1):
            self.deliverer.step()
        for _ in range(crops):
            self.crops.add(b"j" * self.draw.randint(5_000, 20_000))
        self.outbox.prune()
        self.crops.prune()
        for pattern, most in self.peak.items():
            size = sum(path.stat().st_size for path in self.folder.glob(pattern))
            self.peak[pattern] = max(most, size)


@pytest.mark.slow
def test_a_year_stays_under_its_size_and_keeps_what_still_fits(tmp_path: Path) -> None:
    year = Year(tmp_path)
    for number in range(BUSY_DAYS):
        year.day(number, events=100, crops=2)
    by_size = year.outbox.state().counts["size"]
    assert by_size > 0.7 * year.events
    assert year.crops.evicted > 300
    # Full, not empty: a limit that gives up everything at once would pass the bounds below.
    assert year.outbox.state().used_bytes > 0.7 * OUTBOX
    assert year.crops.used_bytes > 0.7 * CROPS
    for number in range(BUSY_DAYS, 365):
        year.day(number, events=10, crops=number % 2)
    # The outbox looks at its size every 64 events.
    assert year.peak["outbox.db"] <= OUTBOX + 64 * 1024
    assert year.peak["outbox.db-wal"] <= WAL
    assert 0.9 * FILE * FILES < year.peak["log/*"] <= FILE * FILES
    assert year.peak["crops/*"] <= CROPS
    # In the quiet months the ages count: by service time, whatever the wall clock did.
    state, now = year.outbox.state(), year.outbox.age()
    assert state.counts["size"] - by_size < 3000
    assert state.rows == 10 * (EVENT_DAYS + 1)
    assert year.outbox.read("dead", 1)[0].age >= now - EVENT_DAYS * DAY
    ages = [snapshot.age_ms / 1000 for snapshot in year.crops.stored()]
    assert len(ages) in (CROP_DAYS // 2, CROP_DAYS // 2 + 1)
    assert min(ages) >= now - CROP_DAYS * DAY - 0.001
    # Everything reached the sink that lives; what the dead one missed is counted.
    assert year.deliverer.sent == year.events
    assert state.counts["unread"] == year.events - state.rows
    year.outbox.close()
    lines = [json.loads(line) for line in log_lines(tmp_path / "log")]
    numbers = [line["frame"] for line in lines]
    assert numbers == list(range(year.events - len(lines), year.events))
    assert len({line["id"] for line in lines}) == len(lines)


def log_lines(folder: Path) -> list[bytes]:
    """All lines of the rotated files, the oldest first."""
    names = [f"events.jsonl.{n}" for n in range(FILES - 1, 0, -1)] + ["events.jsonl"]
    assert sorted(names) == sorted(path.name for path in folder.iterdir())
    return [line for name in names for line in (folder / name).read_bytes().splitlines()]


def test_a_sink_that_is_away_for_a_year_costs_no_more(tmp_path: Path) -> None:
    class Away:
        def send(self, events: object) -> None:
            raise SinkDownError("no route")

        def close(self) -> None:
            pass

    outbox = Outbox(tmp_path / "outbox.db", OutboxLimits(max_bytes=200_000))
    deliverer = Deliverer("away", outbox, Away())
    for _ in range(100):
        outbox.append([("decision", b"{}" + b" " * 100)] * 50)
        deliverer.step()
    assert outbox.state().used_bytes <= 200_000 * 1.2
    assert deliverer.failures == 100
    outbox.close()
