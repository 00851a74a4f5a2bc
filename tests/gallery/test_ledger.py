"""An older copy of the gallery, or another one, is not taken for the one that was last used."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from jetson_face.core.errors import (
    GalleryError,
    GalleryRestoredError,
    InputMissingError,
    OutputError,
)
from jetson_face.gallery.file import GalleryFile
from jetson_face.gallery.ledger import Ledger
from jetson_face.gallery.store import GalleryStore
from jetson_face.privacy.encryption import AesGcm
from tests.gallery.gallery_fakes import SPACE, template, unit

KEY = AesGcm(bytes(32))


@dataclass
class Box:
    """A state folder and a cache folder, with a gallery in the first."""

    state: Path
    cache: Path
    cipher: AesGcm | None = KEY

    @property
    def path(self) -> Path:
        return self.state / "gallery.db"

    @property
    def ledger(self) -> Ledger:
        return Ledger([self.state / "ledger", self.cache / "witness"], self.cipher)

    def open(self, *, create: bool = False, restored: bool = False) -> GalleryStore:
        return GalleryStore.open(
            self.path, SPACE, create=create, cipher=self.cipher, ledger=self.ledger,
            restored=restored,
        )  # fmt: skip

    def enrol(self, *names: str) -> None:
        with self.open(create=True) as store:
            for name in names:
                store.add_template(store.add_person(name), template(f"{name}.jpg", unit(1)))

    def names(self) -> list[str]:
        with self.open() as store:
            return [info.person.name for info in store.people()]

    def copy(self) -> Callable[[], None]:
        """Take a backup of the gallery; what comes back restores it."""
        data = self.path.read_bytes()

        def restore() -> None:
            self.path.unlink(missing_ok=True)
            self.path.write_bytes(data)

        return restore


@pytest.fixture(params=["sealed", "plain"])
def box(tmp_path: Path, request: pytest.FixtureRequest) -> Box:
    return Box(tmp_path / "state", tmp_path / "cache", KEY if request.param == "sealed" else None)


def test_a_gallery_that_is_used_is_the_one_that_was_used(box: Box) -> None:
    box.enrol("Ann", "Bob")
    restore = box.copy()
    assert box.names() == ["Ann", "Bob"]
    restore()  # the same bytes in another file
    assert box.names() == ["Ann", "Bob"]
    box.enrol("Cid")
    assert box.names() == ["Ann", "Bob", "Cid"]
    there = sorted(file.name for file in box.state.iterdir())
    assert there == [".ledger.lock", "gallery.db", "ledger"]
    modes = {file.stat().st_mode & 0o777 for file in (box.state / "ledger", box.cache / "witness")}
    assert modes == {0o600}


def test_an_older_copy_is_refused_and_taken_only_when_told_to(box: Box) -> None:
    box.enrol("Ann", "Bob")
    restore = box.copy()
    with box.open() as store:
        store.remove("Ann")
    box.enrol("Cid")
    restore()
    for _ in range(2):
        with pytest.raises(GalleryRestoredError, match="older copy") as error:
            box.open()
        assert "jetson-face gallery accept-restored" in str(error.value)
        assert "\n" not in str(error.value)
    with box.open(restored=True) as store:
        done = store.accept()
    # Who was erased is erased again; who was enrolled since is not there.
    assert ([p.name for p in done.again], done.people, done.templates) == (["Ann"], 1, 1)
    assert box.names() == ["Bob"]
    restore()
    with pytest.raises(GalleryRestoredError):
        box.open()


def test_an_accept_that_failed_leaves_nothing_noted(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.enrol("Ann", "Bob")
    restore = box.copy()
    with box.open() as store:
        store.remove("Ann")
    restore()
    with box.open(restored=True) as store:
        with monkeypatch.context() as patch:
            patch.setattr(GalleryFile, "_put_in_force", broken)
            with pytest.raises(OutputError, match="no space"):
                store.accept()
        assert store._file.acts._new == {}
        seen = store.revision()
        assert [person.name for person in store.accept().again] == ["Ann"]
        assert store.revision() > seen
        store.add_template(store.add_person("Cid"), template("c.jpg", unit(1)))
    assert box.names() == ["Bob", "Cid"]


def broken(*_: object, **__: object) -> None:
    raise OutputError("no space")


def test_a_connection_that_is_closed_meanwhile_is_not_called_damage(box: Box) -> None:
    box.enrol("Ann")
    with box.open() as store:
        store._file.db.close()
        with pytest.raises(OutputError, match="closed"):
            store.people()


def test_the_whole_state_folder_put_back_is_noticed_by_the_witness(box: Box) -> None:
    box.enrol("Ann")
    shutil.copytree(box.state, box.state.with_name("backup"))
    with box.open() as store:
        store.remove("Ann")
    shutil.rmtree(box.state)
    box.state.with_name("backup").rename(box.state)
    with pytest.raises(GalleryRestoredError, match="older copy"):
        box.open()
    with box.open(restored=True) as store:
        assert [person.name for person in store.accept().again] == ["Ann"]
    shutil.rmtree(box.cache)  # a cache may go at any time
    assert box.names() == []


def test_another_gallery_of_the_same_key_is_refused(box: Box, tmp_path: Path) -> None:
    box.enrol("Ann")
    other = Box(tmp_path / "other", tmp_path / "other", box.cipher)
    other.enrol("Mallory", "Eve", "Oscar")
    shutil.copy(other.path, box.path)
    with pytest.raises(GalleryRestoredError, match="another gallery"):
        box.open()


def test_a_gallery_from_elsewhere_is_refused(box: Box, tmp_path: Path) -> None:
    box.enrol("Ann")
    new = Box(tmp_path / "new box", tmp_path / "new cache", box.cipher)
    new.state.mkdir()
    shutil.copy(box.path, new.path)
    with pytest.raises(GalleryRestoredError, match="comes from elsewhere"):
        new.open()
    with new.open(restored=True) as store:
        assert store.accept().people == 1
    assert new.names() == ["Ann"]


def test_a_copy_that_went_its_own_way_is_refused(box: Box) -> None:
    box.enrol("Ann")
    state, aside = box.state, box.state.with_name("aside")
    shutil.copytree(state, aside)
    apart = Box(aside, aside, box.cipher)
    box.enrol("Bob")
    apart.enrol("Eve")
    shutil.copy(apart.path, box.path)
    with pytest.raises(GalleryRestoredError, match="changed apart"):
        box.open()
    apart.enrol("Mallory")
    with apart.open() as store:
        ann = store.show("Ann").person
    with box.open(restored=True) as store:
        store.accept()
        store.remove(ann.id)
    apart.enrol("Oscar", "Peggy", "Trudy")
    shutil.copy(apart.path, box.path)
    with pytest.raises(GalleryRestoredError, match="who was erased is in it"):
        box.open()


def test_who_was_erased_stays_erased_in_a_gallery_made_anew(
    box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    box.enrol("Ann")
    restore = box.copy()
    with box.open() as store:
        store.remove("Ann")
    box.path.unlink()
    box.enrol("Bob")
    assert "gallery_made_anew" in caplog.text
    restore()
    with pytest.raises(GalleryRestoredError, match="another gallery"):
        box.open()
    with box.open(restored=True) as store:
        assert [person.name for person in store.accept().again] == ["Ann"]


def test_a_ledger_that_is_gone_is_not_a_new_start(box: Box) -> None:
    box.enrol("Ann")
    (box.state / "ledger").unlink()
    assert box.names() == ["Ann"]  # the witness knows
    assert (box.state / "ledger").exists() is False
    box.enrol("Bob")
    for place in (box.state / "ledger", box.cache / "witness"):
        place.unlink()
    with pytest.raises(GalleryRestoredError, match="comes from elsewhere"):
        box.open()


def test_a_damaged_ledger_is_not_a_new_start(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    box.enrol("Ann")
    ledger, witness = box.state / "ledger", box.cache / "witness"
    ledger.write_bytes(ledger.read_bytes()[:-9])
    assert box.names() == ["Ann"]
    assert "gallery_ledger_unreadable" in caplog.text
    witness.write_bytes(b"")
    with pytest.raises(GalleryRestoredError, match="cannot be read"):
        box.open()
    with box.open(restored=True) as store:
        store.accept()
    assert box.names() == ["Ann"]


def test_another_key_cannot_write_a_ledger(tmp_path: Path) -> None:
    box = Box(tmp_path / "state", tmp_path / "cache")
    box.enrol("Ann")
    forged = Box(tmp_path / "forged", tmp_path / "forged", AesGcm(b"x" * 32))
    forged.enrol("Eve")
    shutil.copy(forged.state / "ledger", box.state / "ledger")
    with pytest.raises(GalleryError, match="another key"):
        box.open()


@pytest.mark.parametrize("place", ["before", "between"])
def test_killed_at_the_commit_it_goes_on(box: Box, place: str) -> None:
    """before: nothing of the change is there. between: the gallery has it, the ledger not yet."""
    box.enrol("Ann")
    child = os.fork()
    if child == 0:
        _killed(box, place)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    before = box.ledger.read()
    assert box.names() == (["Ann"] if place == "before" else ["Ann", "Bob"])
    after = box.ledger.read()
    assert before is not None
    assert after is not None
    assert after.generation == before.generation + (place == "between")


def _killed(box: Box, place: str) -> None:
    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with box.open() as store:
        if place == "between":
            Path.replace = die  # type: ignore[assignment, method-assign]
        else:
            store._file.db.set_trace_callback(lambda text: die() if text == "COMMIT" else None)
        store.add_person("Bob")
    os._exit(1)


def test_a_ledger_that_cannot_be_written_stops_the_change(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.enrol("Ann")
    with box.open() as store:
        with monkeypatch.context() as patch:
            patch.setattr("jetson_face.gallery.ledger._write", _full)
            with pytest.raises(OutputError, match="no space"):
                store.add_person("Bob")
        assert [info.person.name for info in store.people()] == ["Ann"]
        store.add_person("Cid")
    assert box.names() == ["Ann", "Cid"]


def _full(*_: object) -> None:
    raise OSError(28, "no space")


def test_who_writes_into_an_exchanged_file_is_told(box: Box) -> None:
    box.enrol("Ann")
    with box.open() as store:
        box.copy()()
        with pytest.raises(GalleryError, match="exchanged"):
            store.add_person("Lost")
        store.add_person("Found")  # opened the other file
    assert box.names() == ["Ann", "Found"]


def test_two_that_write_at_once_keep_the_ledger_in_step(box: Box) -> None:
    box.enrol("Ann")
    with box.open() as one, box.open() as other:
        for number in range(5):
            one.add_person(f"one {number}")
            other.add_person(f"other {number}")
            record = box.ledger.read()
            assert record is not None
            assert record.generation == one.revision() == other.revision()
    assert len(box.names()) == 11


@pytest.mark.parametrize("why", ["a link to a disk that is away", "its log was left behind"])
def test_a_gallery_that_could_not_be_made_leaves_the_one_that_was_here_its_own(
    box: Box, why: str
) -> None:
    box.enrol("Ann")
    away, log = box.path.with_name("away.db"), box.path.with_name("gallery.db-wal")
    box.path.rename(away)
    if why.startswith("a link"):
        box.path.symlink_to(away.with_name("disk") / "gallery.db")
    else:
        log.touch()
    with pytest.raises((GalleryError, InputMissingError), match=r"not there|is there") as error:
        box.open(create=True)
    assert "\n" not in str(error.value)
    for left in (box.path, log):
        left.unlink(missing_ok=True)
    away.rename(box.path)
    assert box.names() == ["Ann"]


def test_a_folder_in_the_ledgers_place_is_said_before_anything_changes(box: Box) -> None:
    box.enrol("Ann")
    ledger = box.state / "ledger"
    ledger.unlink()
    ledger.mkdir()  # the witness goes on saying what it said
    with pytest.raises(OutputError, match="ledger: cannot be written: Is a directory"):
        box.enrol("Bob")
    assert box.names() == ["Ann"]


def test_a_folder_in_the_witness_place_stops_nothing(
    box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    box.enrol("Ann")
    (box.cache / "witness").unlink()
    (box.cache / "witness").mkdir()
    box.enrol("Bob")
    assert box.names() == ["Ann", "Bob"]
    assert "gallery_witness_not_written" in caplog.text
