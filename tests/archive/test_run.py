"""Recordings become tracks by the recogniser of the live loop: once, and on from where it ended."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from jetson_face.archive.indexer import (
    Counts,
    PieceFailure,
    PieceIndex,
    PieceIndexer,
    frames_of,
)
from jetson_face.archive.opening import open_archive
from jetson_face.archive.pieces import RecordingPiece, cut, outline
from jetson_face.archive.recordings import find_recordings, local_copy, time_in
from jetson_face.archive.run import ArchiveRun, IndexReport, span
from jetson_face.archive.scanning import EveryFrame
from jetson_face.archive.store import ArchiveStore
from jetson_face.archive.tracks import ArchivedTrack
from jetson_face.capture.opening import open_source
from jetson_face.capture.source import EndOfSource
from jetson_face.config import Config, load_config
from jetson_face.core.errors import InputMissingError, OutputError, SourceError, UsageError
from jetson_face.core.types import Frame
from jetson_face.factory.parts import build_parts, build_recognizer
from jetson_face.gallery.matcher import GallerySnapshot, Matcher
from tests.archive.made import recording


def configured(folder: Path, *more: str) -> Config:
    """Pieces of a second and a half."""
    return load_config(
        None,
        [
            f"state_dir={folder / 'state'}",
            f"archive.path={folder / 'archive'}",
            "archive.piece_s=1.5",
            "sampling.interval=2",
            *more,
        ],
    )


@pytest.fixture(scope="module")
def indexer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PieceIndexer]:
    own = PieceIndexer(configured(tmp_path_factory.mktemp("indexer"), "archive.scan=all"))
    yield own
    own.close()


def run(
    config: Config, indexer: PieceIndexer, *sources: object, **more: object
) -> tuple[ArchiveStore, IndexReport]:
    store = open_archive(config, None, indexer.space, create=True)
    found = find_recordings([str(source) for source in sources])
    made = ArchiveRun(config, store, **more)  # type: ignore[arg-type]
    return store, made.run(found, indexer)


def frames_by_hand(path: Path) -> list[Frame]:
    source = open_source(str(path))
    found = []
    try:
        while True:
            found.append(source.read(1.0))
    except EndOfSource:
        return found
    finally:
        source.close()


def test_the_pieces_of_a_recording_are_all_its_frames_once(tmp_path: Path, collins: Path) -> None:
    path = recording(tmp_path / "a.mp4", collins, seconds=7, fps=10)
    seen = outline(path)
    assert (seen.frames, seen.fps) == (70, 10)
    assert seen.seconds == pytest.approx(7.0)
    assert seen.key_ms[:3] == (0, 1200, 2400)
    pieces = cut(seen, 1.5)
    assert len(pieces) > 2
    assert all(start in seen.key_ms for start, _ in pieces)
    whole, counts = frames_by_hand(path), Counts()
    met = [
        frame
        for start, stop in pieces
        for frame in frames_of(
            RecordingPiece("d" * 64, str(path), "door", 0.0, seen.fps, start, stop),
            path,
            EveryFrame(),
            counts,
        )
    ]
    assert counts.frames == 70
    assert [frame.captured_ns for frame in met] == [frame.captured_ns for frame in whole]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(met, whole, strict=True))


def test_a_piece_is_what_the_live_loops_recogniser_says_of_it(
    tmp_path: Path, collins: Path, indexer: PieceIndexer
) -> None:
    path = recording(tmp_path / "door" / "2026-03-14T08-00-00.mp4", collins, seconds=3)
    config = configured(tmp_path, "archive.piece_s=60", "archive.scan=all")
    store, report = run(config, indexer, path)
    (track,) = store.tracks()
    parts = build_parts(config)
    nobody = Matcher(GallerySnapshot.empty(parts.embedder.space))
    recognizer = build_recognizer(config, parts, lambda now_ns: nobody)
    reports = [recognizer.process(frame) for frame in frames_by_hand(path)]
    parts.close()
    seen = [s for one in reports for s in one.sightings if s.detected]
    assert track.frames == max(sighting.frames for sighting in seen) > 3
    mean = recognizer.decisions.fuser.means(np.array([seen[0].track]))
    assert np.allclose(track.template, mean.vectors[0], atol=1e-6)
    assert np.allclose(track.boxes[:, 1:], [sighting.box for sighting in seen], atol=1e-3)
    assert track.camera == "door"
    assert track.start == pytest.approx(1_773_475_200.0, abs=0.3)
    assert track.end - track.start == pytest.approx(2.9, abs=0.3)
    assert 1 <= len(track.crops) <= 3
    assert track.quality == pytest.approx(max(s.quality or 0 for s in seen), abs=1e-6)
    assert (report.recordings, report.tracks, report.frames, report.looked) == (1, 1, 30, 30)
    assert report.video_s == pytest.approx(3.0, abs=0.01)
    assert report.cpu_s > 0
    assert report.hours_per_core_hour == pytest.approx(report.video_s / report.cpu_s)


class Killed(Exception):  # noqa: N818
    """The machine goes away."""


class DiesAfter:
    """Works on so many pieces, and then the process is gone."""

    def __init__(self, indexer: PieceIndexer, count: int) -> None:
        self.indexer, self.count = indexer, count
        self.worked: list[str] = []

    def run(self, pieces: Iterable[RecordingPiece]) -> Iterator[PieceIndex | PieceFailure]:
        for result in self.indexer.run(pieces):
            if len(self.worked) == self.count:
                raise Killed
            self.worked.append(result.piece.id)
            yield result


def test_a_run_that_was_killed_goes_on_and_ends_as_one_that_was_not(
    tmp_path: Path, collins: Path, indexer: PieceIndexer
) -> None:
    recording(tmp_path / "rec" / "door" / "2026-03-14T08-00-00.mp4", collins, seconds=6)
    whole, _ = run(configured(tmp_path / "whole"), indexer, tmp_path / "rec")
    config = configured(tmp_path / "halves")
    store = open_archive(config, None, indexer.space, create=True)
    found = find_recordings([str(tmp_path / "rec")])
    first, second = DiesAfter(indexer, 2), DiesAfter(indexer, 99)
    with pytest.raises(Killed):
        ArchiveRun(config, store).run(found, first)
    ArchiveRun(config, store).run(found, second)
    assert len(first.worked) == 2
    assert not set(first.worked) & set(second.worked)
    one, other = ({t.id: t for t in s.tracks()} for s in (whole, store))
    assert one.keys() == other.keys()
    assert len(one) >= 3
    assert all(np.array_equal(one[key].template, other[key].template) for key in one)
    again = DiesAfter(indexer, 99)
    report = ArchiveRun(config, store).run(found, again)
    assert (again.worked, report.known, report.tracks) == ([], 1, 0)
    assert not store.place.names("done")


def test_a_copy_under_another_name_is_the_same_recording(
    tmp_path: Path, collins: Path, indexer: PieceIndexer
) -> None:
    path = recording(tmp_path / "door" / "2026-03-14T08-00-00.mp4", collins, seconds=1.5)
    config = configured(tmp_path)
    store, _ = run(config, indexer, path)
    before = [track.id for track in store.tracks()]
    shutil.copy(path, tmp_path / "copy.mp4")
    _, report = run(config, indexer, tmp_path / "copy.mp4", path)
    assert (report.recordings, report.known, report.pieces) == (2, 2, 0)
    assert [track.id for track in store.tracks()] == before != []


def test_a_recording_that_cannot_be_read_is_refused_and_the_others_are_not(
    tmp_path: Path, collins: Path, indexer: PieceIndexer
) -> None:
    path = recording(tmp_path / "rec" / "door.mp4", collins, seconds=1.5)
    (tmp_path / "rec" / "empty.mp4").write_bytes(b"")
    (tmp_path / "rec" / "text.mp4").write_text("no video at all\n" * 100)
    (tmp_path / "rec" / "torn.mp4").write_bytes(path.read_bytes()[:3000])
    lines: list[str] = []
    store, report = run(configured(tmp_path), indexer, tmp_path / "rec", progress=lines.append)
    assert sorted(Path(name).name for name in report.refused) == [
        "empty.mp4",
        "text.mp4",
        "torn.mp4",
    ]
    assert report.tracks == len(list(store.tracks())) == 1
    assert report.assumed_times == 1  # no time in its name
    assert "left" in lines[-1]


def test_what_nothing_moves_in_is_passed_over_and_who_comes_is_found(
    tmp_path: Path, collins: Path, indexer: PieceIndexer
) -> None:
    path = recording(
        tmp_path / "door" / "2026-03-14T08-00-00.mp4", collins, seconds=14, here=(5, 8)
    )
    every: dict[str, ArchivedTrack] = {}
    moving: dict[str, ArchivedTrack] = {}
    for scan, found in (("all", every), ("motion", moving), ("key_frames", {})):
        config = configured(tmp_path / scan, "archive.piece_s=60", f"archive.scan={scan}")
        own = PieceIndexer(config)
        store, report = run(config, own, path)
        own.close()
        found |= {track.id: track for track in store.tracks()}
        if scan == "all":
            assert (report.looked, report.frames) == (140, 140)
        elif scan == "motion":
            assert 30 <= report.looked < 70
            assert report.frames == 140
        else:
            assert report.looked == report.frames == len(outline(path).key_ms) < 140
            assert len(found) >= 1
    (one,), (other,) = every.values(), moving.values()
    assert other.start == pytest.approx(one.start, abs=0.25)
    assert other.end == pytest.approx(one.end, abs=0.25)
    assert float(one.template @ other.template) > 0.98


def test_retention_drops_days_at_the_end_of_a_run(
    tmp_path: Path, collins: Path, indexer: PieceIndexer
) -> None:
    old = recording(tmp_path / "door" / "2026-03-14T08-00-00.mp4", collins, seconds=1.5)
    new = recording(tmp_path / "door" / "2026-03-20T08-00-00.mp4", collins, seconds=2)
    config = configured(tmp_path, "archive.keep_days=3")
    store, report = run(config, indexer, old, new, now=lambda: 1_774_000_000.0)  # 2026-03-20
    assert report.dropped_days == 1
    assert {part.split("/")[1] for part in store.partitions()} == {"day=2026-03-20"}


def test_camera_and_time_come_from_folders_and_names(tmp_path: Path) -> None:
    names = {
        "door/2026-03-14T08-00-00.mp4": ("door", 1_773_475_200.0),
        "yard/2026-03-14/08-00-00.mkv": ("yard", 1_773_475_200.0),
        "yard/sub/rec_20260314_080000.mp4": ("yard", 1_773_475_200.0),
        "gate-20260314080000.AVI": ("gate", 1_773_475_200.0),
        "2026-03-14_0800_back door.mp4": ("back_door", 1_773_475_200.0),
        "holiday.mp4": ("holiday", None),
    }
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / ".hidden.mp4").write_bytes(b"x")
    (tmp_path / "notes.txt").write_bytes(b"x")
    found = {
        str(Path(one.address).relative_to(tmp_path)): (one.camera, one.start)
        for one in find_recordings([str(tmp_path)])
    }
    assert found == names
    (single,) = find_recordings([str(tmp_path / "holiday.mp4")], camera="gate", start=5.0)
    assert (single.camera, single.start) == ("gate", 5.0)
    assert time_in("2026-13-45T99-00-00") is None
    for name in ("../../etc", "a/b", "", "x" * 41):
        with pytest.raises(UsageError, match="a camera's name is"):
            find_recordings([str(tmp_path)], camera=name)
    with pytest.raises(UsageError, match="cannot all start at one time"):
        find_recordings([str(tmp_path)], start=5.0)
    with pytest.raises(InputMissingError, match="no such file"):
        find_recordings([str(tmp_path / "nobody.mp4")])
    with pytest.raises(InputMissingError, match="no recordings there"):
        find_recordings([str(tmp_path / "nobody")])


def test_recordings_and_archive_in_an_object_store(
    tmp_path: Path, collins: Path, indexer: PieceIndexer
) -> None:
    import fsspec

    path = recording(tmp_path / "a.mp4", collins, seconds=1.5)
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/recorded/door/2026-03-14T08-00-00.mp4", path.read_bytes())
    config = configured(tmp_path, "archive.path=memory://archived/site")
    store, report = run(config, indexer, "memory://recorded")
    (track,) = store.tracks()
    assert (track.camera, report.refused) == ("door", {})
    assert memory.find("/archived/site/tracks")
    _, again = run(config, indexer, "memory://recorded")
    assert (again.known, again.pieces) == (1, 0)


class NoRouteError(Exception):
    """A store's driver has errors of its own."""


def silent(*_: object, **__: object) -> bytes:
    raise NoRouteError("no route to store.example")


@pytest.mark.parametrize(
    ("call", "error"),
    [("cat_file", SourceError), ("find", SourceError), ("pipe_file", OutputError)],
)
def test_an_archives_store_that_does_not_answer_ends_the_run(
    tmp_path: Path,
    collins: Path,
    indexer: PieceIndexer,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    error: type[Exception],
) -> None:
    """It is no fault of the recordings, which must not be refused one after the other."""
    path = recording(tmp_path / "door" / "2026-03-14T08-00-00.mp4", collins, seconds=1.5)
    config = configured(tmp_path, f"archive.path=memory://silent/{call}")
    store = open_archive(config, None, indexer.space, create=True)
    made = ArchiveRun(config, store)
    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, call, silent)
        with pytest.raises(error, match=r"memory://silent/.*no route to store\.example"):
            made.run(find_recordings([str(path)]), indexer)
    assert made.report.refused == {}
    _, report = run(config, indexer, path)
    assert (report.known, report.tracks) == (0, 1)


def test_a_store_that_stops_while_it_is_read_is_not_taken_for_damage(
    tmp_path: Path, collins: Path, indexer: PieceIndexer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recording(tmp_path / "door" / "2026-03-14T08-00-00.mp4", collins, seconds=1.5)
    config = configured(tmp_path, "archive.path=memory://stops")
    store, _ = run(config, indexer, path)
    assert len(list(store.tracks())) == 1
    monkeypatch.setattr(MemoryFile, "read", silent)
    with pytest.raises(SourceError, match="the store does not answer"):
        list(store.tracks())
    with (
        pytest.raises(SourceError, match="the store does not answer"),
        local_copy("memory://stops/archive.json"),
    ):
        pass


def test_spans_for_people() -> None:
    assert [span(s) for s in (5, 89, 700, 12_000)] == ["5 s", "89 s", "12 min", "3 h 20 min"]
