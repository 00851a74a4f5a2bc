"""A terminal that is closed ends a run as SIGTERM does; one that holds on (nohup) goes on."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
from pathlib import Path

import cv2
import pytest

from jetson_face.util.interrupt import catching

CAMERA = ["run", "test://?live=1&fps=20&frames=0", "--set", "report.every_s=0.2"]


def start(folder: Path, *words: str, output: int, ignored: bool = False) -> subprocess.Popen[bytes]:
    """A run in a session of its own, on a terminal where `output` is one."""
    code = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_{'IGN' if ignored else 'DFL'})"
    code += "\nfrom jetson_face.__main__ import main; main()"

    def own_terminal() -> None:
        if os.isatty(1):
            fcntl.ioctl(1, termios.TIOCSCTTY, 0)

    return subprocess.Popen(
        [sys.executable, "-c", code, *CAMERA, *words, "--set", f"state_dir={folder / 'state'}"],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        preexec_fn=own_terminal,
    )


def wait_for(reader: int, words: bytes) -> None:
    said = b""
    while words not in said:
        part = os.read(reader, 4096)
        assert part, said
        said += part


def test_a_closed_terminal_leaves_video_and_report(tmp_path: Path) -> None:
    terminal, inside = os.openpty()
    results = tmp_path / "results"
    video, report = results / "v.mp4", results / "r.json"
    process = start(tmp_path, "--video", str(video), "--report", str(report), output=inside)
    os.close(inside)
    try:
        wait_for(terminal, b" running ")
        os.close(terminal)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    assert sorted(path.name for path in results.iterdir()) == ["r.json", "v.mp4"]
    (source,) = json.loads(report.read_text())["sources"]
    assert source["processed"] > 0
    assert cv2.VideoCapture(str(video)).get(cv2.CAP_PROP_FRAME_COUNT) > 0


def test_a_run_that_ignores_hang_ups_goes_on(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    report = tmp_path / "r.json"
    process = start(tmp_path, "--report", str(report), output=writer, ignored=True)
    os.close(writer)
    try:
        wait_for(reader, b" running ")
        process.send_signal(signal.SIGHUP)
        wait_for(reader, b" running ")
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        while os.read(reader, 4096):
            pass
        assert process.wait(30) == 0
    finally:
        os.close(reader)
        process.kill()
        process.wait()
    assert report.exists()


@pytest.mark.parametrize("before", [signal.SIG_DFL, signal.SIG_IGN])
def test_what_was_set_for_a_hang_up_is_set_again(before: signal.Handlers) -> None:
    came: list[int] = []
    ignored = before is signal.SIG_IGN
    own = signal.signal(signal.SIGHUP, before)
    try:
        with catching(lambda number, _: came.append(number)):
            signal.raise_signal(signal.SIGTERM)
            assert (signal.getsignal(signal.SIGHUP) is before) == ignored
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is before
    finally:
        signal.signal(signal.SIGHUP, own)
    assert came == [signal.SIGTERM] + [signal.SIGHUP] * (not ignored)
