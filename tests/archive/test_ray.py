"""On a real Ray cluster of two nodes the index is that of one process, also when a node dies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import jetson_face
from jetson_face.archive.opening import open_archive
from jetson_face.archive.tracks import ArchivedTrack
from jetson_face.config import load_config
from tests.archive.made import recording

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
pytest.importorskip("ray", reason="clusters need the extra `archive`")
PACKAGE = str(Path(str(jetson_face.__file__)).parents[1])
SETTINGS = ("archive.piece_s=2", "archive.scan=all", "backend.threads=1")


class TwoNodes:
    """A cluster in another process. address: of its head."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("ray_cluster.py")), "1"],
            env={**os.environ, "PYTHONPATH": PACKAGE},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.address = self._said()

    def kill_one(self) -> None:
        """End the second node with everything on it."""
        self._tell("kill")
        assert self._said() == "killed"

    def close(self) -> None:
        """End all."""
        self._tell("end")
        self._process.wait(60)

    def _tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def _said(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, "the cluster did not start"
        return line


@pytest.fixture
def cluster() -> Iterator[TwoNodes]:
    own = TwoNodes()
    yield own
    own.close()


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory, collins: Path) -> Path:
    """Two cameras, a minute altogether."""
    folder = tmp_path_factory.mktemp("recorded")
    for camera, begins in (("door", 0.0), ("yard", 3.0)):
        path = folder / camera / "2026-03-14T08-00-00.mp4"
        recording(path, collins, seconds=30, here=(begins, 40.0))
    return folder


def start(folder: Path, recordings: Path, *more: str) -> subprocess.Popen[str]:
    """`archive index` in a process of its own."""
    settings = (f"state_dir={folder / 'state'}", f"archive.path={folder / 'archive'}", *SETTINGS)
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "jetson_face", "archive", "index", str(recordings), "--json"),
            *more,
            *(word for one in settings for word in ("--set", one)),
        ],
        env={**os.environ, "PYTHONPATH": PACKAGE},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> dict[str, object]:
    out, err = process.communicate(timeout=150)
    assert process.returncode == 0, err
    report: dict[str, object] = json.loads(out)
    return report | {"err": err}


def tracks(folder: Path) -> dict[str, ArchivedTrack]:
    config = load_config(
        None, [f"state_dir={folder / 'state'}", f"archive.path={folder / 'archive'}"]
    )
    return {track.id: track for track in open_archive(config).tracks()}


def assert_equal(one: dict[str, ArchivedTrack], other: dict[str, ArchivedTrack]) -> None:
    """Track by track."""
    assert one.keys() == other.keys()
    for key, track in one.items():
        same = other[key]
        assert (track.camera, track.start, track.end) == (same.camera, same.start, same.end)
        assert (track.frames, track.crops) == (same.frames, same.crops)
        assert np.array_equal(track.boxes, same.boxes)
        assert np.allclose(track.template, same.template, atol=1e-6)


def wait_for_pieces(folder: Path, count: int) -> None:
    for _ in range(1200):
        if len(list((folder / "archive" / "done").rglob("*.json"))) >= count:
            return
        time.sleep(0.1)
    raise AssertionError("no piece was done in two minutes")


def test_a_node_dies_and_the_index_is_that_of_one_process(
    tmp_path: Path, recordings: Path, cluster: TwoNodes
) -> None:
    single = ended(start(tmp_path / "single", recordings))
    running = start(tmp_path / "two", recordings, "--ray", cluster.address)
    wait_for_pieces(tmp_path / "two", 4)
    cluster.kill_one()
    report = ended(running)
    assert "worker_died" in str(report["err"])
    for key in ("recordings", "pieces", "tracks", "frames", "looked", "refused"):
        assert report[key] == single[key], key
    assert report["pieces"] == 26
    assert_equal(tracks(tmp_path / "single"), tracks(tmp_path / "two"))
    assert len(tracks(tmp_path / "two")) >= 25


def test_where_no_cluster_answers_it_is_said_at_once(tmp_path: Path, recordings: Path) -> None:
    for address in ("127.0.0.1:9", "nonsense", "auto"):
        process = start(tmp_path / "gone", recordings, "--ray", address)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (6, ""), err
        assert "start it with `ray start" in err
        assert "Traceback" not in err
        assert not list((tmp_path / "gone").rglob("*.parquet"))


def test_what_a_worker_says_is_wrong_is_the_commands_error(
    tmp_path: Path, recordings: Path, cluster: TwoNodes
) -> None:
    """The networks are loaded there as here; one that cannot be is no worker that died."""
    weights = tmp_path / "weights"
    process = start(
        *(tmp_path / "bad", recordings, "--ray", cluster.address, "--workers", "1"),
        *("--set", f"embedder.model={weights}.yaml"),
    )
    _, err = process.communicate(timeout=60)
    assert process.returncode == 4, err
    (tmp_path / "torn" / "door.mp4").parent.mkdir()
    whole = next(recordings.rglob("*.mp4")).read_bytes()
    (tmp_path / "torn" / "door.mp4").write_bytes(whole[: len(whole) // 2])
    process = start(tmp_path / "two", tmp_path / "torn", "--ray", cluster.address)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 5, err
    assert "no frame can be read" in str(json.loads(out)["refused"])
