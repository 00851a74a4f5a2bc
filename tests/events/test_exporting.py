"""The history in a file for other programs."""

from __future__ import annotations

import errno
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from jetson_face.core.errors import OutputError
from jetson_face.core.types import Person
from jetson_face.events import exporting
from jetson_face.events.history import PAGE_MAX, History, NewEvent, StoredEvent
from jetson_face.util.files import TEMPORARY
from tests.events.test_history import visit


@pytest.fixture
def history(tmp_path: Path) -> History:
    made = History(tmp_path / "history.db")
    with closing(made):
        made.add([NewEvent(event) for event in visit(Person("p", "Zoë 李"))])
    return made


def named(folder: Path) -> list[str]:
    """What is in it."""
    return [path.name for path in folder.iterdir()]


def test_every_event_is_asked_for_from_the_very_first_on() -> None:
    asked: list[dict[str, Any]] = []

    def page(**what: Any) -> list[StoredEvent]:
        asked.append(what)
        return []

    assert list(exporting.every(page, kind="left")) == []
    assert asked == [{"after": 0, "limit": PAGE_MAX, "kind": "left"}]


def test_a_table_is_in_utf_8_and_its_lines_end_as_the_rfc_says(
    history: History, tmp_path: Path
) -> None:
    path = tmp_path / "new" / "folder" / "e.csv"
    assert exporting.export(history, path, "csv", kind="left") == 1
    head, line, rest = path.read_bytes().split(b"\r\n")
    assert head == b"cursor,time,kind,source,state,name,person,similarity,track,frames,run,id"
    assert b",left,door,known,Zo\xc3\xab \xe6\x9d\x8e,p,0.8123,1,6," in line
    assert rest == b""


def test_a_file_is_begun_under_a_name_that_says_so(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    folder = tmp_path / "out"
    monkeypatch.setattr(os, "fsync", lambda fd: names.extend(named(folder)))
    exporting.export(history, folder / "e.jsonl", "jsonl")
    assert [name.startswith(TEMPORARY) for name in names] == [True]
    assert named(folder) == ["e.jsonl"]


@pytest.mark.parametrize("taken_away", [False, True])
def test_a_disk_that_is_full_leaves_nothing_behind(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken_away: bool
) -> None:
    folder = tmp_path / "out"

    def full(fd: int) -> None:
        if taken_away:  # by whoever tidies up
            next(folder.iterdir()).unlink()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"e\.csv: cannot be written: No space left on device$"):
        exporting.export(history, folder / "e.csv", "csv")
    assert named(folder) == []


def test_what_reading_the_history_raises_stays_as_it_is(tmp_path: Path) -> None:
    class Broken(History):
        def page(self, **filters: Any) -> list[StoredEvent]:
            raise OutputError("the history cannot be read")

    with (
        closing(Broken(tmp_path / "history.db")) as history,
        pytest.raises(OutputError, match=r"^the history cannot be read$"),
    ):
        exporting.export(history, tmp_path / "e.csv", "csv")
