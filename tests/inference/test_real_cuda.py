"""Both ways to CUDA, pycuda itself and ctypes, over a stand-in libcuda that is compiled C.

Run by tools/test_pycuda.sh, which compiles pycuda and the stand-in and says where they are. Each
test is a process of its own: a libcuda is loaded once, and an error that sticks stays.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(100)]

REPO = Path(__file__).resolve().parents[2]
SITE = os.environ.get("JETSON_FACE_PYCUDA", "")
START = """
import ctypes, sys, threading
import numpy as np
from jetson_face.core.errors import EngineError
from jetson_face.inference.cuda.driver import DriverRuntime
from jetson_face.inference.cuda.pycuda import PycudaRuntime
from jetson_face.inference.cuda.runtime import open_cuda
standin = ctypes.CDLL("libcuda.so.1")
BLOCKS, STREAMS, GRAPHS, CONTEXTS = range(4)
def clean():
    return [standin.standin_count(what) for what in (BLOCKS, STREAMS, GRAPHS)] == [0, 0, 0]
def refused(call, *words):
    try:
        call()
    except EngineError as error:
        assert all(word in str(error) for word in words), str(error)
    else:
        raise AssertionError("it was not refused")
cuda = {"pycuda": PycudaRuntime, "libcuda": DriverRuntime}[sys.argv[1]]()
assert cuda.access == sys.argv[1]
"""


@pytest.fixture(params=["pycuda", "libcuda"])
def access(request: pytest.FixtureRequest) -> str:
    if not SITE:
        pytest.skip("no pycuda compiled: run tools/test_pycuda.sh")
    return str(request.param)


def run(access: str, code: str) -> subprocess.CompletedProcess[str]:
    """A program in a process of its own; its end must be a good one, and without a word."""
    done = subprocess.run(
        [sys.executable, "-c", START + code + "\nprint('to the end')", access],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPO,
        env={**os.environ, "PYTHONPATH": f"{REPO}:{SITE}"},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-800:]
    assert done.stdout.strip() == "to the end"
    return done


def test_copies_there_and_back(access: str) -> None:
    done = run(
        access,
        """
assert (cuda.device, cuda.compute_capability) == ("stand-in GPU", "8.7")
with cuda.active():
    stream, memory = cuda.stream(), cuda.device_memory(4096)
    source, target = cuda.pinned(4096), cuda.pinned(4096)
    source[:] = np.arange(4096) % 251
    cuda.to_device(memory, source[:4000], stream)
    cuda.to_host(target[:4000], memory, stream)
    assert (target == 0xDD).all()  # nothing has run before the stream is waited for
    stream.synchronize()
    assert (target[:4000] == source[:4000]).all() and (target[4000:] == 0xDD).all()
    for block in (source, target):
        cuda.free_pinned(block)
    del source, target, block
    memory.free()
    stream.close()
assert clean()
""",
    )
    assert done.stderr == ""


def test_a_graph_is_captured_and_launched(access: str) -> None:
    done = run(
        access,
        """
with cuda.active():
    stream, memory = cuda.stream(), cuda.device_memory(64)
    source, target = cuda.pinned(64), cuda.pinned(64)
    def work():
        cuda.to_device(memory, source, stream)
        cuda.to_host(target, memory, stream)
    graph = cuda.capture(stream, work)
    assert standin.standin_count(GRAPHS) == 1  # the executable only
    for value in (3, 4, 5):
        source[:] = value
        graph.launch(stream)
        stream.synchronize()
        assert (target == value).all()
    refused(lambda: cuda.capture(stream, lambda: cuda.device_memory(8)), "CUDA")
    stream.synchronize()  # out of capture mode again
    graph.close()
    for block in (source, target):
        cuda.free_pinned(block)
    del source, target, block
    memory.free()
    stream.close()
assert clean()
""",
    )
    assert done.stderr == ""


def test_four_threads_work_at_once(access: str) -> None:
    done = run(
        access,
        """
failed = []
def work(number):
    try:
        for turn in range(50):
            with cuda.active():
                stream, memory, block = cuda.stream(), cuda.device_memory(512), cuda.pinned(512)
                block[:] = number * 50 + turn
                cuda.to_device(memory, block, stream)
                back = cuda.pinned(512)
                cuda.to_host(back, memory, stream)
                stream.synchronize()
                assert (back == (number * 50 + turn) % 256).all()
                for page in (block, back):
                    cuda.free_pinned(page)
                del block, back, page
                memory.free()
                stream.close()
                del stream
    except BaseException as error:
        failed.append(repr(error))
threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not failed, failed
assert clean()
""".replace("number * 50 + turn", "(number * 50 + turn) % 256"),
    )
    assert done.stderr == ""


def test_out_of_memory_is_our_error_and_leaves_nothing(access: str) -> None:
    done = run(
        access,
        """
with cuda.active():
    refused(lambda: cuda.device_memory(1 << 40), "no 1099511627776 bytes of device memory left")
    refused(lambda: cuda.pinned(1 << 40), "page-locked memory left")
    memory = cuda.device_memory(64)  # and there is some for who asks for less
    memory.free()
    refused(memory.free, "cannot free device memory")
assert clean()
""",
    )
    assert done.stderr == ""


def test_without_a_current_context_everything_is_refused(access: str) -> None:
    done = run(
        access,
        """
refused(cuda.stream, "CUDA cannot make a stream")
refused(lambda: cuda.device_memory(8), "CUDA")
refused(lambda: cuda.pinned(8), "CUDA")
with cuda.active():
    pass
refused(cuda.stream, "CUDA cannot make a stream")
assert clean()
""",
    )
    assert done.stderr == ""


def test_after_an_error_that_sticks_cleaning_up_fails_in_words_and_the_process_ends(
    access: str,
) -> None:
    done = run(
        access,
        """
with cuda.active():
    stream, memory, block = cuda.stream(), cuda.device_memory(64), cuda.pinned(64)
    cuda.to_device(memory, block, stream)
    standin.standin_fault(700)
    refused(stream.synchronize, "failure of work under way")
    assert standin.standin_sticky() == 700
    refused(stream.synchronize, "CUDA")
    refused(lambda: cuda.device_memory(8), "CUDA has no 8 bytes")
    refused(cuda.stream, "CUDA cannot make a stream")
    if cuda.access == "pycuda":  # it only warns where the driver frees nothing
        memory.free()
        cuda.free_pinned(block)
        stream.close()
    else:
        refused(memory.free, "cannot free device memory")
        refused(lambda: cuda.free_pinned(block), "cannot free page-locked memory")
        refused(stream.close, "cannot end a stream")
with cuda.active():  # the context itself can still be entered and left
    pass
""",
    )
    assert "Traceback" not in done.stderr
    assert ("cuMemFree failed: CUDA_ERROR_ILLEGAL_ADDRESS" in done.stderr) == (access == "pycuda")


def test_a_process_may_end_while_it_holds_memory_and_a_graph(access: str) -> None:
    run(
        access,
        """
with cuda.active():
    stream, memory, block = cuda.stream(), cuda.device_memory(64), cuda.pinned(64)
    graph = cuda.capture(stream, lambda: cuda.to_device(memory, block, stream))
    graph.launch(stream)
    stream.synchronize()
""",
    )


def test_where_pycuda_is_installed_it_is_taken(access: str) -> None:
    done = run(
        access,
        """
assert open_cuda().access == "pycuda"
with cuda.active():
    assert standin.standin_count(CONTEXTS) >= 2
""",
    )
    assert done.stderr == ""


def test_a_pycuda_that_cannot_be_imported_is_passed_over(access: str) -> None:
    done = run(
        access,
        """
import importlib, logging, pathlib, tempfile
said = []
logging.getLogger("jetson_face").addHandler(type("H", (logging.Handler,), {
    "emit": lambda self, record: said.append(record.getMessage())})())
for name in [name for name in sys.modules if name.startswith("pycuda")]:
    del sys.modules[name]
with tempfile.TemporaryDirectory() as folder:
    package = pathlib.Path(folder) / "pycuda"
    package.mkdir()
    (package / "__init__.py").write_text("")
    # What a pycuda does that was compiled for another Python: its library is no library.
    (package / "driver.py").write_text("from pycuda import _driver")
    (package / "_driver.so").write_bytes(b"no library")
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    assert open_cuda().access == "libcuda"
assert len(said) == 1 and "pycuda cannot be loaded" in said[0], said
""",
    )
    assert done.stderr == ""
