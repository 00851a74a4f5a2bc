"""`run`: the whole program on small clips, and what it says of sources that cannot be used."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from jetson_face.util.images import read_picture
from tests.events.event_help import read_events, without_names_of_the_run

Command = Callable[..., Any]


def events_of(path: Path) -> list[dict[str, Any]]:
    return read_events(path)


def same_events(folder: Path) -> bool:
    """Two runs wrote the same, but for what names the run."""
    one, two = (read_events(folder / name) for name in ("one.jsonl", "two.jsonl"))
    return without_names_of_the_run(one) == without_names_of_the_run(two) != []


def test_a_known_person_in_a_clip_is_one_event_and_a_whole_report(
    cli: Command, people: Path, clip: Path, tmp_path: Path
) -> None:
    cli("enroll", people)
    events, report, video = tmp_path / "e.jsonl", tmp_path / "r.json", tmp_path / "v.mp4"
    files = ("--events", events, "--report", report, "--video", video)
    done = cli("run", "--source", clip, *files, "--still", tmp_path / "s.png")
    assert done.code == 0
    assert "Eileen Collins" in done.out
    appeared, decided, left = events_of(events)
    assert (appeared["frame"], appeared["kind"], appeared["state"]) == (0, "appeared", "pending")
    assert (decided["kind"], decided["name"], decided["track"]) == ("decided", "Eileen Collins", 1)
    assert (left["frame"], left["kind"], left["reason"]) == (19, "left", "end")
    assert left["last_seen"]["media_ms"] in (1800.0, 1900.0)  # on the last frame it may be guessed
    plain = json.loads(report.read_text("utf-8"))
    (source,) = plain["sources"]
    assert (source["captured"], source["processed"], source["dropped"]) == (20, 20, {})
    assert source["searched"] == 4
    assert plain["facts"]["sampling"] == 5
    assert cv2.VideoCapture(str(video)).get(cv2.CAP_PROP_FRAME_COUNT) == 20
    assert read_picture(tmp_path / "s.png").shape == (240, 320, 3)


def test_a_run_with_an_empty_gallery_says_so(
    cli: Command, clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "typo.db"
    assert cli("run", clip, "--frames", 1, "--set", f"gallery.path={path}").code == 0
    assert f"gallery_empty gallery={path} nobody is enrolled" in caplog.messages


@pytest.mark.parametrize("option", ["--video", "--events", "--report", "--still"])
def test_a_result_never_takes_the_place_of_its_source(
    cli: Command, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(clip.read_bytes())
    monkeypatch.chdir(tmp_path)
    done = cli("run", film, option, "film.mp4", "--frames", 1)
    assert done.code == 2
    assert "film.mp4: it is the source" in done.err
    assert film.read_bytes() == clip.read_bytes()


@pytest.mark.parametrize("frames", ["0", "-3"])
def test_a_run_of_no_frames_is_refused(cli: Command, clip: Path, frames: str) -> None:
    done = cli("run", clip, "--frames", frames)
    assert done.code == 2
    assert f"--frames {frames}: at least 1" in done.err


def test_two_runs_give_the_same_events(
    cli: Command, people: Path, clip: Path, tmp_path: Path
) -> None:
    cli("enroll", people)
    for name in ("one.jsonl", "two.jsonl"):
        cli("run", "--source", clip, "--events", tmp_path / name, "--set", "sampling.interval=2")
    assert same_events(tmp_path)


def test_the_crowd_clip_is_recognised_the_same_way_twice(
    cli: Command, collins: Path, shared_data: Path, tmp_path: Path
) -> None:
    cli("enroll", "--name", "Eileen Collins", collins)
    crowd = shared_data / "clips" / "crowd_1080p.mp4"
    for name in ("one.jsonl", "two.jsonl"):
        small = ("--frames", 30, "--set", "detector.max_side_px=640")
        cli("run", "--source", crowd, "--events", tmp_path / name, *small)
    assert same_events(tmp_path)


def test_a_folder_of_pictures_and_the_synthetic_camera_are_sources(
    cli: Command, people: Path, tmp_path: Path
) -> None:
    done = cli("run", "--source", people / "Grace Hopper", "--quiet")
    assert done.code == 0
    done = cli("run", "--source", "test://?frames=12&live=0", "--report", tmp_path / "r.json")
    assert done.code == 0
    assert json.loads((tmp_path / "r.json").read_text())["sources"][0]["processed"] == 12


def test_a_truncated_video_is_recognised_as_far_as_it_goes(
    cli: Command, people: Path, clip: Path, tmp_path: Path
) -> None:
    data = clip.read_bytes()
    broken = tmp_path / "truncated.mp4"
    broken.write_bytes(data[: len(data) // 2])
    done = cli("run", "--source", broken)
    # mp4 keeps its index at the end: cut off, nothing can be decoded; that is said in one line.
    assert done.code == 5
    assert "truncated.mp4" in done.err


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("none.mp4", 4),
        ("text.mp4", 5),
        ("empty.mp4", 5),
        ("v4l2:///dev/video97", 6),
        ("97", 6),
        ("rtsp://user:hunter2@127.0.0.1:9/none", 6),
        ("ftp://x/y", 2),
    ],
)
def test_a_source_that_cannot_be_used_is_one_line_and_a_code(
    cli: Command, tmp_path: Path, source: str, code: int
) -> None:
    (tmp_path / "text.mp4").write_text("this is no video\n" * 50)
    (tmp_path / "empty.mp4").write_bytes(b"")
    where = str(tmp_path / source) if source.endswith(".mp4") else source
    started = time.monotonic()
    done = cli("run", "--source", where, "--set", "sources.0.open_timeout_s=2")
    assert done.code == code, done.err
    lines = [line for line in done.err.strip().splitlines() if line.startswith("jetson-face:")]
    assert len(lines) == 1
    assert "hunter2" not in done.err + done.out
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("sampling.intervl=1", "did you mean interval"),
        ("sampling.interval=some", "must be a whole number"),
        ("matching.margin_min=9", "must be at most 2"),
    ],
)
def test_a_bad_setting_stops_before_anything_else(cli: Command, setting: str, says: str) -> None:
    done = cli("run", "--source", "none.mp4", "--set", setting)
    assert (done.code, says in done.err) == (3, True)


def test_a_result_that_cannot_be_written_is_said(cli: Command, clip: Path) -> None:
    done = cli("run", "--source", clip, "--events", "/proc/nowhere/e.jsonl")
    assert done.code == 15
    assert "/proc/nowhere" in done.err


def test_a_video_of_pictures_has_the_size_of_most(
    cli: Command, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, video = tmp_path / "mixed", tmp_path / "v.mp4"
    folder.mkdir()
    for name, (width, height) in {"a": (1, 1), "b": (96, 64), "c": (64, 96), "d": (96, 64)}.items():
        cv2.imwrite(str(folder / f"{name}.png"), np.full((height, width, 3), 255, np.uint8))
    assert cli("run", folder, "--video", video, "--quiet").code == 0
    shown = cv2.VideoCapture(str(video))
    shapes = [shown.read()[1].shape for _ in range(4)]
    assert shapes == [(64, 96, 3)] * 4
    scaled = [line for line in caplog.messages if "pictures of other sizes" in line]
    assert scaled == [
        f"video_scaled file={video} size=96x64: pictures of other sizes are scaled into it"
    ]


def test_sigterm_ends_a_camera_run_with_the_report(tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "jetson_face", "run", "--source", "test://?live=1&fps=20"),
            *("--report", str(report), "--set", f"state_dir={tmp_path}"),
            *("--set", "report.every_s=0.2"),
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if " running " in line:
            break
    process.terminate()
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "sampling rate" in out
    (source,) = json.loads(report.read_text())["sources"]
    assert source["captured"] == source["processed"] + sum(source["dropped"].values()) > 0
