"""Frames in a Jetson's memory, with real GStreamer and the Jetson's libraries played in C."""

from __future__ import annotations

import ctypes
import logging
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jetson_face.capture import gstreamer, nvmm
from jetson_face.capture.source import OpenOptions
from jetson_face.capture.uri import parse_uri
from jetson_face.core.errors import EngineError, SourceError
from jetson_face.core.types import Pixels
from jetson_face.inference.cuda import egl
from jetson_face.inference.cuda.driver import Driver

HERE = Path(__file__).parent
PARTS = ("planeParams", "mappedAddr")
TARGET = ("target_kind", "target_host", "target_pitch", "width_bytes", "height")
pytestmark = [
    pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc"),
    pytest.mark.skipif(
        not gstreamer.has_gstreamer("videotestsrc"), reason="GStreamer for Python is not installed"
    ),
]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = tmp_path_factory.mktemp("standin") / "libstandin.so"
    sources = [HERE / "nvbufsurface" / "standin.c", HERE.parent / "inference/libcuda/standin.c"]
    command = ["gcc", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", str(made), *map(str, sources)]
    done = subprocess.run([*command, "-lpthread"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "nvbufsurface" not in done.stderr, "the compiler warns"
    loaded = ctypes.CDLL(str(made))
    loaded.standin_layout.restype = loaded.standin_surface.restype = ctypes.c_size_t
    return loaded


@pytest.fixture
def standin(library: Any) -> Any:
    library.standin_fail_at(0)
    library.standin_use_arrays(0)
    yield library
    library.standin_fail_at(0)
    assert library.standin_resources() == 0, "a picture stays registered"
    assert library.standin_images() == 0, "an EGLImage stays"


class Sample:
    """A sample whose buffer holds an NvBufSurface, as nvvidconv's does."""

    def __init__(self, standin: Any, pixels: Pixels, pitch: int) -> None:
        room = ctypes.create_string_buffer(256)
        height, width = pixels.shape[:2]
        data = pixels.ctypes.data_as(ctypes.c_void_p)
        size = standin.standin_surface(room, data, width, height, pitch)
        self.buffer = gstreamer.load_gst().Buffer.new_wrapped(room.raw[:size])

    def get_buffer(self) -> Any:
        return self.buffer


@pytest.fixture
def pixels() -> Pixels:
    return np.random.default_rng(3).integers(0, 256, (48, 66, 4), np.uint8)


@pytest.fixture
def reader(standin: Any) -> nvmm.NvmmReader:
    return nvmm.NvmmReader(surfaces=standin, egl=egl.EglImages(Driver(standin)))


def test_the_structures_lie_as_the_headers_say(library: Any) -> None:
    wanted: list[int] = []
    for kind, names in (
        (nvmm.PlaneParams, ("width", "bytesPerPix")),
        (nvmm.MappedAddr, ("eglImage",)),
        (
            nvmm.SurfaceParams,
            ("pitch", "colorFormat", "layout", "bufferDesc", "dataSize", "dataPtr", *PARTS),
        ),
        (nvmm.Surface, ("numFilled", "isContiguous", "memType", "surfaceList")),
        (egl.EglFrame, ("width", "pitch", "plane_count", "channels", "kind", "element")),
        (
            egl.Copy2D,
            (
                "source_kind",
                "source_host",
                "source_device",
                "source_array",
                "source_pitch",
                *TARGET,
            ),
        ),
    ):
        wanted += [ctypes.sizeof(kind), *(getattr(kind, name).offset for name in names)]
    have: list[int] = []
    while (value := library.standin_layout(len(have))) != ctypes.c_size_t(-1).value:
        have.append(value)
    assert wanted == have


@pytest.mark.parametrize("arrays", [0, 1])
def test_a_frame_comes_out_as_it_was(
    arrays: int, standin: Any, reader: nvmm.NvmmReader, pixels: Pixels
) -> None:
    standin.standin_use_arrays(arrays)
    for pitch in (66 * 4, 512):
        sample = Sample(standin, pixels, pitch)
        for _ in range(3):
            np.testing.assert_array_equal(reader.read(sample), pixels)
        assert (standin.standin_images(), standin.standin_resources()) == (0, 0)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (1, "NvBufSurfaceMapEglImage cannot"),
        (2, "cuGraphicsEGLRegisterImage answered error 1"),
        (3, "cuGraphicsResourceGetMappedEglFrame answered error 1"),
        (4, "cuMemcpy2D_v2 answered error 1"),
        (5, "cuGraphicsUnregisterResource answered error 1"),
        (6, "NvBufSurfaceUnMapEglImage cannot"),
        (7, "gave no EGLImage"),
        (8, "in 2 planes"),
    ],
)
def test_nothing_stays_mapped_where_a_call_fails(
    where: int, said: str, standin: Any, reader: nvmm.NvmmReader, pixels: Pixels
) -> None:
    sample = Sample(standin, pixels, 512)
    standin.standin_fail_at(where)
    for _ in range(2):
        with pytest.raises(EngineError, match=said):
            reader.read(sample)
        assert (standin.standin_images(), standin.standin_resources()) == (0, 0)
    standin.standin_fail_at(0)
    np.testing.assert_array_equal(reader.read(sample), pixels)


def test_other_memory_and_colours_are_refused(
    standin: Any, reader: nvmm.NvmmReader, pixels: Pixels
) -> None:
    sample = Sample(standin, pixels, 512)
    standin.standin_colour_format(6)
    with pytest.raises(EngineError, match=r"colour format 6, wanted BGRx \(24\)"):
        reader.read(sample)
    sample.buffer = gstreamer.load_gst().Buffer.new_wrapped(bytes(ctypes.sizeof(nvmm.Surface)))
    with pytest.raises(EngineError, match="holds 0 pictures"):
        reader.read(sample)
    sample.buffer = gstreamer.load_gst().Buffer.new_wrapped(b"short")
    with pytest.raises(EngineError, match="5 bytes is no NvBufSurface"):
        reader.read(sample)


def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch, library: Any) -> None:
    monkeypatch.setattr(nvmm, "LIBRARIES", ("libnot-there.so",))
    with pytest.raises(EngineError, match=r"libnot-there\.so cannot be loaded"):
        nvmm.NvmmReader()
    with pytest.raises(EngineError, match="has no NvBufSurfaceMapEglImage"):
        nvmm.NvmmReader(surfaces=ctypes.CDLL(None))


PLAIN = (
    "videotestsrc pattern=red is-live=true ! video/x-raw,format=BGRx,width=64,height=48 ! "
    f"{gstreamer.SINK}"
)


def opened(zero_copy: Any, *, has_nvidia: bool = True) -> gstreamer.GstSource:
    options = OpenOptions(open_timeout_s=20, zero_copy=zero_copy)
    return gstreamer._open(
        lambda nvmm=False: PLAIN, parse_uri("csi://0"), "door", options, has_nvidia=has_nvidia
    )


def test_the_gpu_reads_frames_where_it_can(
    standin: Any, reader: nvmm.NvmmReader, pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = Sample(standin, pixels, 512)
    monkeypatch.setattr(reader, "read", lambda _: nvmm.NvmmReader.read(reader, sample))
    monkeypatch.setattr(gstreamer, "NvmmReader", lambda: reader)
    source = opened("auto")
    np.testing.assert_array_equal(source.read(10).pixels, pixels)
    standin.standin_fail_at(4)
    with pytest.raises(SourceError, match="cuMemcpy2D_v2"):
        source.read(10)
    source.close()


@pytest.mark.parametrize("why", ["no library", "no GPU reads it", "no Jetson"])
def test_where_it_cannot_the_cpu_copies_and_that_is_said_once(
    why: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gstreamer._say_once.cache_clear()
    monkeypatch.setattr(nvmm, "LIBRARIES", ("libnot-there.so",))

    class Refuses:
        def read(self, _: Any) -> Pixels:
            raise EngineError("a frame is no NvBufSurface")

    if why == "no GPU reads it":
        monkeypatch.setattr(gstreamer, "NvmmReader", Refuses)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            source = opened("auto", has_nvidia=why != "no Jetson")
            assert source.read(10).image[0, 0, 2] > 200
            source.close()
    (line,) = [r.message for r in caplog.records if "zero_copy" in r.message]
    assert line.startswith("zero_copy: door: frames are copied by the CPU: ")
    caplog.clear()
    opened("off").close()
    assert not caplog.records
