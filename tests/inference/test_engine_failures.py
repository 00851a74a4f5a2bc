"""Builds that really fail: a full and a read-only file system, killed builders, two at once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from jetson_face.inference.tensorrt.bindings import TensorRT
from jetson_face.inference.tensorrt.cache import EngineCache

PRELUDE = """
import os, subprocess, sys
from pathlib import Path
from time import monotonic
from jetson_face.inference.tensorrt.builder import BuildOptions, ShapeRange
from jetson_face.inference.tensorrt.bindings import load_tensorrt
from jetson_face.inference.tensorrt.build import Clock, EngineBuilder
from jetson_face.inference.tensorrt.cache import EngineCache
from jetson_face.inference.tensorrt.key import Machine, NetworkSpec, key_of
from jetson_face.core.errors import EngineError, OutputError
from tests.inference.graphs import tiny_conv

trt = load_tensorrt("tensorrt_rtx")
machine = Machine(trt.flavour, trt.version, "8.6")
cache = EngineCache(Path(sys.argv[1]))
builder = EngineBuilder(trt, machine, cache, BuildOptions(64, "8.6"), Clock(monotonic))
spec = NetworkSpec("tiny", tiny_conv(), "fp16", {"x": ShapeRange.fixed((1, 3, 12, 12))})

def build(**more):
    with cache.lock():
        return builder.build(spec, **more)

def files():
    return sorted(p.name for p in cache.folder.glob("*") if p.name != ".lock")

def mount(*options):
    subprocess.run(["mount", *options], check=True)
"""


def start(code: str, folder: Path, *before: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*before, sys.executable, "-c", PRELUDE + code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )


def output_of(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


def can_mount() -> bool:
    """A file system of one's own needs user name spaces, which some machines forbid."""
    words = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return (
        shutil.which("unshare") is not None and subprocess.run(words, check=False).returncode == 0
    )


@pytest.mark.usefixtures("trt")
def test_a_full_and_then_read_only_file_system(tmp_path: Path) -> None:
    """The plan that was there stays, nothing half-written does, and a reader is not disturbed."""
    if not can_mount():
        pytest.skip("this machine lets nobody mount a file system of their own")
    code = """
mount("-t", "tmpfs", "-o", "size=4m", "none", str(cache.folder))
path = build().path
before = path.read_bytes(), files()
room = (path.stat().st_size * 3 // 2 + 65536) // 4096 * 4096
mount("-o", f"remount,size={room}", str(cache.folder))
try:
    build(force=True)
except OutputError as error:
    print("full:", error)
print("kept:", (path.read_bytes(), files()) == before)
mount("-o", "remount,ro", str(cache.folder))
try:
    build(force=True)
except OutputError as error:
    print("read-only:", error)
print("kept:", (path.read_bytes(), files()) == before)
print("loads:", cache.load(key_of(spec, machine), unchecked=True) == before[0])
"""
    with start(code, tmp_path, "unshare", "-rm") as process:
        lines = output_of(process).read().splitlines()
    assert "No space left on device: free some space, or set engines.cache to" in lines[0]
    assert lines[0].startswith("full:")
    assert lines[2].startswith("read-only:")
    assert "Read-only file system: set engines.cache to a folder that this user may" in lines[2]
    assert [lines[i] for i in (1, 3, 4)] == ["kept: True", "kept: True", "loads: True"]


WHILE_BUILDING = """
class Wait:
    def phase(self, name, parent, steps):
        return True
    def step(self, name, index):
        print("under way", flush=True)
        sys.stdin.read()
        return True
build(progress=Wait())
"""
WHILE_WRITING = """
def wait(handle):
    print("under way", flush=True)
    sys.stdin.read()
os.fsync = wait
build()
"""


@pytest.mark.parametrize(
    ("code", "left"), [(WHILE_BUILDING, 0), (WHILE_WRITING, 1)], ids=["building", "writing"]
)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_builder_that_is_killed(
    code: str, left: int, number: signal.Signals, tmp_path: Path, trt: TensorRT
) -> None:
    """No plan, the lock is free at once, and the next builder sweeps what is left."""
    with start(code, tmp_path) as process:
        assert output_of(process).readline() == "under way\n"
        process.send_signal(number)
        assert process.wait(30) != 0
    assert list(tmp_path.glob("*.plan")) == []
    half = list(tmp_path.glob(".tmp-*"))
    assert len(half) == (left if number == signal.SIGKILL else 0)
    with EngineCache(tmp_path).lock():
        assert [p.name for p in tmp_path.iterdir()] == [".lock"]


def test_two_builders_at_once(tmp_path: Path, trt: TensorRT) -> None:
    """The second says at once who builds, and the first is not disturbed."""
    with start(WHILE_BUILDING.replace("sys.stdin.read()", "sys.stdin.readline()"), tmp_path) as one:
        assert output_of(one).readline() == "under way\n"
        second = "try:\n    build()\nexcept EngineError as error:\n    print(error)\n"
        with start(second, tmp_path) as two:
            said = output_of(two).read()
        assert f"building engines is already under way in {tmp_path} (process {one.pid})" in said
        assert one.stdin is not None
        one.stdin.close()  # ends every wait
        output_of(one).read()
        assert one.wait(60) == 0
    assert len(list(tmp_path.glob("*.plan"))) == 1
