"""Killed at any moment, and with a disk that fails at any call: nothing acknowledged is lost.

By default a dozen of each; `-m slow` does 200 kills and 200 failing calls.
"""

from __future__ import annotations

import functools
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from jetson_face.events.delivery import Deliverer
from jetson_face.events.history import PAGE_MAX, History, StoredEvent
from jetson_face.events.older import document
from jetson_face.events.outbox import Outbox
from jetson_face.events.outbox_file import OutboxFile
from jetson_face.events.recorder import EventRecorder
from jetson_face.privacy.audit import AuditLog
from tests.events.event_help import read_event
from tests.service.victim import CIPHER, STEPS, Sink, open_gallery

HERE = Path(__file__).parent
REPO = HERE.parents[1]
KINDS = ("full", "readonly", "torn", "sync")


@dataclass
class Ledger:
    """What the victims said was acknowledged. events: frame and id."""

    events: set[tuple[int, str]] = field(default_factory=set)
    delivered: set[str] = field(default_factory=set)
    people: set[str] = field(default_factory=set)
    deaths: int = 0
    ends: int = 0
    refusals: int = 0

    def take(self, output: str) -> None:
        """Read a victim's last words; a line that was cut is none."""
        for line in output.split("\n")[:-1]:
            word, _, rest = line.partition(" ")
            if word == "event":
                frame, made = rest.split()
                self.events.add((int(frame), made))
            elif word == "delivered":
                self.delivered.add(rest)
            elif word == "person":
                self.people.add(rest)
            elif word == "refused":
                self.refusals += 1
            elif word == "end":
                self.ends += 1


def victim(
    folder: Path, seed: int, kill_after: int | None, extra: dict[str, str]
) -> tuple[str, str, int]:
    """Run one victim; what it said, what it complained, how it ended."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.service.victim", str(folder), str(seed)],
        cwd=REPO, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **extra},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    # Counted in what it said, not in seconds: a fast machine would be done before any clock.
    said = [process.stdout.readline() for _ in range(1 + (kill_after or 0))]
    if kill_after is not None:
        process.kill()
    output, complaint = process.communicate(timeout=100)
    return "".join(said) + output, complaint, process.returncode


def check(folder: Path, ledger: Ledger) -> None:
    """Everything that was acknowledged is there, and the gallery is whole."""
    same_history(folder)
    file = OutboxFile(folder / "outbox.db")
    good, bad = file.read(0, 10**6)
    file.close()
    assert bad == []
    stored = [_frame_and_id(document(event)) for event in good]
    assert ledger.events <= set(stored), f"lost: {sorted(ledger.events - set(stored))[:5]}"
    once(stored)
    if not (folder / "gallery.db").exists():
        assert not ledger.people
        return
    with open_gallery(folder) as gallery:
        snapshot = gallery.snapshot()
        people = gallery.people()
    audited = [(e.action, e.name) for e in AuditLog(folder / "audit.jsonl").read()]
    assert sorted(audited) == sorted(("enrolled", info.person.name) for info in people)
    enrolled = {info.person.name for info in people}
    assert ledger.people <= enrolled, f"lost: {sorted(ledger.people - enrolled)[:5]}"
    # All or nothing: nobody is half enrolled, and every template opens.
    assert {len(info.templates) for info in people} <= {2}
    assert len(snapshot.vectors) == 2 * len(people)
    for name in ("outbox.db", "gallery.db"):
        db = sqlite3.connect(folder / name)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        db.close()
    received(folder, ledger, set(stored))


def same_history(folder: Path) -> None:
    """The next start finds every event in the history and in the outbox, or in neither."""
    outbox, history = Outbox(folder / "outbox.db"), History(folder / "history.db", CIPHER)
    EventRecorder(outbox, history)
    queued = [_frame_and_id(document(event))[1] for event in outbox.since(0, 10**6)]
    kept = list(pages_of(history))
    assert sorted(stored.event["id"] for stored in kept) == sorted(queued)
    # What was not completed from the outbox has its face.
    assert all(history.crop(s.event["id"]) == b"a face" for s in kept if s.has_crop)
    outbox.close()
    history.close()


def pages_of(history: History) -> Iterator[StoredEvent]:
    after = 0
    while page := history.page(after=after, limit=PAGE_MAX):
        yield from page
        after = page[-1].cursor


@functools.lru_cache(maxsize=100_000)
def _frame_and_id(line: bytes) -> tuple[int, str]:
    """Of an event that fits the schema; each is checked once, however often its file is read."""
    event = read_event(line)
    return event["frame"], event["id"]


def once(found: list[tuple[int, str]]) -> None:
    """Every event has one id, and no id stands for two events."""
    assert len({frame for frame, _ in found}) == len({made for _, made in found}) == len(set(found))


def received(folder: Path, ledger: Ledger, stored: set[tuple[int, str]]) -> None:
    """The sink's file has whole lines, each of a stored event, and all that it acknowledged."""
    lines: list[tuple[int, str]] = []
    for path in (folder / "sink").glob("events.jsonl*"):
        # The last line may be torn by the kill; the next start cuts it.
        whole = path.read_bytes().split(b"\n")[:-1]
        lines += [_frame_and_id(line) for line in whole]
    assert set(lines) <= stored
    assert ledger.delivered <= {made for _, made in lines}
    once(lines)


def deliver_the_rest(folder: Path, ledger: Ledger) -> None:
    """What a last life delivers makes it all: every acknowledged event reached the sink."""
    outbox = Outbox(folder / "outbox.db")
    deliverer = Deliverer("file", outbox, Sink(folder))
    while outbox.read("file", 1):
        assert deliverer.step() == 0.0
    outbox.close()
    found = {
        _frame_and_id(line)
        for path in (folder / "sink").glob("events.jsonl*")
        for line in path.read_bytes().splitlines()
    }
    assert ledger.events <= found
    assert outbox.state().counts == {}


def kills(folder: Path, count: int, seed: int) -> Ledger:
    """`count` victims, each killed at a random moment, on one folder."""
    draw, ledger = random.Random(seed), Ledger()
    for number in range(count):
        said, _, code = victim(folder, number, draw.randint(0, STEPS), {})
        ledger.take(said)
        ledger.deaths += code == -9
        check(folder, ledger)
    deliver_the_rest(folder, ledger)
    return ledger


def failures(folder: Path, shim: Path, count: int, seed: int) -> Ledger:
    """`count` victims, each with a disk that fails at a random call, for a random while."""
    draw, ledger = random.Random(seed), Ledger()
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        extra = {
            "LD_PRELOAD": str(shim),
            "FAULTY_UNDER": str(folder),
            "FAULTY_KIND": kind,
            "FAULTY_AT": str(draw.randint(1, 250)),
            "FAULTY_FOR": str(draw.choice([1, 1, 2, 5, 20, 100])),
        }
        said, complaint, code = victim(folder, number, None, extra)
        ledger.take(said)
        ledger.deaths += code != 0
        assert "Traceback" not in complaint or "jetson_face.core.errors." in complaint, complaint[
            -2000:
        ]
        check(folder, ledger)
    deliver_the_rest(folder, ledger)
    return ledger


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that makes the disk fail."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here: apt-get install gcc")
    library = tmp_path_factory.mktemp("shim") / "faulty_io.so"
    subprocess.run(
        [
            compiler,
            "-shared",
            "-fPIC",
            "-O1",
            "-o",
            str(library),
            str(HERE / "faulty_io.c"),
            "-ldl",
        ],
        check=True,
    )
    return library


def test_a_few_kills_lose_nothing(tmp_path: Path) -> None:
    ledger = kills(tmp_path, 4, seed=1)
    assert ledger.deaths >= 1


def test_a_few_failing_calls_lose_nothing(tmp_path: Path, shim: Path) -> None:
    ledger = failures(tmp_path, shim, 4, seed=2)
    # The disk did fail: something was refused, or a start.
    assert ledger.refusals + ledger.deaths >= 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_200_kills_lose_nothing(tmp_path: Path) -> None:
    ledger = kills(tmp_path, 200, seed=3)
    sys.stdout.write(f"MEASURED {ledger.deaths} killed, {len(ledger.events)} events, "
                     f"{len(ledger.people)} people acknowledged, 0 lost\n")  # fmt: skip
    assert ledger.deaths >= 100


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_200_failing_calls_lose_nothing(tmp_path: Path, shim: Path) -> None:
    ledger = failures(tmp_path, shim, 200, seed=4)
    sys.stdout.write(f"MEASURED {ledger.refusals} enrolments refused, {ledger.deaths} starts "
                     f"refused, {len(ledger.events)} events, {len(ledger.people)} people "
                     f"acknowledged, 0 lost\n")  # fmt: skip
    assert ledger.refusals + ledger.deaths >= 20
