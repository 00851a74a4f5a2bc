"""The synthetic camera: the same frames in every run, and every scripted fault."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import numpy as np
import pytest

from jetson_face.capture.opening import open_source
from jetson_face.capture.source import EndOfSource, FrameBroken, Source
from jetson_face.capture.synthetic import Fault, Script, SyntheticCamera, parse_script
from jetson_face.capture.synthetic_scene import SyntheticScene
from jetson_face.capture.uri import parse_uri
from jetson_face.core.errors import InputBrokenError, InputMissingError, SourceError, UsageError
from jetson_face.core.types import Frame
from jetson_face.util.images import write_picture


def frames_of(source: Source) -> list[Frame]:
    frames = []
    while True:
        try:
            frames.append(source.read(1.0))
        except FrameBroken:
            continue
        except EndOfSource:
            return frames


def camera(*faults: Fault, frames: int | None = 10, live: bool = False) -> SyntheticCamera:
    script = Script(width=64, height=48, fps=10, frames=frames, live=live, faults=faults)
    return SyntheticCamera(script, wait=lambda event, seconds: False, clock_ns=lambda: 7)


def test_two_runs_give_the_same_frames_and_times() -> None:
    uri = "test://?width=160&height=120&fps=10&frames=5"
    first, second = (frames_of(open_source(uri, "cam")) for _ in range(2))
    assert [f.captured_ns for f in first] == [0, 100_000_000, 200_000_000, 300_000_000, 400_000_000]
    assert [f.seq for f in first] == [0, 1, 2, 3, 4]
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.image, b.image)
        assert (a.captured_ns, a.wall, a.source) == (b.captured_ns, b.wall, "cam")
    assert not np.array_equal(first[0].image, first[1].image)
    assert not first[0].image.flags.writeable


def test_faces_wander_over_the_scene(tmp_path: Path) -> None:
    red = np.zeros((20, 20, 3), np.uint8)
    red[..., 2] = 255
    write_picture(tmp_path / "red.png", red)
    (frame, *_) = frames_of(open_source(f"test://?width=160&height=120&frames=1&faces={tmp_path}"))
    pure = (frame.image == (0, 0, 255)).all(axis=2)
    assert pure.sum() == 60 * 60
    scene = SyntheticScene((red,))
    places = {
        tuple(np.argwhere((scene.draw(n, 160, 120) == (0, 0, 255)).all(axis=2))[0])
        for n in range(0, 60, 10)
    }
    assert len(places) == 6


def test_freeze_repeats_a_picture_exactly() -> None:
    frames = frames_of(camera(Fault("freeze", 3, "4")).open("cam"))
    same = [bool(np.array_equal(a.image, b.image)) for a, b in itertools.pairwise(frames)]
    assert same == [False, False, False, True, True, True, True, False, False]


def test_size_changes_from_its_frame_on() -> None:
    frames = frames_of(camera(Fault("size", 6, "32x20")).open("cam"))
    assert [f.image.shape[:2] for f in frames] == [(48, 64)] * 6 + [(20, 32)] * 4


def test_broken_frames_are_counted_out_and_the_rest_arrives() -> None:
    frames = frames_of(camera(Fault("broken", 4, "2")).open("cam"))
    assert [f.captured_ns // 100_000_000 for f in frames] == [0, 1, 2, 3, 6, 7, 8, 9]


def test_eof_ends_a_file_early_and_loses_a_camera() -> None:
    assert len(frames_of(camera(Fault("eof", 4)).open("cam"))) == 4
    live = camera(Fault("eof", 2), live=True)
    source = live.open("cam")
    source.read(1), source.read(1)
    with pytest.raises(SourceError, match="eof at frame 2"):
        source.read(1)


def test_a_disconnected_camera_refuses_as_often_as_scripted_then_goes_on() -> None:
    device = camera(Fault("disconnect", 2, "2"), live=True)
    source = device.open("cam")
    source.read(1), source.read(1)
    with pytest.raises(SourceError, match="disconnect at frame 2"):
        source.read(1)
    for _ in range(2):
        with pytest.raises(SourceError, match="plays dead"):
            device.open("cam")
    assert len(frames_of(device.open("cam"))) == 7
    assert device.opens == 4


def test_a_clock_step_moves_the_wall_clock_only() -> None:
    frames = frames_of(camera(Fault("clock", 5, "-3600")).open("cam"))
    assert frames[5].wall - frames[4].wall == pytest.approx(0.1 - 3600)
    assert frames[5].captured_ns - frames[4].captured_ns == 100_000_000


def test_a_stall_waits_as_long_as_scripted_and_ends_on_close() -> None:
    waits: list[float] = []

    def wait(event: threading.Event, seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == 2

    script = Script(64, 48, 10, 10, faults=(Fault("stall", 1, "2.5"), Fault("stall", 3, "9")))
    source = SyntheticCamera(script, wait=wait).open("cam")
    assert len(frames_of(source)) == 3
    assert waits == [2.5, 9.0]


def test_a_live_camera_is_paced_by_the_clock() -> None:
    waits: list[float] = []
    now = 0

    def wait(event: threading.Event, seconds: float) -> bool:
        nonlocal now
        waits.append(round(seconds, 6))
        now += round(seconds * 1e9)
        return False

    script = Script(64, 48, 10, 4, live=True)
    frames = frames_of(SyntheticCamera(script, clock_ns=lambda: now, wait=wait).open("cam"))
    assert waits == [0.1, 0.1, 0.1]
    assert [f.captured_ns for f in frames] == [0, 100_000_000, 200_000_000, 300_000_000]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("widht=4", "unknown 'widht'"),
        ("width=x", "not a number"),
        ("width=4", "goes from 16"),
        ("live=2", "live is 0 or 1"),
        ("faults=explode@3", "explode@3"),
        ("faults=size@3:20", "WIDTHxHEIGHT"),
        ("faults=stall@3:long", "no number"),
    ],
)
def test_a_script_with_a_mistake_is_refused(query: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_script(parse_uri(f"test://?{query}"))


def test_faces_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match="no such folder"):
        open_source(f"test://?faces={tmp_path / 'nobody'}")
    with pytest.raises(InputBrokenError, match="no pictures"):
        open_source(f"test://?faces={tmp_path}")
