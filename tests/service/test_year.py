"""An accelerated year: outbox, event files and crops stay under what was set."""

from __future__ import annotations

import random
from pathlib import Path

from jetson_face.protect import AesGcm
from jetson_face.report.deliver import Deliverer, SinkDownError
from jetson_face.report.outbox import Outbox, OutboxLimits
from jetson_face.report.rotating import RotatingJsonl
from jetson_face.report.snapshots import SnapshotStore

DAY = 86400.0
EVENTS_A_DAY, CROPS_A_DAY = 100, 1
OUTBOX, FILE, FILES, CROPS = 1 << 19, 200_000, 4, 150_000
# What SQLite may add: the write-ahead log (bounded by its journal_size_limit) and the last rows.
SLACK = 2_500_000


class Clock:
    """Both clocks; the wall clock is stepped now and then, as on a box without a battery."""

    def __init__(self) -> None:
        self.mono, self.wall = 0.0, 1.7e9


def test_a_year_stays_under_its_size(tmp_path: Path) -> None:
    clock, draw = Clock(), random.Random(7)
    outbox = Outbox(
        tmp_path / "outbox.db",
        OutboxLimits(max_bytes=OUTBOX, max_age_s=30 * DAY),
        clock=lambda: clock.mono,
        wall=lambda: clock.wall,
    )
    crops = SnapshotStore(
        tmp_path / "crops",
        AesGcm(bytes(32)),
        age=outbox.age,
        max_bytes=CROPS,
        max_age_s=14 * DAY,
    )
    sink = RotatingJsonl(tmp_path / "log" / "events.jsonl", max_bytes=FILE, files=FILES)
    deliverer = Deliverer("file", outbox, sink, batch=500)
    outbox.subscribe("dead")
    peak = {"outbox": 0, "log": 0, "crops": 0}
    for day in range(365):
        clock.mono += DAY
        clock.wall += DAY + (draw.choice([-400, 400]) * DAY if day % 50 == 49 else 0)
        body = b'{"name": "' + b"x" * draw.randint(50, 250) + b'"}'
        outbox.append([("decision", body)] * EVENTS_A_DAY)
        while outbox.read("file", 1):
            deliverer.step()
        for _ in range(CROPS_A_DAY):
            crops.add(b"j" * draw.randint(5_000, 20_000))
        outbox.prune()
        crops.prune()
        for name, pattern in (("outbox", "outbox.db*"), ("log", "log/*"), ("crops", "crops/*")):
            size = sum(path.stat().st_size for path in tmp_path.glob(pattern))
            peak[name] = max(peak[name], size)
    assert peak["outbox"] <= OUTBOX + SLACK
    assert peak["log"] <= FILE * FILES
    assert peak["crops"] <= CROPS
    # Everything reached the sink that lives; what the dead one missed is counted.
    assert deliverer.sent == 365 * EVENTS_A_DAY
    state = outbox.state()
    assert state.counts["unread"] == 365 * EVENTS_A_DAY - state.rows
    assert min(s.age_ms for s in crops.stored()) >= (outbox.age() - 14 * DAY) * 1000
    outbox.close()


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
