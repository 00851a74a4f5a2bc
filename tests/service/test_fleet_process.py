"""What keeps a box's part in its fleet running."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from jetson_face.service import fleet_process as module
from jetson_face.service.fleet_process import fleet_process
from jetson_face.util.backoff import Backoff
from tests.waiting import until

NOTES = "import os, sys, time; open(sys.argv[1], 'a').write(f'{os.getpid()} '); "


def command(notes: Path, then: str) -> list[str]:
    return [sys.executable, "-c", NOTES + then, str(notes)]


def pids(notes: Path) -> list[int]:
    return [int(word) for word in notes.read_text().split()] if notes.exists() else []


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_it_is_there_for_the_block_and_no_longer(tmp_path: Path) -> None:
    notes, before = tmp_path / "notes", threading.active_count()
    with fleet_process(command(notes, "time.sleep(60)")):
        until(lambda: pids(notes))
    (pid,) = pids(notes)
    assert gone(pid)
    until(lambda: threading.active_count() == before, 5)


def test_it_starts_again_whenever_it_ends_with_growing_waits_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    notes = tmp_path / "notes"
    monkeypatch.setattr(module, "Backoff", lambda *_: Backoff(0.05, 0.2))
    with fleet_process(command(notes, "sys.exit(3)")):
        until(lambda: len(pids(notes)) >= 4)
    assert caplog.text.count("fleet_process_ended code=3") == 1


def test_it_ends_when_the_service_is_killed(tmp_path: Path) -> None:
    """By the pipe whose other end only the service has."""
    notes = tmp_path / "notes"
    waits = "import select; select.select([int(sys.argv[3])], [], [])"
    child = os.fork()
    if child == 0:
        with fleet_process(command(notes, waits)):
            time.sleep(60)
        os._exit(0)
    until(lambda: pids(notes))
    os.kill(child, 9)
    os.waitpid(child, 0)
    until(lambda: gone(pids(notes)[0]), 10)


def test_a_program_that_is_not_there_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    with fleet_process(["/nonexistent/program"]):
        until(lambda: "fleet_process_ended" in caplog.text)
