"""`jetson-face engines` as a user types it, on a simulated GPU and without one."""

from __future__ import annotations

import ctypes
import io
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jetson_face.cli.engines import ProgressLine, interruptible
from jetson_face.cli.main import main
from jetson_face.core.errors import EngineError
from jetson_face.factory.golden import golden_pictures
from jetson_face.factory.gpu import Gpu
from jetson_face.util.images import write_picture
from tests.inference.fake_gpu import FakeModule, put_in

Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def _run(*words: str) -> int:
        wanted = (
            f"engines.cache={tmp_path / 'engines'}",
            "detector.type=mtcnn",
            "detector.min_face_px=80",
        )
        return main(["engines", *words, *(x for w in wanted for x in ("--set", w))])

    return _run


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> FakeModule:
    return put_in(monkeypatch)


@pytest.fixture
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Gpu:
        raise EngineError("CUDA cannot start: is the NVIDIA driver installed?")

    monkeypatch.setattr("jetson_face.factory.gpu.this_gpu", none)


def test_build_list_check_clean(
    run: Run, module: FakeModule, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("build", "rnet") == 0
    out = capsys.readouterr().out
    assert "rnet: built in" in out
    assert "boxes, largest shift (px)" in out
    assert run("build", "rnet") == 0
    assert "rnet: was there already, parity passed" in capsys.readouterr().out
    assert module.builds == 1

    assert run("list", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["network"], row["fits"], row["problem"]) == ("rnet", "passed", None)

    assert run("check", "rnet", "--json") == 0
    assert all(row["passed"] for row in json.loads(capsys.readouterr().out))

    assert run("clean") == 0
    assert "0 files removed" in capsys.readouterr().out
    assert run("clean", "--all") == 0
    assert "3 files removed" in capsys.readouterr().out  # plan, side-car, timing cache
    assert run("list") == 0
    assert "no plans in" in capsys.readouterr().out


@pytest.mark.usefixtures("module")
def test_a_network_that_there_is_not(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("build", "xnet") == 2
    assert "no network ['xnet']; there are pnet, rnet, onet" in capsys.readouterr().err


@pytest.mark.usefixtures("_no_gpu")
def test_without_a_gpu_it_says_so_and_lists(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run("build") == 11
    assert "is the NVIDIA driver installed" in capsys.readouterr().err
    cache = tmp_path / "engines"
    cache.mkdir(exist_ok=True)
    (cache / "old.plan").write_bytes(b"")
    assert run("list") == 0
    out = capsys.readouterr().out
    assert "damaged" in out
    assert "has no side-car: run jetson-face engines build" in out
    assert "none of them can run here: CUDA cannot start" in out


@pytest.mark.usefixtures("_no_gpu", "trt")
def test_plans_for_another_gpu_are_built_unchecked(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("build", "rnet", "onet", "--for", "8.6", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["plans"]
    assert [(r["network"], r["parity"]) for r in rows] == [
        ("rnet", "unchecked"),
        ("onet", "unchecked"),
    ]


def test_an_interrupt_ends_the_build_and_keeps_nothing(
    run: Run, module: FakeModule, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupting(ProgressLine):
        def phase(self, name: str, parent: str | None, steps: int) -> bool:
            os.kill(os.getpid(), signal.SIGINT)
            return super().phase(name, parent, steps)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jetson_face.cli.engines.ProgressLine", Interrupting)
        assert run("build", "rnet") == 130
    assert "nothing half-built was kept" in capsys.readouterr().err
    assert list((tmp_path / "engines").glob("*.plan")) == []
    assert module.builds == 1


def _interrupt_twice() -> None:
    with interruptible() as asked:
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked()
        os.kill(os.getpid(), signal.SIGINT)


def test_a_second_interrupt_is_not_swallowed() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        _interrupt_twice()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.usefixtures("_no_gpu", "trt")
def test_an_interrupt_ends_a_real_build(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupting(ProgressLine):
        def step(self, name: str, index: int) -> bool:
            os.kill(os.getpid(), signal.SIGTERM)
            return super().step(name, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jetson_face.cli.engines.ProgressLine", Interrupting)
        assert run("build", "onet", "--for", "8.6") == 130
    assert "onet: the build was interrupted; nothing half-built was" in capsys.readouterr().err
    folder = tmp_path / "engines"
    assert [*folder.glob("*.plan"), *folder.glob(".tmp-*")] == []
    assert run("build", "onet", "--for", "8.6") == 0


def test_an_interrupt_is_heard_by_another_thread_while_this_one_is_in_native_code() -> None:
    """As where TensorRT calls its progress monitor from threads of its own."""
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    heard: list[bool] = []

    def wait_for(true: Callable[[], bool]) -> None:
        until = time.monotonic() + 10
        while not true() and time.monotonic() < until:
            pass

    def monitor(asked: Callable[[], bool]) -> None:
        wait_for(lambda: ctypes.c_int.from_buffer(mutex).value == 2)  # glibc: somebody waits
        heard.append(asked())
        os.kill(os.getpid(), signal.SIGINT)
        wait_for(asked)
        heard.append(asked())
        libc.pthread_mutex_unlock(mutex)

    libc.pthread_mutex_lock(mutex)
    with interruptible() as asked:
        thread = threading.Thread(target=monitor, args=(asked,))
        thread.start()
        libc.pthread_mutex_lock(mutex)  # unlike most calls, not cut short by a signal
        thread.join()
    assert heard == [False, True]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("out", "wanted"),
    [
        (Terminal(), "\rpnet fp16: step 1 of 6, Timing 2/9, 20 s\033[K"),
        (io.StringIO(), "pnet fp16: step 1 of 6, Timing 2/9, 20 s\n"),
    ],
)
def test_the_progress_line(out: io.StringIO, wanted: str) -> None:
    now = [0.0]
    line = ProgressLine("pnet fp16", lambda: False, clock=lambda: now[0], out=out)
    assert line.phase("Building", None, 6)
    assert line.step("Building", 0)
    assert line.phase("Timing", "Building", 9)
    assert out.getvalue() == ""
    now[0] = 20
    assert line.step("Timing", 1)
    assert out.getvalue() == wanted
    assert not ProgressLine("x", lambda: True).step("a", 0)


def test_calibrate_says_what_it_needs(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "faces"
    folder.mkdir()
    assert run("calibrate", "--pictures", str(folder), "--set", "embedder.model=dlib_resnet") == 11
    assert "is no network that TensorRT runs" in capsys.readouterr().err


def test_face_feeds_stop_at_the_number_asked_for() -> None:
    from jetson_face.core.types import Detections
    from jetson_face.factory.int8_faces import face_feeds

    class Two:
        """A detector that sees two faces in every picture."""

        name = "two"

        def detect(self, image: Any) -> Detections:
            points = np.array([[30, 40], [60, 40], [45, 60], [33, 75], [57, 75]], np.float32)
            marks = np.stack([points, points + 5])
            return Detections(np.ones((2, 4), np.float32), np.ones(2, np.float32), marks)

        def close(self) -> None:
            pass

    from types import SimpleNamespace

    from jetson_face.models.cards import InputSpec

    spec = InputSpec(
        size=(112, 112), colour="RGB", mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5)
    )
    card: Any = SimpleNamespace(name="test", input=spec, alignment="arcface112")
    picture = np.zeros((120, 120, 3), np.uint8)
    for asked, available, sizes in (
        (20, 50, [8, 8, 4]),
        (20, 3, [6]),
        (3, 9, [3]),
        (16, 8, [8, 8]),
    ):
        feeds = face_feeds(Two(), card, iter([picture] * available), asked)
        assert [len(feed["input"]) for feed in feeds] == sizes


def test_calibrating_on_a_folder_writes_the_graph(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def fake(onnx: bytes, feeds: Any, what: str) -> tuple[bytes, int]:
        seen.extend(len(feed["input"]) for feed in feeds)
        return b"graph", sum(seen)

    try:
        from jetson_face.models.cards import load_card, resolve

        resolve(load_card("squeezenet_face"))
    except Exception as exc:
        pytest.skip(f"no network of our own yet: {exc}")
    monkeypatch.setattr("jetson_face.factory.int8_faces.calibrate", fake)
    for i, image in enumerate(golden_pictures()[:2]):
        write_picture(tmp_path / f"{i}.png", image)
    words = ["calibrate", "--pictures", str(tmp_path), "--set", "embedder.model=squeezenet_face"]
    assert run(*words) == 0
    assert seen == [2]
    assert (tmp_path / "engines" / "squeezenet_face-int8.onnx").read_bytes() == b"graph"
