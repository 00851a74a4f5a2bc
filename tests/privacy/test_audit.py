"""Who did what to whom, and the receipt of an erasure."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from jetson_face.core.errors import OutputError
from jetson_face.privacy.audit import (
    AuditLog,
    Receipt,
    acting_as,
    current_actor,
    files_that_hold,
    utc,
    write_receipt,
)

NOON = datetime(2026, 3, 1, 12, 0, 0, 999, timezone(timedelta(hours=2)))


def test_entries_come_back_in_order(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "state" / "audit.jsonl")
    before = utc()
    with acting_as("a"):
        log.record("enrolled", person="p1", name="Zoë", details={"photos": 3})
    log.record("removed", person="p1", name="Zoë")
    first, second = log.read()
    assert utc(NOON) == "2026-03-01T10:00:00Z"
    assert before <= first.time <= second.time <= utc()
    assert (first.actor, first.name) == (f"a@{os.uname().nodename}", "Zoë")
    assert first.details == {"photos": 3}
    assert (second.action, second.actor) == ("removed", current_actor())
    assert (tmp_path / "state" / "audit.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_line_torn_by_a_power_cut_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path)
    log.record("enrolled", person="p1", name="Ada")
    with path.open("ab") as file:
        file.write(b'{"time": "2026-')
    log.record("removed", person="p1", name="Ada")
    assert [entry.action for entry in log.read()] == ["enrolled", "removed"]


@pytest.mark.parametrize("name", ["a\u2028b\u2029.jpg", "a\x85b.jpg", "a\r\n\x1cb.jpg"])
def test_a_name_with_another_line_end_costs_no_entry(tmp_path: Path, name: str) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    log.record("photos_added", person="p1", name="Ada", details={"photo": name})
    (entry,) = log.read()
    assert entry.details == {"photo": name}


def test_a_name_that_is_no_text_is_kept_with_escapes(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    log.record("archive_searched", person="", name="", details={"why": "M\udcfcller"})
    (entry,) = log.read()
    assert entry.details == {"why": "M\\udcfcller"}


def test_a_log_that_cannot_be_read_is_our_own_error(tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").mkdir()
    with pytest.raises(OutputError, match=r"audit\.jsonl: cannot be read: Is a directory"):
        AuditLog(tmp_path / "audit.jsonl").read()


def test_a_log_that_cannot_be_written_is_our_own_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="audit log cannot be written"):
        AuditLog(tmp_path / "file" / "audit.jsonl").record("enrolled", person="p", name="n")


def test_the_actor_behind_sudo_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "olga")
    assert current_actor().startswith("olga@")


def test_a_receipt_lists_what_went(tmp_path: Path) -> None:
    receipt = Receipt("p1", "Ada", utc(NOON), "a@box", 4, 4, ("c1",), 2, ("gallery.db",))
    path = write_receipt(tmp_path / "receipts", receipt)
    assert path.name == "removed-p1-20260301T100000Z.json"
    assert json.loads(path.read_text()) == {
        "person": "p1",
        "name": "Ada",
        "time": "2026-03-01T10:00:00Z",
        "actor": "a@box",
        "templates": 4,
        "portraits": 4,
        "crops": ["c1"],
        "review_items": 2,
        "verified": ["gallery.db"],
        "failed": [],
        "queued_events": 0,
        "event_lines": 0,
        "history_events": 0,
        "history_crops": 0,
        "archive_tracks": 0,
        "unknown_people": 0,
        "service": "none runs",
        "complete": True,
    }
    assert path.stat().st_mode & 0o777 == 0o600


def test_bytes_left_behind_are_found(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"xx template xx")
    (tmp_path / "b").write_bytes(b"nothing")
    files = [tmp_path / "a", tmp_path / "b", tmp_path / "gone"]
    assert files_that_hold([b"", b"template"], files) == [tmp_path / "a"]
