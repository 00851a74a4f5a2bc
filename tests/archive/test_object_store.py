"""Recordings and archive in a real object store, which stops midway and comes back."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import jetson_face
from jetson_face.archive.pieces import cut, outline
from jetson_face.archive.store import day_of
from tests.archive import object_store
from tests.archive.made import recording
from tests.archive.object_store import ObjectStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
s3fs = pytest.importorskip("s3fs", reason="object stores with S3 need s3fs")
PACKAGE = str(Path(str(jetson_face.__file__)).parents[1])
FROM, INTO = "s3://site/recorded", "s3://site/archive"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    if not object_store.there():
        pytest.skip("no object store here: apt-get install python3-swift")
    own = ObjectStore(tmp_path_factory.mktemp("swift"))
    own.start()
    yield own
    own.kill()


class Site:
    """A bucket with recordings of two days, and commands on it. days, pieces: of the
    recordings."""

    days = ("2026-03-14", "2026-03-20")

    def __init__(self, store: ObjectStore, folder: Path, portrait: Path) -> None:
        self._store, self._folder, self.pieces = store, folder, 0
        self.files = s3fs.S3FileSystem(
            key=object_store.KEY, secret=object_store.SECRET, endpoint_url=store.address
        )
        if self.files.exists("site"):
            for name in self.files.find("site"):
                self.files.rm_file(name)
        else:
            self.files.mkdir("site")
        for number, day in enumerate(self.days):
            path = recording(folder / f"{day}.mp4", portrait, seconds=8 + number)
            self.pieces += len(cut(outline(path), 2.0))
            self.files.put_file(str(path), f"site/recorded/door/{day}T08-00-00.mp4")

    def start(self, *words: object) -> subprocess.Popen[str]:
        """A command, in a process of its own as on another day."""
        settings = (
            f"state_dir={self._folder / 'state'}",
            f"archive.path={INTO}",
            *("archive.search=true", "archive.piece_s=2", "archive.scan=all"),
        )
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "jetson_face", *map(str, words)),
                *(word for one in settings for word in ("--set", one)),
            ],
            env={**object_store.environment(self._store), "PYTHONPATH": PACKAGE},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: object, code: int = 0) -> tuple[str, str]:
        return ended(self.start(*words), code)

    def names(self, under: str) -> list[str]:
        self.files.invalidate_cache()
        return sorted(self.files.find(f"site/archive/{under}"))

    def search(self, portrait: Path) -> list[dict[str, Any]]:
        out, _ = self.run("archive", "search", portrait, "--reason", "x", "--json")
        visits: list[dict[str, Any]] = json.loads(out)["visits"]
        return visits


def ended(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=400)
    assert process.returncode == code, err
    assert "Traceback" not in err
    return out, err


@pytest.fixture
def site(store: ObjectStore, tmp_path: Path, collins: Path) -> Site:
    return Site(store, tmp_path, collins)


def days_of(visits: list[dict[str, Any]]) -> set[str]:
    return {day_of(float(visit["start"])) for visit in visits}


def test_retention_and_erasure_reach_the_store(site: Site, collins: Path) -> None:
    out, _ = site.run("archive", "index", FROM, "--json")
    report = json.loads(out)
    assert (report["recordings"], report["refused"]) == (2, {})
    assert report["tracks"] == report["pieces"] == site.pieces >= 6
    assert site.names("done") == []
    assert len(site.names("tracks")) == 2
    assert days_of(site.search(collins)) == set(Site.days)
    sealed = [site.files.cat_file(name) for name in site.names("tracks")]
    assert all(data.endswith(b"PARE") for data in sealed)
    # a day by hand, the rest of the person's tracks by erasure
    site.run("archive", "erase", "--before", Site.days[1], "--yes")
    assert days_of(site.search(collins)) == {Site.days[1]}
    assert {name.split("day=")[1][:10] for name in site.names("tracks")} == {Site.days[1]}
    out, _ = site.run("archive", "erase", collins, "--yes")
    assert site.names("tracks") == []
    assert site.search(collins) == []
    out, _ = site.run("archive", "index", FROM, "--json")
    assert json.loads(out)["known"] == 2


def test_days_are_dropped_at_the_end_of_a_run(site: Site) -> None:
    site.run("archive", "index", FROM, "--set", "archive.keep_days=1")
    assert site.names("tracks") == []


def test_a_store_that_stops_midway_is_said_and_the_next_run_goes_on(
    site: Site, store: ObjectStore, collins: Path
) -> None:
    running = site.start("archive", "index", FROM, "--json")
    wait_for(lambda: len(site.names("done")) >= 2)
    store.kill()
    try:
        out, err = running.communicate(timeout=400)
        assert out == ""
        assert running.returncode in (6, 15), err
        said = [line for line in err.splitlines() if line.startswith("jetson-face:")]
        assert len(said) == 1, err
        assert INTO in said[0] or FROM in said[0]
        assert "Traceback" not in err
        for words in (("index", FROM), ("search", collins, "--reason", "x")):
            _, err = site.run("archive", *words, code=6)
            assert "the store does not answer" in err
    finally:
        store.start()
    done = {name.rpartition("/")[2] for name in site.names("done")}
    assert len(done) >= 2
    # what is there is whole
    before = site.search(collins)
    assert len(before[0]["tracks"]) >= 1
    out, _ = site.run("archive", "index", FROM, "--json")
    report = json.loads(out)
    assert report["refused"] == {}
    # the pieces that were written down are not done again
    assert report["pieces"] + len(done) == site.pieces
    assert site.names("done") == []
    visits = site.search(collins)
    assert days_of(visits) == set(Site.days)
    assert sum(len(visit["tracks"]) for visit in visits) == site.pieces


def wait_for(true: Any) -> None:
    for _ in range(3000):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come to that")
