"""`events list|tail|export`: the history in a terminal and in files."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from jetson_face.cli.main import main
from jetson_face.core.errors import OutputError
from jetson_face.core.types import Person
from jetson_face.events import exporting
from jetson_face.events.history import History, NewEvent
from tests.events.event_help import ADA, BOB, read_event
from tests.events.test_history import visit

FORMULA = Person("p-evil", "=cmd|' /C calc'!A0")


@pytest.fixture
def history(tmp_path: Path) -> History:
    made = History(tmp_path / "history.db")
    with closing(made):
        for number, person in enumerate((ADA, BOB, FORMULA, None)):
            made.add([NewEvent(event) for event in visit(person, first=10 * number)])
    return made


def events(tmp_path: Path, *words: object) -> list[str]:
    return ["events", *map(str, words), "--set", f"state_dir={tmp_path}"]


def test_list_says_the_newest_first(
    history: History, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(events(tmp_path, "list", "-n", 2)) == 0
    newest, older = capsys.readouterr().out.splitlines()
    assert newest.split()[2:] == ["door", "left", "unknown", "0.812", "track", "1"]
    assert older.split()[3:5] == ["decided", "unknown"]
    assert main(events(tmp_path, "list", "--before", older.split()[0], "-n", 1, "--json")) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["kind"], shown["state"], shown["has_crop"]) == ("appeared", "pending", False)
    assert main(events(tmp_path, "list", "--person", "Ada", "--kind", "decided")) == 0
    assert " Ada " in capsys.readouterr().out
    assert main(events(tmp_path, "list", "--source", "gate")) == 0
    assert capsys.readouterr().out == "no such event is kept\n"


def test_export_as_csv_and_as_json_lines(
    history: History, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, text = tmp_path / "out" / "e.csv", tmp_path / "e.jsonl"
    assert main(events(tmp_path, "export", table)) == 0
    assert capsys.readouterr().out == f"12 events in {table}\n"
    assert table.stat().st_mode & 0o777 == 0o600
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    stored = history.page()[::-1]
    assert [row["id"] for row in rows] == [s.event["id"] for s in stored]
    assert [row["name"] for row in rows if row["kind"] == "left"] == [
        "Ada", "Bob", f"'{FORMULA.name}", "",
    ]  # fmt: skip
    assert main(events(tmp_path, "export", text, "--state", "known")) == 0
    found: list[dict[str, Any]] = [json.loads(line) for line in text.read_bytes().splitlines()]
    cursors = [event.pop("cursor") for event in found]
    assert [read_event(json.dumps(event)) for event in found] == [
        s.event for s in stored if s.event["state"] == "known"
    ]
    assert cursors == sorted(cursors)
    capsys.readouterr()
    assert main(events(tmp_path, "export", "-", "--format", "csv", "--kind", "decided")) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_all_events_after_one_come_page_by_page(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "PAGE_MAX", 2)
    cursors = [stored.cursor for stored in history.page()][::-1]
    found = exporting.every(history.page, after=cursors[4])
    assert [stored.cursor for stored in found] == cursors[5:]
    # Whole or not at all: it is begun in the folder where it will be, not in a temporary one.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no such folder"))
    assert exporting.export(history, tmp_path / "e.csv", "csv", after=cursors[4]) == 7
    assert len((tmp_path / "e.csv").read_text("utf-8").splitlines()) == 8
    with pytest.raises(OutputError, match="cannot be written"):
        exporting.export(history, tmp_path / "e.csv" / "e.csv", "csv")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["export", "events.txt"], 2, "*.csv or *.jsonl"),
        (["list", "--since", "lunch"], 2, "not a time"),
        (["list", "-n", "0"], 2, "at least 1"),
    ],
)
def test_what_cannot_be_asked(
    history: History, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    words: list[str], code: int, says: str,
) -> None:  # fmt: skip
    assert main(events(tmp_path, *words)) == code
    assert says in capsys.readouterr().err


def test_without_a_history_it_says_where_it_looked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(events(tmp_path, "tail")) == 4
    assert f"{tmp_path}/history.db: no service has kept events" in capsys.readouterr().err
    assert not (tmp_path / "history.db").exists()


def test_tail_follows_and_goes_on_where_it_was_killed(
    request: pytest.FixtureRequest, history: History, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    command = [
        sys.executable, "-m", "jetson_face", *events(tmp_path, "tail", "--json"),
        "--cursor-file", str(place),
    ]  # fmt: skip

    def follow(*more: str) -> subprocess.Popen[str]:
        started = subprocess.Popen(
            [*command, *more], stdout=subprocess.PIPE, text=True, env={**os.environ}
        )
        request.addfinalizer(started.kill)
        return started

    def told(process: subprocess.Popen[str], count: int) -> list[str]:
        assert process.stdout is not None
        return [json.loads(process.stdout.readline())["id"] for _ in range(count)]

    last = history.page(limit=1)[0].cursor
    process = follow("--after", str(last))
    first, second, third = visit(ADA), visit(BOB), visit(None)
    history.add([NewEvent(event) for event in first])
    assert told(process, 3) == [event["id"] for event in first]
    end = time.monotonic() + 20
    while not place.exists() and time.monotonic() < end:
        time.sleep(0.05)
    process.kill()
    process.wait()
    history.add([NewEvent(event) for event in second])  # nobody listens
    process = follow()
    assert told(process, 3) == [event["id"] for event in second]
    time.sleep(0.5)  # an event that was printed at the very moment may come again
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    history.add([NewEvent(event) for event in third])
    process = follow("-n", "2")
    assert told(process, 2) == [event["id"] for event in third[:2]]
    assert process.wait(20) == 0
    assert int(place.read_text()) == history.page(limit=2)[1].cursor
    for wrong in ("nothing", "9" * 30, "-5"):
        place.write_text(wrong)
        assert main(events(tmp_path, "tail", "--cursor-file", place)) == 5
        assert place.read_text() == wrong
    history.close()
