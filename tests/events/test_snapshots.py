"""Pictures of events: sealed, bounded, oldest first, erased with their person."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetson_face.core.errors import GalleryCorruptError, OutputError
from jetson_face.events.snapshots import Snapshot, SnapshotStore
from jetson_face.privacy.audit import files_that_hold
from jetson_face.privacy.encryption import AesGcm

CIPHER = AesGcm(bytes(32))
JPEG = b"\xff\xd8 a face \xff\xd9" * 10
SEALED = len(CIPHER.encrypt(JPEG, b""))
"""Bytes that it takes on disk."""
DAY = 86400.0


class Age:
    """Service time that tests turn by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def store(folder: Path, age: Age | None = None, **limits: float) -> SnapshotStore:
    return SnapshotStore(folder / "crops", CIPHER, age=age or Age(), **limits)  # type: ignore[arg-type]


def test_a_picture_comes_back_and_is_not_readable_on_disk(tmp_path: Path) -> None:
    snapshots = store(tmp_path)
    kept = snapshots.add(JPEG, "p1")
    assert snapshots.read(kept) == JPEG
    assert files_that_hold([b"a face"], list(tmp_path.rglob("*"))) == []
    assert (tmp_path / "crops").stat().st_mode & 0o777 == 0o700
    assert kept.path.stat().st_mode & 0o777 == 0o600


def test_a_picture_is_named_by_service_time_number_and_owner(tmp_path: Path) -> None:
    age = Age()
    snapshots = store(tmp_path / "not" / "there", age)
    age.now = 1.5
    first = snapshots.add(JPEG, "p1")
    name = "000000000001500-000000000001-p1.crop"
    assert first == Snapshot(tmp_path / "not" / "there" / "crops" / name, 1500, 1, "p1")
    assert first.path.exists()
    assert snapshots.add(JPEG).number == 2
    assert store(tmp_path / "not" / "there", age).add(JPEG).number == 3


def test_numbers_go_on_after_the_highest_where_an_older_picture_is_listed_last(
    tmp_path: Path,
) -> None:
    age = Age()
    snapshots = store(tmp_path, age)
    age.now = 100.0
    snapshots.add(JPEG, "first")
    age.now = 5.0  # a queue that was lost counts again from its start
    snapshots.add(JPEG, "second")
    again = store(tmp_path, age)
    assert [s.owner for s in again.stored()] == ["first", "second"]
    assert again.add(JPEG).number == 3


def test_without_a_key_pictures_are_stored_as_they_are(tmp_path: Path) -> None:
    snapshots = SnapshotStore(tmp_path / "crops", None, age=Age())
    kept = snapshots.add(JPEG)
    assert kept.path.read_bytes() == JPEG
    assert snapshots.read(kept) == JPEG
    assert (snapshots.used_bytes, snapshots.evicted) == (len(JPEG), 0)
    least = SnapshotStore(tmp_path / "least", None, age=Age())
    least.add(b"x")
    assert (least.make_room(1), least.stored()) == (1, [])


def test_a_renamed_picture_does_not_open_as_another_persons(tmp_path: Path) -> None:
    snapshots = store(tmp_path)
    kept = snapshots.add(JPEG, "p1")
    kept.path.rename(kept.path.with_name(kept.path.name.replace("-p1.", "-p2.")))
    with pytest.raises(GalleryCorruptError):
        snapshots.read(snapshots.stored("p2")[0])


def test_removing_a_person_erases_their_pictures_only(tmp_path: Path) -> None:
    snapshots = store(tmp_path)
    mine = snapshots.add(JPEG, "p1")
    snapshots.add(JPEG, "p10")
    snapshots.add(JPEG)
    assert snapshots.remove_owner("p1") == [mine.path.name]
    assert [s.owner for s in snapshots.stored()] == ["p10", "unknown"]
    assert [s.owner for s in snapshots.stored("p10")] == ["p10"]
    assert snapshots.used_bytes == 2 * SEALED
    assert snapshots.remove_owner("p1") == []


def test_a_picture_that_cannot_be_erased_is_not_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots = store(tmp_path)
    kept = [snapshots.add(JPEG, "p1") for _ in range(3)]
    unlink = Path.unlink

    def refuse(self: Path, missing_ok: bool = False) -> None:
        if self == kept[0].path:
            raise PermissionError(errno.EPERM, "not yours")
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OutputError, match="crops: 1 of 3 pictures cannot be erased"):
        snapshots.remove_owner("p1")
    assert snapshots.stored() == kept[:1]
    monkeypatch.undo()
    assert snapshots.remove_owner("p1") == [kept[0].path.name]


def test_pictures_are_erased_by_their_names(tmp_path: Path) -> None:
    snapshots = store(tmp_path)
    kept = [snapshots.add(JPEG, f"p{index}") for index in range(4)]
    snapshots.remove([kept[1].path.name, kept[3].path.name, "not-there.crop"])
    assert snapshots.stored() == [kept[0], kept[2]]
    assert (snapshots.used_bytes, snapshots.evicted) == (2 * SEALED, 0)


def test_room_is_made_by_giving_up_the_oldest(tmp_path: Path) -> None:
    snapshots = store(tmp_path)
    kept = [snapshots.add(JPEG) for _ in range(6)]
    assert snapshots.make_room(SEALED + 1) == 2 * SEALED
    assert snapshots.stored() == kept[2:]
    assert (snapshots.used_bytes, snapshots.evicted) == (4 * SEALED, 2)
    assert snapshots.make_room(SEALED) == SEALED
    assert snapshots.make_room(100 * SEALED) == 3 * SEALED
    assert snapshots.make_room(1) == 0
    assert (snapshots.stored(), snapshots.used_bytes) == ([], 0)


def test_what_is_too_much_goes_with_what_is_too_old(tmp_path: Path) -> None:
    age = Age()
    before = store(tmp_path, age)
    before.add(JPEG, "old")
    age.now = 100.0
    for index in range(4):
        before.add(JPEG, f"p{index}")
    limited = store(tmp_path, age, max_bytes=2 * SEALED, max_age_s=60)
    assert limited.used_bytes == 5 * SEALED
    assert limited.prune() == 3
    assert [s.owner for s in limited.stored()] == ["p2", "p3"]
    assert (limited.used_bytes, limited.evicted) == (2 * SEALED, 2)


def test_what_another_process_erased_counts_no_more(tmp_path: Path) -> None:
    snapshots = store(tmp_path, max_bytes=4 * SEALED)
    kept = [snapshots.add(JPEG, f"p{index}") for index in range(4)]
    store(tmp_path).remove_owner("p0")
    assert snapshots.used_bytes == 4 * SEALED
    assert snapshots.prune() == 0
    assert snapshots.used_bytes == 3 * SEALED
    snapshots.add(JPEG, "new")
    assert snapshots.stored()[:3] == kept[1:]
    assert snapshots.evicted == 0


def test_what_another_process_erased_frees_nothing_when_its_turn_comes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    snapshots = store(tmp_path, max_bytes=4 * SEALED)
    for index in range(5):  # the fifth takes the place of the first, and the next ones are known
        snapshots.add(JPEG, f"p{index}")
    store(tmp_path).remove_owner("p1")
    snapshots.add(JPEG, "new")
    assert [s.owner for s in snapshots.stored()] == ["p3", "p4", "new"]
    assert snapshots.used_bytes == 4 * SEALED  # p1 counts until the next `prune`
    assert snapshots.prune() == 0
    assert snapshots.used_bytes == 3 * SEALED
    assert "snapshot_kept" not in caplog.text


def test_by_default_pictures_stay_14_days_and_take_512_mib(tmp_path: Path) -> None:
    age = Age()
    folder = tmp_path / "crops"
    snapshots = SnapshotStore(folder, None, age=age)
    large = snapshots.add(b"x")
    os.truncate(large.path, (512 << 20) - 10)
    full = SnapshotStore(folder, None, age=age)
    small = full.add(b"x" * 10)
    assert full.stored() == [large, small]
    full.add(b"x")
    assert [s.number for s in full.stored()] == [2, 3]
    age.now = 14 * DAY
    assert full.prune() == 0
    age.now += 0.001
    assert full.prune() == 2


def test_old_pictures_go_by_service_time(tmp_path: Path) -> None:
    age = Age()
    snapshots = store(tmp_path, age, max_age_s=14 * DAY)
    snapshots.add(JPEG, "old")
    age.now = 10 * DAY
    snapshots.add(JPEG, "new")
    age.now = 14 * DAY
    assert snapshots.prune() == 0
    age.now += 1
    assert snapshots.prune() == 1
    assert [s.owner for s in snapshots.stored()] == ["new"]
    age.now = 24 * DAY
    assert snapshots.prune() == 0


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=25))
def test_the_folder_never_grows_beyond_its_bound(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("snapshots")
    snapshots = store(folder, max_bytes=5000)
    for size in sizes:
        snapshots.add(b"x" * size)
        on_disk = sum(path.stat().st_size for path in (folder / "crops").iterdir())
        assert on_disk == snapshots.used_bytes <= 5000
    # The newest are the ones that stayed, and a new start sees the same.
    numbers = [s.number for s in snapshots.stored()]
    assert numbers == list(range(len(sizes) - len(numbers) + 1, len(sizes) + 1))
    assert store(folder, max_bytes=5000).used_bytes == snapshots.used_bytes


def test_a_full_disk_gives_up_the_oldest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots = store(tmp_path)
    for index in range(8):
        snapshots.add(JPEG, f"p{index}")
    fsync = os.fsync

    def full_above_four(handle: int) -> None:
        if len(snapshots.stored()) > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full_above_four)
    snapshots.add(JPEG, "new")
    assert [s.owner for s in snapshots.stored()] == ["p4", "p5", "p6", "p7", "new"]
    assert (snapshots.evicted, snapshots.used_bytes) == (4, 5 * SEALED)


def test_a_disk_that_takes_nothing_is_our_own_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots = store(tmp_path)

    def read_only(**_: object) -> tuple[int, str]:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "mkstemp", read_only)
    with pytest.raises(OutputError, match="Read-only file system"):
        snapshots.add(JPEG)
    assert (snapshots.used_bytes, snapshots.evicted) == (0, 0)


def test_a_half_written_draft_of_a_killed_process_goes_at_the_next_start(tmp_path: Path) -> None:
    store(tmp_path)
    draft = tmp_path / "crops" / ".tmp-0-1-p1"
    draft.write_bytes(b"half")
    store(tmp_path)
    assert not draft.exists()


def test_a_draft_that_another_start_was_quicker_to_erase_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(tmp_path)
    gone = tmp_path / "crops" / ".tmp-0-1-p1"
    monkeypatch.setattr(Path, "glob", lambda *_: [gone])
    assert store(tmp_path).used_bytes == 0


@pytest.mark.parametrize("owner", ["../x", "a/b", "", "a" * 81])
def test_an_owner_that_is_no_id_is_a_bug(tmp_path: Path, owner: str) -> None:
    with pytest.raises(ValueError, match="not an owner"):
        store(tmp_path).add(JPEG, owner)


def test_a_full_store_is_not_listed_for_each_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots = store(tmp_path, max_bytes=1 << 30)
    (size,) = {snapshots.add(JPEG).path.stat().st_size for _ in range(30)}
    full = store(tmp_path, max_bytes=30 * size)
    listed: list[Path] = []
    iterdir = Path.iterdir

    def counted(self: Path) -> Iterator[Path]:
        listed.append(self)
        return iterdir(self)

    monkeypatch.setattr(Path, "iterdir", counted)
    kept = [full.add(JPEG) for _ in range(30)]
    assert len(listed) == 1  # each of them took 0.17 s with 50,000 pictures
    assert (full.evicted, full.used_bytes) == (30, 30 * size)
    assert full.stored() == kept


def test_a_disk_that_erases_nothing_does_not_hold_up_the_next_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    snapshots = store(tmp_path, max_bytes=1)
    kept = snapshots.add(JPEG)

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EPERM, "read-only")

    monkeypatch.setattr(Path, "unlink", refuse)
    assert snapshots.add(JPEG).path.exists()
    assert snapshots.used_bytes == 2 * SEALED  # it is still there, and counts
    assert (snapshots.evicted, snapshots.prune(), snapshots.make_room(1)) == (0, 0, 0)
    assert f"snapshot_kept path={kept.path} error=" in caplog.text


def test_a_folder_removed_under_the_service_is_made_again(tmp_path: Path) -> None:
    snapshots = store(tmp_path, max_bytes=10_000)
    snapshots.add(JPEG, "p1")
    shutil.rmtree(tmp_path / "crops")
    assert snapshots.prune() == 0
    assert snapshots.remove_owner("p1") == []
    shutil.rmtree(tmp_path / "crops", ignore_errors=True)
    kept = snapshots.add(JPEG, "p2")
    assert snapshots.read(kept) == JPEG
    assert (tmp_path / "crops").stat().st_mode & 0o777 == 0o700


def test_a_folder_removed_with_the_one_it_was_in_is_as_private_as_before(tmp_path: Path) -> None:
    snapshots = store(tmp_path / "state")
    shutil.rmtree(tmp_path / "state")
    snapshots.add(JPEG)
    assert (tmp_path / "state" / "crops").stat().st_mode & 0o777 == 0o700


def test_a_file_in_the_place_of_the_folder_is_our_own_error(tmp_path: Path) -> None:
    snapshots = store(tmp_path)
    (tmp_path / "crops").rmdir()
    (tmp_path / "crops").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        snapshots.add(JPEG)
