"""A folder of pictures is no video: each picture is searched and decided on its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from jetson_face.util.images import read_picture, write_picture

Command = Callable[..., Any]
EILEEN, GRACE = "Eileen Collins", "Grace Hopper"


@pytest.fixture
def album(tmp_path: Path, collins: Path, hopper: Path) -> Path:
    """Five pictures of 320 x 240: one, the other, both, nobody, one; and a file that is none."""
    one, other = (
        cv2.resize(read_picture(path)[:300, 80:380], (150, 150)) for path in (collins, hopper)
    )
    folder = tmp_path / "album"
    folder.mkdir()
    for n, faces in enumerate(([one], [other], [one, other], [], [one]), 1):
        picture = np.full((240, 320, 3), 120, np.uint8)
        for i, face in enumerate(faces):
            picture[40:190, 5 + 160 * i : 155 + 160 * i] = face
        write_picture(folder / f"p{n}.png", picture)
    (folder / "p6.jpg").write_bytes(b"no picture")
    return folder


def ran(cli: Command, source: object, tmp_path: Path, *more: object) -> tuple[Any, list[Any]]:
    """The report of the source, and the events of decisions."""
    files = ("--events", tmp_path / "e.jsonl", "--report", tmp_path / "r.json")
    done = cli("run", "--source", source, "--quiet", *files, *more)
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text("utf-8").splitlines()]
    events = [event for event in lines if event["kind"] == "decided"]
    report = json.loads((tmp_path / "r.json").read_text("utf-8"))
    assert report["facts"]["sampling"] == (1 if source == report["sources"][0]["uri"] else 5)
    return report["sources"][0], events


def names(events: list[Any]) -> list[tuple[int, str]]:
    return sorted((event["frame"], event["name"]) for event in events if event["state"] == "known")


def test_every_picture_of_a_folder_is_searched(
    cli: Command, people: Path, album: Path, tmp_path: Path
) -> None:
    cli("enroll", people)
    source, events = ran(cli, str(album), tmp_path)
    assert (source["captured"], source["processed"], source["searched"]) == (5, 5, 5)
    assert source["faults"] == {"skipped": 1}
    wanted = [(0, EILEEN), (1, GRACE), (2, EILEEN), (2, GRACE), (4, EILEEN)]
    assert names(events) == wanted
    tracks = [event["track"] for event in events if event["state"] == "known"]
    assert len(set(tracks)) == 5


def test_a_folder_is_decided_as_identify_does(
    cli: Command, people: Path, album: Path, tmp_path: Path
) -> None:
    cli("enroll", people)
    _, events = ran(cli, str(album), tmp_path)
    done = cli("identify", album, "--json")
    assert done.code == 0
    assert "skipped" in done.err
    assert "p6.jpg" in done.err
    found = json.loads(done.out)
    assert [Path(one["image"]).name for one in found] == [f"p{n}.png" for n in range(1, 6)]
    similar = {
        (seq, face["name"]): face["similarity"]
        for seq, one in enumerate(found)
        for face in one["faces"]
    }
    assert sorted(similar) == names(events)
    for event in events:
        wanted = similar[event["frame"], event["name"]]
        assert event["similarity"] == pytest.approx(wanted, abs=0.006)


def test_the_service_searches_every_picture_too(
    cli: Command, people: Path, album: Path, tmp_path: Path
) -> None:
    cli("enroll", people)
    done = cli("service", "run", "--set", f"sources.0.uri={album}")
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "state" / "last_report.json").read_text("utf-8"))
    assert report["sources"][0]["searched"] == report["sources"][0]["processed"] == 5
    assert report["facts"]["sampling"] == 1


def test_a_sequence_is_followed_from_picture_to_picture(
    cli: Command, people: Path, album: Path, tmp_path: Path
) -> None:
    for n in range(2, 6):
        shutil.copy(album / "p1.png", album / f"p{n}.png")
    cli("enroll", people)
    source, events = ran(cli, f"sequence:{album}?fps=10", tmp_path)
    assert (source["processed"], source["searched"]) == (5, 1)
    assert [(event["name"], event["track"]) for event in events] == [(EILEEN, 1)]


def test_a_named_picture_that_is_none_is_refused_before_the_networks_are_loaded(
    cli: Command, album: Path
) -> None:
    done = cli("identify", album / "p1.png", album / "p6.jpg", "--set", "embedder.model=nonesuch")
    assert done.code == 5
    assert "p6.jpg" in done.err
    done = cli("identify", album, "--draw", "x.png")
    assert done.code == 2


def test_bench_searches_every_picture_and_refuses_a_sampling_rate(
    cli: Command, album: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bench.json"
    common = ("bench", "--clip", album, "--repeats", 1)
    assert cli(*common, "--json", out).code == 0
    (point,) = json.loads(out.read_text("utf-8"))["points"]
    assert point["setting"]["every"] == 1
    assert point["runs"][0]["detection_fps"] == point["runs"][0]["decision_fps"]
    done = cli(*common, "--sampling", "1,5")
    assert done.code == 2
    assert "sequence:FOLDER" in done.err
    done = cli(
        "bench", "--clip", f"sequence:{album}", "--sampling", "5", "--repeats", 1, "--json", out
    )
    assert done.code == 0
    (run,) = json.loads(out.read_text("utf-8"))["points"][0]["runs"]
    assert run["detection_fps"] < run["decision_fps"]


def test_there_is_no_sampling_rate_to_tune_for_a_folder(cli: Command, album: Path) -> None:
    done = cli("tune", "--clip", album, "--fps", "0.5")
    assert done.code == 2
    assert "each picture of a folder is searched" in done.err
