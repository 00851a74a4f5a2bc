"""Measuring: rates, percentiles, the camera model, the order of a sweep."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetson_face.benchmark.clip import Material, read_clip, with_ground_truth
from jetson_face.benchmark.ground_truth import GroundTruth, TrueFace
from jetson_face.benchmark.live_loop import ClipCamera, run_loop
from jetson_face.benchmark.run import as_if_live, run_clip, spread_of, without_frames
from jetson_face.benchmark.sweep import Grid, sweep
from jetson_face.core.errors import InputBrokenError, UsageError
from tests.benchmark.benchhelp import Clock, FakeRecognizer, material


def test_the_rates_of_a_pass_are_apart() -> None:
    clock = Clock()
    run = run_clip(FakeRecognizer(clock), material(20), clock=clock, cpu_clock=clock.cpu)
    figures = run.figures()
    assert run.seconds == pytest.approx(0.4)
    assert figures["decision_fps"] == pytest.approx(50)
    assert figures["detection_fps"] == pytest.approx(10)
    assert figures["recognition_fps"] == pytest.approx(100)
    assert figures["cpu_percent"] == pytest.approx(50)
    assert figures["cpu_ms_per_frame"] == pytest.approx(10)
    assert figures["frame_ms_p50"] == pytest.approx(10)
    assert figures["frame_ms_p95"] == pytest.approx(60)
    assert figures["detect_ms_p50"] == pytest.approx(50)
    assert figures["detect_ms_per_frame"] == pytest.approx(10)
    assert "named" not in figures


def test_a_labelled_clip_gives_accuracy_too() -> None:
    face = TrueFace(actor=1, name="Ann", box=(0, 0, 20, 20))
    ground_truth = GroundTruth(size=(64, 48), fps=25, enrol={"Ann": ()}, frames=((face,),) * 20)
    clock = Clock()
    labelled = with_ground_truth(material(20), ground_truth)
    figures = run_clip(FakeRecognizer(clock), labelled, clock=clock).figures()
    assert figures["found"] == figures["named"] == 0
    assert figures["time_to_name_s"] == float("inf")


def test_percentiles_are_values_that_were_seen() -> None:
    assert spread_of("x", [float(i) for i in range(1, 101)]) == {
        "x_p50": 50,
        "x_p95": 95,
        "x_p99": 99,
    }
    assert spread_of("x", [7.0]) == {"x_p50": 7, "x_p95": 7, "x_p99": 7}
    assert spread_of("x", []) == {}


def test_memory_is_without_the_frames() -> None:
    frames = material(20)
    assert without_frames(100.0, frames) == pytest.approx(100 - 20 * 48 * 64 * 3 / 2**20)
    assert without_frames(None, frames) is None


@pytest.mark.parametrize(
    ("service", "rate", "ages", "dropped"),
    [
        pytest.param([10.0] * 5, 10, [10.0] * 5, 0, id="fast enough"),
        pytest.param([150.0] * 5, 20 / 3, [150, 200, 150, 200], 1, id="too slow: newest wins"),
        pytest.param([250, 10, 10, 10], 7.5, [250, 60, 10], 1, id="one slow frame"),
        pytest.param([], 0, [], 0, id="nothing"),
    ],
)
def test_the_camera_model(
    service: list[float], rate: float, ages: list[float], dropped: int
) -> None:
    seen = as_if_live(service, 10)
    assert list(seen.ages_ms) == pytest.approx(ages)
    assert seen.dropped == dropped
    assert seen.decision_fps == pytest.approx(rate)


@given(st.lists(st.floats(0.1, 500), min_size=1, max_size=60), st.floats(1, 60))
def test_the_camera_model_never_beats_camera_or_machine(service: list[float], fps: float) -> None:
    seen = as_if_live(service, fps)
    assert len(seen.ages_ms) + seen.dropped <= len(service)
    assert seen.decision_fps <= fps * 1.001
    assert all(age > 0 for age in seen.ages_ms)
    first = seen.ages_ms[0]
    assert first == pytest.approx(service[0])


class FakeSubject:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def recognizer(self, *, every: int | None = None) -> FakeRecognizer:
        return FakeRecognizer(self.clock, every or 5)


def test_a_sweep_measures_in_rounds_and_holds_one_network_at_a_time() -> None:
    clock = Clock()
    opened: list[tuple[str, int | None]] = []
    open_now: list[str] = []

    @contextmanager
    def open_subject(method: str, size: int | None, clip: Material) -> Iterator[FakeSubject]:
        assert not open_now
        opened.append((method, size))
        open_now.append(method)
        yield FakeSubject(clock)
        open_now.clear()

    told: list[tuple[int, int]] = []
    points = sweep(
        Grid(("a", "b"), (material(),), (320, None), {"a": (1, 5), "b": (5,)}, repeats=2),
        open_subject,
        progress=lambda done, total, item: told.append((done, total)),
        one_pass=partial(run_clip, clock=clock, cpu_clock=clock.cpu),
    )
    one_round = [("a", 320), ("a", None), ("b", 320), ("b", None)]
    assert opened == one_round * 2
    assert told[0] == (0, 12)
    assert told[-1] == (12, 12)
    assert len(points) == 6
    assert all(len(point.runs) == 2 for point in points)
    by_every = {point.setting.every: point.median("decision_fps") for point in points}
    assert by_every == {1: pytest.approx(1 / 0.06), 5: pytest.approx(50)}


def test_the_capture_rate_is_the_decoder_s() -> None:
    clock = Clock()

    @contextmanager
    def open_subject(method: str, size: int | None, clip: Material) -> Iterator[FakeSubject]:
        yield FakeSubject(clock)

    clip = replace(material(), decode_fps=123.0)
    (point,) = sweep(Grid(("a",), (clip,), (None,), {"a": (5,)}, repeats=1), open_subject)
    assert point.median("capture_fps") == 123.0


def video(path: Path, frames: int = 12) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20, (64, 48))
    for i in range(frames):
        writer.write(np.full((48, 64, 3), min(20 * i, 240), np.uint8))
    writer.release()
    return path


def test_a_clip_is_read_into_memory_in_order(tmp_path: Path) -> None:
    clip = read_clip(video(tmp_path / "v.avi"))
    assert (clip.name, clip.fps, len(clip.images), clip.size) == ("v", 20, 12, (64, 48))
    levels = [int(image.mean()) for image in clip.images]
    assert levels == sorted(levels)
    assert clip.decode_fps is not None
    assert clip.decode_fps > 0
    assert [frame.captured_ns for frame in clip.frames()][:2] == [0, 50_000_000]
    assert len(read_clip(tmp_path / "v.avi", frames_max=5).images) == 5


def test_a_clip_that_does_not_fit_says_how_many_frames_do(tmp_path: Path) -> None:
    path = video(tmp_path / "v.avi", 130)
    with pytest.raises(UsageError, match="--frames 56"):
        read_clip(path, memory_mb=1)


def test_ground_truth_of_another_clip_is_refused(tmp_path: Path) -> None:
    ground_truth = GroundTruth(size=(64, 48), fps=20, frames=((),) * 12)
    clip = read_clip(video(tmp_path / "v.avi"), ground_truth)
    assert clip.ground_truth == ground_truth
    for wrong in ({"size": (640, 48)}, {"frames": ((),) * 11}):
        with pytest.raises(UsageError, match="ground truth"):
            with_ground_truth(clip, ground_truth.model_copy(update=wrong))


def test_a_broken_clip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"no video")
    with pytest.raises(InputBrokenError):
        read_clip(tmp_path / "v.mp4")


def test_a_pass_through_the_loop_loses_nothing_from_memory() -> None:
    figures = run_loop(FakeRecognizer(Clock()), material(30), live=False).figures()
    assert figures["dropped"] == 0
    assert 0 < figures["efficiency"] <= 1
    assert "age_ms_p95" not in figures
    assert figures["detect_ms_p50"] == pytest.approx(50, rel=0.03)


def test_a_pass_through_the_loop_decodes_the_clip_s_own_file(tmp_path: Path) -> None:
    clip = read_clip(video(tmp_path / "v.avi"), frames_max=7)
    run = run_loop(FakeRecognizer(Clock()), clip, live=False)
    assert [report.seq for report, _ in run.collected] == list(range(7))
    assert run.figures()["capture_ms_p50"] > 0


def test_a_pass_as_a_camera_has_ages() -> None:
    figures = run_loop(FakeRecognizer(Clock()), material(10, fps=200), live=True).figures()
    assert figures["age_ms_p50"] >= 0
    assert "efficiency" not in figures


def test_the_camera_waits_for_the_frame_s_time_and_frames_are_as_old_as_that() -> None:
    now = [1_000_000_000]
    camera = ClipCamera(material(3, fps=10), live=True, clock_ns=lambda: now[0])
    assert camera.read(0.01).captured_ns == 1_000_000_000
    with pytest.raises(TimeoutError):
        camera.read(0.001)
    now[0] += 350_000_000
    assert camera.read(0.01).captured_ns == 1_100_000_000
    assert camera.read(0.01).captured_ns == 1_200_000_000
