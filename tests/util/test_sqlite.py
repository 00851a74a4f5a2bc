"""SQLite files: durable, private, whole or not at all, and faults in our words."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from jetson_face.core.errors import (
    GalleryCorruptError,
    GalleryError,
    GalleryLockedError,
    JetsonFaceError,
    OutputError,
)
from jetson_face.util import sqlite

SCHEMA = "CREATE TABLE t (n INTEGER PRIMARY KEY CHECK (n < 10)); CREATE INDEX i ON t (n);"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "things.db"


def opened(path: Path, timeout_s: float = 0.05) -> sqlite3.Connection:
    db = sqlite.connect(path, timeout_s=timeout_s)
    sqlite.prepare(db, wal_autocheckpoint=7)
    assert sqlite.create_tables(db, SCHEMA, 3) == 3
    return db


def test_a_new_file_is_private_and_has_the_promised_settings(path: Path) -> None:
    with closing(opened(path)) as db:

        def asked(name: str) -> object:
            return db.execute(f"PRAGMA {name}").fetchone()[0]

        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert (asked("journal_mode"), asked("synchronous"), asked("secure_delete")) == (
            "wal",
            2,
            1,
        )
        assert (asked("wal_autocheckpoint"), asked("user_version")) == (7, 3)
        assert asked("busy_timeout") == 50


def test_a_file_of_another_version_is_left_as_it_is(path: Path) -> None:
    opened(path).close()
    with closing(sqlite.connect(path)) as db:
        assert sqlite.create_tables(db, "CREATE TABLE other (n);", 4) == 3
        assert db.execute("SELECT name FROM sqlite_master WHERE name = 'other'").fetchall() == []


def test_tables_that_cannot_be_made_leave_an_empty_file(path: Path) -> None:
    with closing(sqlite.connect(path)) as db:
        with pytest.raises(sqlite3.OperationalError):
            sqlite.create_tables(db, "CREATE TABLE a (n); nonsense", 1)
        assert db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
        assert sqlite.create_tables(db, SCHEMA, 1) == 1


def test_two_that_create_the_same_file_get_one_set_of_tables(path: Path) -> None:
    errors: list[BaseException] = []
    start = threading.Barrier(4)

    def create() -> None:
        start.wait()
        try:
            opened(path, timeout_s=5).close()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert errors == []


def test_who_opens_a_file_that_is_being_made_waits(path: Path) -> None:
    """SQLite itself refuses to change to WAL beside a transaction, without waiting."""
    with closing(sqlite.connect(path)) as first:
        first.execute("BEGIN IMMEDIATE")
        ended = threading.Timer(0.3, first.execute, ["COMMIT"])
        ended.start()
        opened(path, timeout_s=5).close()
        ended.join()


def test_who_opens_a_file_that_stays_locked_is_told_in_time(path: Path) -> None:
    with closing(sqlite.connect(path)) as first:
        first.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            opened(path, timeout_s=0.2)


def test_what_does_not_exist_is_not_made_unless_asked(path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        sqlite.connect(path, create=False)
    assert not path.parent.exists()


def interrupted() -> None:
    raise KeyboardInterrupt


def within(db: sqlite3.Connection, change: str, then: Callable[[], object]) -> None:
    with sqlite.transaction(db):
        db.execute(change)
        then()


def test_a_transaction_is_whole_or_not_at_all(path: Path) -> None:
    with closing(opened(path)) as db:
        with sqlite.transaction(db):
            db.execute("INSERT INTO t VALUES (1)")
        for act in (lambda: db.execute("INSERT INTO t VALUES (11)"), interrupted):
            with pytest.raises((sqlite3.IntegrityError, KeyboardInterrupt)):
                within(db, "INSERT INTO t VALUES (2)", act)
        assert db.execute("SELECT n FROM t").fetchall() == [(1,)]
        assert not db.in_transaction


def test_a_committed_transaction_outlives_a_killed_process(path: Path) -> None:
    code = (
        "import os, signal, sys, pathlib; from jetson_face.util import sqlite; "
        "db = sqlite.connect(pathlib.Path(sys.argv[1])); sqlite.prepare(db); "
        f"sqlite.create_tables(db, {SCHEMA!r}, 1)\n"
        "with sqlite.transaction(db): db.execute('INSERT INTO t VALUES (5)')\n"
        "db.execute('BEGIN IMMEDIATE'); db.execute('INSERT INTO t VALUES (6)')\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=30)
    assert done.returncode == -9
    with closing(sqlite.connect(path)) as db:
        assert db.execute("SELECT n FROM t").fetchall() == [(5,)]


def fails(path: Path, error: type[JetsonFaceError], match: str, act: Callable[[], object]) -> None:
    """What `act` raises is told as `error`."""
    with (
        pytest.raises(error, match=rf"^{path}: {match}"),
        sqlite.in_our_words(path, "the list", "remove it"),
    ):
        act()


def test_faults_are_told_in_our_words(path: Path) -> None:
    db, other = opened(path), opened(path)
    insert = "INSERT INTO t VALUES (1)"
    fails(path, GalleryError, "the list refuses", lambda: db.execute("INSERT INTO t VALUES (11)"))
    with sqlite.transaction(other):
        fails(path, GalleryLockedError, "another process holds", lambda: db.execute(insert))
    db.execute("PRAGMA query_only = ON")
    fails(path, OutputError, "the list cannot be used: .*readonly", lambda: db.execute(insert))
    db.close()
    other.close()
    fails(path, OutputError, "the list cannot be used: .*closed", lambda: db.execute(insert))
    path.write_bytes(b"not a database at all" * 100)
    said = r"the list is damaged \(.*\): remove it"
    fails(path, GalleryCorruptError, said, lambda: opened(path))


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "things.db"
    fails(path, OutputError, "cannot be written: ", lambda: sqlite.connect(path))
    fails(
        path, OutputError, "the list cannot be opened", lambda: sqlite.connect(path, create=False)
    )


def test_an_open_needs_no_turn_where_the_tables_are_there(path: Path) -> None:
    with closing(opened(path)) as db, sqlite.transaction(db):
        opened(path).close()


def test_damaged_text_is_damage(path: Path) -> None:
    error = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    assert sqlite.fault(error) == "damaged"
    assert "not UTF-8" in str(sqlite.translated(error, path, "it", "remove it"))
    assert "\x00" not in str(sqlite.damaged(path, "it", "a\x00b", "remove it"))
