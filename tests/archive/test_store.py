"""What is written into an archive comes out again, once, and only with the key."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jetson_face.archive.places import ArchivePlace
from jetson_face.archive.store import MERGED_ROWS, ArchiveStore, day_of
from jetson_face.archive.tracks import ArchivedTrack
from jetson_face.core.compact import compact
from jetson_face.core.errors import (
    EmbeddingSpaceError,
    GalleryError,
    InputBrokenError,
    InputMissingError,
    JetsonFaceError,
    MissingDependencyError,
    OutputError,
    StateLockedError,
    UsageError,
)
from jetson_face.core.types import EmbeddingSpace
from jetson_face.privacy.encryption import AesGcm
from tests.archive.made import CROP, KEY, SPACE, archive, fill, track, vectors


def same(one: ArchivedTrack, other: ArchivedTrack) -> bool:
    plain = ("id", "piece", "camera", "start", "end", "media_s", "frames", "crops")
    return (
        all(getattr(one, key) == getattr(other, key) for key in plain)
        and np.array_equal(one.template, other.template)
        and np.array_equal(one.boxes, other.boxes)
        and abs(one.quality - other.quality) < 1e-6
    )


@pytest.mark.parametrize("where", ["folder", "memory://tracks-come-back"])
def test_tracks_come_back_as_they_were_by_day_and_camera(tmp_path: Path, where: str) -> None:
    place = ArchivePlace(str(tmp_path / "a") if where == "folder" else where)
    store = ArchiveStore.create(place, SPACE, KEY)
    put = fill(store, vectors(40))
    again = ArchiveStore.open(place, SPACE, KEY)
    got = {one.id: one for one in again.tracks()}
    assert got.keys() == {one.id for one in put}
    assert all(same(one, got[one.id]) for one in put)
    assert sorted(store.partitions()) == sorted(
        {f"tracks/day={day_of(one.start)}/camera={one.camera}" for one in put}
    )
    days = sorted({day_of(one.start) for one in put})
    assert {part.split("/")[1] for part in store.partitions(first=days[1], last=days[1])} == {
        f"day={days[1]}"
    }
    assert all(part.endswith("=yard") for part in store.partitions(camera="yard"))


def test_a_piece_that_is_written_again_is_there_once(tmp_path: Path) -> None:
    store = archive(tmp_path / "a")
    own = [track(vector, number) for number, vector in enumerate(vectors(5))]
    store.add(own[0].piece, own)
    store.add(own[0].piece, own)
    assert [one.id for one in store.tracks()] == [one.id for one in own]


def test_merging_keeps_every_track_once_also_after_a_kill(tmp_path: Path) -> None:
    store = archive(tmp_path / "a")
    put = fill(store, vectors(60), a_piece=5, cameras=("door",), days=1)
    (part,) = store.partitions()
    before = {name: store.place.read(name) for name in store.partitions()[part]}
    assert store.merge([part]) == 11
    (merged,) = store.partitions()[part]
    # a kill between the merged file and the deletion of those that are in it
    for name, data in before.items():
        store.place.write(name, data)
    assert sorted(one.id for one in store.tracks()) == sorted(one.id for one in put)
    more = track(vectors(1, 9)[0], piece="f" * 16 + "-000000000")
    store.add(more.piece, [more])
    store.merge([part])
    assert len(store.partitions()[part]) == 1
    assert merged not in store.partitions()[part]
    assert sorted(one.id for one in store.tracks()) == sorted([*(o.id for o in put), more.id])
    assert store.merge([part]) == 0


def test_large_files_are_left_alone_when_small_ones_are_merged(tmp_path: Path) -> None:
    store = archive(tmp_path / "a")
    large = [track(v, n, seconds=1) for n, v in enumerate(vectors(MERGED_ROWS // 2))]
    store.add(large[0].piece, large)
    (part,) = store.partitions()
    (whole,) = store.partitions()[part]
    stamp = (tmp_path / "a" / whole).stat().st_mtime_ns
    for number in (1, 2):
        one = track(vectors(1, number)[0], piece=f"{number}" * 16 + "-000000000")
        store.add(one.piece, [one])
    assert store.merge([part]) == 1
    assert (tmp_path / "a" / whole).stat().st_mtime_ns == stamp
    assert len(list(store.tracks())) == len(large) + 2


def test_nothing_of_a_track_can_be_read_without_the_key(tmp_path: Path) -> None:
    sealed, clear = archive(tmp_path / "a"), archive(tmp_path / "b", cipher=None)
    own = track(vectors(1)[0])
    for store in (sealed, clear):
        store.add(own.piece, [own])
    traces = (own.template.tobytes(), compact(own.template[None]).codes.tobytes(), CROP)

    def held(store: ArchiveStore) -> list[bool]:
        (name,) = next(iter(store.partitions().values()))
        data = store.place.read(name)
        return [trace in data for trace in (*traces, own.id.encode())]

    assert held(clear) == [True] * 4
    assert held(sealed) == [False] * 4
    other = AesGcm(bytes(32))
    for cipher in (other, None):
        with pytest.raises(GalleryError, match=r"another key|is encrypted"):
            ArchiveStore.open(sealed.place, SPACE, cipher)
    with pytest.raises(GalleryError, match="is not encrypted"):
        ArchiveStore.open(clear.place, SPACE, KEY)


@pytest.mark.parametrize("cipher", [KEY, None], ids=["sealed", "clear"])
def test_a_damaged_file_is_said_in_one_line(tmp_path: Path, cipher: AesGcm | None) -> None:
    store = archive(tmp_path / "a", cipher=cipher)
    fill(store, vectors(10), a_piece=10)
    (name,) = next(iter(store.partitions().values()))
    path = tmp_path / "a" / name
    whole = path.read_bytes()
    damages = [whole[: len(whole) // 2], b"", whole[:-40] + b"\0" * 40]
    if cipher is not None:  # the authentication finds a flipped bit anywhere
        middle = len(whole) // 2
        damages.append(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    for data in damages:
        path.write_bytes(data)
        with pytest.raises(InputBrokenError, match=r"a file of the archive is damaged") as caught:
            list(store.tracks())
        assert "\n" not in str(caught.value)


def test_a_file_in_the_clear_is_not_taken_into_a_sealed_archive(tmp_path: Path) -> None:
    sealed, clear = archive(tmp_path / "a"), archive(tmp_path / "b", cipher=None)
    fill(sealed, vectors(5))
    forged = track(vectors(1, 3)[0], camera="forged")
    clear.add(forged.piece, [forged])
    ((part, (name,)),) = clear.partitions().items()
    sealed.place.write(f"{part}/piece-forged.parquet", clear.place.read(name))
    with pytest.raises(InputBrokenError, match="a file of the archive is damaged"):
        list(sealed.tracks())


def test_what_is_no_archive_or_another_networks_is_refused(tmp_path: Path) -> None:
    place = ArchivePlace(str(tmp_path / "a"))
    with pytest.raises(InputMissingError, match="there is no archive"):
        ArchiveStore.open(place, SPACE, KEY)
    store = archive(tmp_path / "a")
    with pytest.raises(EmbeddingSpaceError, match="into a new archive"):
        ArchiveStore.open(store.place, EmbeddingSpace("other", "1" * 64, 32), KEY)
    (tmp_path / "a" / "archive.json").write_text("{}")
    with pytest.raises(InputBrokenError, match="not an archive's"):
        ArchiveStore.open(place, SPACE, KEY)


def test_places_that_cannot_be_are_our_errors() -> None:
    with pytest.raises(UsageError, match="nosuch"):
        ArchivePlace("nosuch://bucket/folder")
    # a known kind of store whose driver is not installed says which one
    with pytest.raises((MissingDependencyError, JetsonFaceError)) as caught:
        ArchivePlace("dropbox://folder").names()
    assert "dropbox" in str(caught.value).lower()


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    store = archive(tmp_path / "a")
    with (
        store.writing(),
        pytest.raises(StateLockedError, match="writes into the archive"),
        archive_again(tmp_path).writing(),
    ):
        pass


def test_an_archive_that_cannot_be_held_is_an_output_error(tmp_path: Path) -> None:
    store = archive(tmp_path / "a")
    (tmp_path / "a" / ".lock").unlink(missing_ok=True)
    (tmp_path / "a" / ".lock").mkdir()
    with pytest.raises(OutputError, match="Is a directory"), store.writing():
        raise AssertionError("held")
    (tmp_path / "a" / ".lock").rmdir()
    with pytest.raises(PermissionError), store.writing():
        raise PermissionError("of what is done inside")


def archive_again(tmp_path: Path) -> ArchiveStore:
    return ArchiveStore.open(ArchivePlace(str(tmp_path / "a")), SPACE, KEY)


def test_old_days_go_by_camera_or_altogether(tmp_path: Path) -> None:
    store = archive(tmp_path / "a")
    put = fill(store, vectors(60), a_piece=5)
    days = sorted({day_of(one.start) for one in put})
    assert store.drop_days(days[1], "door") == 1
    assert store.drop_days(days[1]) == 1
    left = list(store.tracks())
    assert {day_of(one.start) for one in left} == set(days[1:])
    assert {one.id for one in left} == {one.id for one in put if day_of(one.start) != days[0]}


def test_a_removed_track_is_in_no_file(tmp_path: Path) -> None:
    store = archive(tmp_path / "a", cipher=None)
    put = fill(store, vectors(30), a_piece=10, cameras=("door",), days=1)
    (part,) = store.partitions()
    gone = {put[0].id, put[15].id}
    assert store.remove_tracks(part, gone) == 2
    assert {one.id for one in store.tracks()} == {one.id for one in put} - gone
    held = b"".join(store.place.read(name) for name in store.partitions()[part])
    assert put[1].template.tobytes() in held
    assert put[0].template.tobytes() not in held
    assert put[15].template.tobytes() not in held
    assert store.remove_tracks(part, {one.id for one in put}) == 28
    assert store.partitions() == {}
