"""What the keys of the archive of recordings change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from jetson_face.config import Config
from jetson_face.core.errors import JetsonFaceError
from jetson_face.core.types import Frame
from tests.config.keys import Site, shows
from tests.config.parts import SPACE, Rig

pytest.importorskip("pyarrow", reason="archives need the extra `archive`")
pytest.importorskip("fsspec", reason="archives need the extra `archive`")

from jetson_face.archive.gathering import TrackGatherer
from jetson_face.archive.indexer import PieceFailure, PieceIndex, gate_of
from jetson_face.archive.opening import open_archive
from jetson_face.archive.pieces import RecordingPiece
from jetson_face.archive.recordings import find_recordings
from jetson_face.archive.run import ArchiveRun
from jetson_face.archive.searching import check_allowed
from tests.archive.made import track, vectors


@shows("archive.path")
def test_the_archive_is_there(site: Site, tmp_path: Path) -> None:
    config = site({"archive.path": str(tmp_path / "here")})
    open_archive(config, None, SPACE, create=True)
    assert (tmp_path / "here" / "archive.json").exists()


@shows("archive.search")
def test_who_may_search(site: Site) -> None:
    check_allowed(site({"archive.search": True}), "case 7")


@shows("archive.scan")
def test_frames_of_a_still_room_are_passed_over_or_not(site: Site) -> None:
    def looked(config: Config) -> int:
        gate, still = gate_of(config), np.full((120, 160, 3), 90, np.uint8)
        times = range(0, 10_000, 5000 if gate.keys_only else 100)
        return sum(gate.wants(n, at) and gate.passes(still, at) for n, at in enumerate(times))

    assert looked(site({"archive.scan": "all"})) == 100
    assert looked(site({"archive.scan": "key_frames"})) == 2
    assert looked(site()) == 1


def recorded(folder: Path) -> Path:
    """Twelve seconds of a grey room, and a key frame at least every 1.2 of them."""
    path = folder / "door" / "2026-03-14T08-00-00.mp4"
    path.parent.mkdir()
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 64))
    for number in range(120):
        writer.write(np.full((64, 64, 3), number, np.uint8))
    writer.release()
    return path


@shows("archive.piece_s")
def test_a_recording_is_cut_into_pieces_of_that_length(site: Site, tmp_path: Path) -> None:
    found = find_recordings([str(recorded(tmp_path))])

    def pieces(config: Config) -> list[RecordingPiece]:
        store = open_archive(config, str(tmp_path / f"{site.path.stem}"), SPACE, create=True)
        return list(ArchiveRun(config, store).planned(found))

    assert 4 <= len(pieces(site({"archive.piece_s": 2}))) <= 6
    assert len(pieces(site())) == 1


@shows("archive.crops")
def test_so_many_portraits_are_kept_of_a_track(site: Site) -> None:
    def kept(config: Config) -> int:
        rig, piece = Rig(config), RecordingPiece("0" * 64, "", "door", 0.0, 10.0, 0, 10_000)
        means = rig.recognizer.decisions.fuser.means
        gatherer = TrackGatherer(piece, means, crops=config.archive.crops)
        for _ in range(60):
            rig.see(apart_ms=200)
            image = np.zeros((240, 320, 3), np.uint8)
            gatherer.add(rig.report, Frame(image, 0, rig.report.captured_ns, 0.0, "door"))
        (made,) = gatherer.finish()
        return len(made.crops)

    assert kept(site({"archive.crops": 6})) == 6
    assert kept(site()) == 3


@shows("archive.keep_days")
def test_older_days_are_dropped_at_the_end_of_a_run(site: Site, tmp_path: Path) -> None:
    config = site({"archive.keep_days": 10})
    store = open_archive(config, str(tmp_path / site.path.stem), SPACE, create=True)
    one = track(np.asarray(vectors(1, dim=SPACE.dim)[0]))
    store.add(one.piece, [one])
    for days, left in ((9, 1), (12, 0)):
        run = ArchiveRun(config, store, now=lambda days=days: one.start + 86_400 * days)  # type: ignore[misc]
        run.run([], Nobody())
        assert len(list(store.tracks())) == left


class Nobody:
    """Has nothing to do."""

    def run(self, pieces: Iterable[RecordingPiece]) -> Iterator[PieceIndex | PieceFailure]:
        assert not list(pieces)
        return iter(())


def test_without_a_path_the_command_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(JetsonFaceError, match=r"set archive\.path"):
        open_archive(Site(tmp_path, None)(), None, SPACE)
