"""What happens to the gallery file: damage, locks, killed processes, forbidden folders."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from jetson_face.core.errors import (
    GalleryCorruptError,
    GalleryError,
    GalleryLockedError,
    JetsonFaceError,
    OutputError,
)
from jetson_face.gallery.store import GalleryStore
from tests.gallery.gallery_fakes import SPACE, filled, template, unit


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "gallery.db"
    filled(path, Ann=[unit(1), unit(1, 0.1)], Bob=[unit(0, 1)]).close()
    return path


def _use(path: Path, timeout_s: float = 0.2) -> None:
    """Everything that reads."""
    with GalleryStore.open(path, SPACE, timeout_s=timeout_s) as store:
        store.people()
        store.snapshot()
        for name in ("Ann", "Bob"):
            store.portraits(name)


def _overwrite(start: int, data: bytes) -> Callable[[Path], None]:
    def act(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(start)
            file.write(data)

    return act


def _sql(statement: str) -> Callable[[Path], None]:
    def act(path: Path) -> None:
        connection = sqlite3.connect(path)
        connection.execute(statement)
        connection.commit()
        connection.close()

    return act


def _forced(statement: str) -> Callable[[Path], None]:
    """As `_sql`, past the CHECK constraints: what damage does to a row's type."""

    def act(path: Path) -> None:
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA ignore_check_constraints=ON")
        connection.execute(statement)
        connection.commit()
        connection.close()

    return act


def _foreign(path: Path) -> None:
    path.unlink()
    _sql("CREATE TABLE songs (title)")(path)


def _endless(path: Path) -> None:
    """Reading people would take for ever."""
    _sql("ALTER TABLE people RENAME TO aside")(path)
    counting = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
    _sql(f"CREATE VIEW people(id, name) AS {counting} SELECT hex(x), 'a' FROM n")(path)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "0 bytes"),
    "text": (lambda path: path.write_text("not a database at all\n" * 99), "not a gallery"),
    "another sqlite": (_foreign, "not a gallery"),
    "cut": (lambda path: os.truncate(path, 6000), "damaged"),
    "header": (_overwrite(16, b"\xff" * 40), "damaged"),
    "zeros": (_overwrite(4096, b"\0" * 4096), "damaged"),
    "noise": (_overwrite(4096, bytes(range(256)) * 64), "damaged"),
    "no table": (_sql("DROP TABLE portraits"), "damaged"),
    "no meta": (_sql("DELETE FROM meta WHERE key = 'dim'"), "'dim' is missing"),
    "bad meta": (_sql("UPDATE meta SET value = 'x' WHERE key = 'dim'"), "dimension 'x'"),
    "bad model": (_sql("UPDATE meta SET value = 'a' || char(10) WHERE key = 'model'"), "model 'a"),
    "bad revision": (_sql("UPDATE meta SET value = 'x' WHERE key = 'revision'"), "revision 'x'"),
    "bad vector": (_sql("UPDATE templates SET vector = x'00112233'"), "checksum of the vector"),
    "no vector": (_forced("UPDATE templates SET vector = 7"), "CHECK constraint failed"),
    "bad portrait": (_sql("UPDATE portraits SET image = x'00'"), "checksum of the portrait"),
    "moved vector": (
        _sql("UPDATE templates SET vector = (SELECT vector FROM templates ORDER BY rowid LIMIT 1)"),
        "checksum of the vector",
    ),
    "no portrait": (_sql("DELETE FROM portraits"), "keeps no portrait"),
    "a view that never ends": (_endless, "views, triggers"),
    "a trigger": (
        _sql("CREATE TRIGGER t AFTER UPDATE ON meta BEGIN DELETE FROM people; END"),
        "views, triggers",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_gallery_is_refused_in_one_line(path: Path, kind: str) -> None:
    damage, says = DAMAGE[kind]
    damage(path)
    with pytest.raises(GalleryCorruptError) as error:
        _use(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert says in message
    assert "\n" not in message
    assert any(fix in message for fix in ("restore", "name another"))


def test_one_flipped_bit_is_never_taken_for_a_face(path: Path) -> None:
    good = path.read_bytes()
    needle = unit(0, 1).tobytes()
    place = good.index(needle)
    for bit in range(0, 8 * len(needle), 5):
        data = bytearray(good)
        data[place + bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        with pytest.raises(GalleryCorruptError):
            _use(path)


def test_random_damage_raises_only_our_errors(path: Path) -> None:
    good = path.read_bytes()
    rng = np.random.default_rng(7)
    messages = []
    for _ in range(100):
        data = bytearray(good)
        for place in rng.integers(0, len(data), int(rng.integers(1, 30))):
            data[place] = int(rng.integers(256))
        path.write_bytes(data)
        for tail in ("-wal", "-shm"):
            path.with_name(path.name + tail).unlink(missing_ok=True)
        try:
            _use(path)
        except JetsonFaceError as error:
            messages.append(str(error))
    assert len(messages) > 30
    assert not [message for message in messages if "\n" in message]


def test_a_folder_and_a_newer_format_are_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(GalleryCorruptError, match="not a gallery but a folder"):
        GalleryStore.open(tmp_path)
    _sql("PRAGMA user_version = 99")(path)
    with pytest.raises(GalleryError, match=r"format 99.*upgrade"):
        GalleryStore.open(path)


def test_a_log_without_its_gallery_is_not_taken_for_a_new_one(path: Path) -> None:
    path.rename(path.with_name("away.db"))
    path.with_name("gallery.db-wal").write_bytes(b"old pages")
    with pytest.raises(GalleryCorruptError, match=r"gallery\.db-wal is there"):
        GalleryStore.open(path, SPACE, create=True)


HOLD = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
if sys.argv[2] == "whole file":
    db.execute("PRAGMA locking_mode=EXCLUSIVE")
db.execute("BEGIN EXCLUSIVE")
db.execute("UPDATE meta SET value = value WHERE key = 'revision'")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def hold() -> Iterator[Callable[[Path, str], None]]:
    """Another process holds the gallery until the test ends."""
    running: list[subprocess.Popen[str]] = []

    def start(path: Path, how: str) -> None:
        command = [sys.executable, "-c", HOLD, str(path), how]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"

    yield start
    for process in running:
        process.communicate()


@pytest.mark.parametrize("how", ["write lock", "whole file"])
def test_a_gallery_that_another_process_holds_is_refused(
    path: Path, hold: Callable[[Path, str], None], how: str
) -> None:
    hold(path, how)
    with pytest.raises(GalleryLockedError) as error:
        _use(path)
    assert str(error.value).startswith(f"{path}: another process holds the gallery")
    assert isinstance(error.value, TimeoutError)


def test_who_is_reading_goes_on_reading_while_another_process_writes(
    path: Path, hold: Callable[[Path, str], None]
) -> None:
    with GalleryStore.open(path, SPACE, timeout_s=0.2) as store:
        hold(path, "write lock")
        assert len(store.snapshot().vectors) == 3
        assert len(store.people()) == 2
        with pytest.raises(GalleryLockedError):
            store.add_person("Cid")
        assert len(store.people()) == 2


ENROL = """
import sys, os, signal
from pathlib import Path
from jetson_face.gallery.store import GalleryStore
from tests.gallery.gallery_fakes import SPACE, template, unit
store = GalleryStore.open(Path(sys.argv[1]), SPACE)
steps = int(sys.argv[2])
def step(*_):
    global steps
    steps -= 1
    if steps == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return 0
store._db.set_progress_handler(step, 1)
for n in range(50):
    with store.transaction():
        store.add_template(store.add_person(f"person {n}"), template(f"{n}.jpg", unit(1, n)))
    print(n, flush=True)
"""


@pytest.mark.parametrize("steps", [5, 60, 200, 333, 777, 1500])
def test_a_process_killed_while_enrolling_leaves_a_valid_gallery(path: Path, steps: int) -> None:
    """`steps`: after how many instructions of SQLite the process kills itself."""
    killed = subprocess.run(
        [sys.executable, "-c", ENROL, str(path), str(steps)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        cwd=Path(__file__).parents[2],
    )
    assert killed.returncode == -signal.SIGKILL
    acknowledged = len(killed.stdout.split())
    with GalleryStore.open(path, SPACE) as store:
        people = [info for info in store.people() if info.person.name.startswith("person")]
        # What was acknowledged is there; the one under way is there whole or not at all.
        assert len(people) in (acknowledged, acknowledged + 1)
        assert all(len(info.templates) == 1 for info in people)
        assert len(store.snapshot().vectors) == 3 + len(people)
        for info in people:
            assert len(store.portraits(info.person.id)) == 1


def test_a_creation_killed_half_way_leaves_no_gallery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new" / "gallery.db"

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "link", die)
    with pytest.raises(KeyboardInterrupt):
        GalleryStore.open(path, SPACE, create=True)
    assert list(path.parent.iterdir()) == []


def test_of_two_that_create_it_the_second_finds_the_first_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "gallery.db"
    link = os.link

    def late(*args: Path) -> None:
        monkeypatch.setattr(os, "link", link)
        filled(path, Ann=[unit(1)]).close()
        link(*args)

    monkeypatch.setattr(os, "link", late)
    with GalleryStore.open(path, SPACE, create=True) as store:
        assert [info.person.name for info in store.people()] == ["Ann"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["gallery.db"]


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder that the test, running as nobody, may read but not write."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        filled(folder / "gallery.db", Ann=[unit(1)]).close()
        (folder / "gallery.db").chmod(0o644)
        folder.chmod(0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)


def test_a_folder_that_cannot_be_written_is_named(unprivileged: Path) -> None:
    with pytest.raises(OutputError, match=r"new\.db: the gallery cannot be created"):
        GalleryStore.open(unprivileged / "new.db", SPACE, create=True)
    with pytest.raises(OutputError, match="cannot be created"):
        GalleryStore.open(unprivileged / "deeper" / "new.db", SPACE, create=True)
    with pytest.raises((OutputError, GalleryError), match=r"gallery\.db: the gallery cannot be"):
        GalleryStore.open(unprivileged / "gallery.db", SPACE)


def test_a_full_disk_loses_the_new_template_and_nothing_else(path: Path) -> None:
    with GalleryStore.open(path, SPACE) as store:
        (pages,) = store._db.execute("PRAGMA page_count").fetchone()
        store._db.execute(f"PRAGMA max_page_count = {pages}")
        ann = store.show("Ann").person
        with pytest.raises(OutputError, match="full"):
            _ = [store.add_template(ann, template(f"more{n}.jpg")) for n in range(50)]
        kept = len(store.snapshot().vectors)
    with GalleryStore.open(path, SPACE) as store:
        assert len(store.snapshot().vectors) == kept >= 3
