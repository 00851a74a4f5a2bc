"""Frames in a Jetson's own memory (NVMM), read by the GPU without the CPU's copies.

The way: nvvidconv leaves BGRx in NVMM; mapping such a GStreamer buffer gives an NvBufSurface;
`libnvbufsurface` makes an EGLImage of it, and CUDA registers that. Structures and enumerations
after `nvbufsurface.h` of L4T R36 (DeepStream 6 and 7 have the same up to the EGLImage). Not run on
a board yet: `tests/capture/test_nvmm.py` has the libraries played in C.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_bool, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any

from jetson_face.core.errors import EngineError
from jetson_face.core.types import Pixels
from jetson_face.inference.cuda.egl import EglImages

LIBRARIES = (
    "libnvbufsurface.so.1.0.0",
    "libnvbufsurface.so",
    "/usr/lib/aarch64-linux-gnu/nvidia/libnvbufsurface.so.1.0.0",
    "/usr/lib/aarch64-linux-gnu/tegra/libnvbufsurface.so.1.0.0",
)
GSTREAMER = "libgstreamer-1.0.so.0"
_READ = 1
"""GST_MAP_READ."""
_SURFACE_ARRAY = 4
"""NVBUF_MEM_SURFACE_ARRAY: the only memory of which an EGLImage can be made."""
_BGRX = 24
"""NVBUF_COLOR_FORMAT_BGRx."""
_PLANES, _PADDING = 4, 4


class MapInfo(ctypes.Structure):
    """GstMapInfo."""

    _fields_ = (
        ("memory", c_void_p),
        ("flags", c_int),
        ("data", c_void_p),
        ("size", c_size_t),
        ("maxsize", c_size_t),
        ("user_data", c_void_p * 4),
        ("reserved", c_void_p * 4),
    )


class PlaneParams(ctypes.Structure):
    """NvBufSurfacePlaneParams."""

    _fields_ = (
        ("num_planes", c_uint32),
        ("width", c_uint32 * _PLANES),
        ("height", c_uint32 * _PLANES),
        ("pitch", c_uint32 * _PLANES),
        ("offset", c_uint32 * _PLANES),
        ("psize", c_uint32 * _PLANES),
        ("bytesPerPix", c_uint32 * _PLANES),
        ("reserved", c_void_p * (_PADDING * _PLANES)),
    )


class MappedAddr(ctypes.Structure):
    """NvBufSurfaceMappedAddr."""

    _fields_ = (
        ("addr", c_void_p * _PLANES),
        ("eglImage", c_void_p),
        ("reserved", c_void_p * _PADDING),
    )


class SurfaceParams(ctypes.Structure):
    """NvBufSurfaceParams: one picture."""

    _fields_ = (
        ("width", c_uint32),
        ("height", c_uint32),
        ("pitch", c_uint32),
        ("colorFormat", c_int),
        ("layout", c_int),
        ("bufferDesc", c_uint64),
        ("dataSize", c_uint32),
        ("dataPtr", c_void_p),
        ("planeParams", PlaneParams),
        ("mappedAddr", MappedAddr),
        ("reserved", c_void_p * _PADDING),
    )


class Surface(ctypes.Structure):
    """NvBufSurface: a batch of pictures, here of one."""

    _fields_ = (
        ("gpuId", c_uint32),
        ("batchSize", c_uint32),
        ("numFilled", c_uint32),
        ("isContiguous", c_bool),
        ("memType", c_int),
        ("surfaceList", POINTER(SurfaceParams)),
        ("reserved", c_void_p * _PADDING),
    )


class NvmmReader:
    """Reads the pictures of samples whose memory is NVMM; used by one thread.

    Raises EngineError where a library is missing or there is no GPU.
    """

    def __init__(self, *, surfaces: Any = None, egl: EglImages | None = None) -> None:
        self._surfaces = surfaces or _load(LIBRARIES)
        self._gst = _load((GSTREAMER,))
        for name in ("NvBufSurfaceMapEglImage", "NvBufSurfaceUnMapEglImage"):
            function = getattr(self._surfaces, name, None)
            if function is None:
                raise EngineError(f"libnvbufsurface has no {name}")
            function.argtypes, function.restype = (POINTER(Surface), c_int), c_int
        self._gst.gst_buffer_map.argtypes = (c_void_p, POINTER(MapInfo), c_int)
        self._gst.gst_buffer_map.restype = c_int
        self._gst.gst_buffer_unmap.argtypes = (c_void_p, POINTER(MapInfo))
        self._gst.gst_buffer_unmap.restype = None
        self._egl = egl or EglImages()

    def read(self, sample: Any) -> Pixels:
        """The sample's picture, (H, W, 4) BGRx. Raises EngineError; nothing stays mapped."""
        with self._surface_of(sample.get_buffer()) as surface:
            params = surface.surfaceList[0]
            with self._image_of(surface) as image, self._egl.opened(image) as frame:
                return self._egl.download(frame, params.width, params.height)

    @contextmanager
    def _surface_of(self, buffer: Any) -> Iterator[Surface]:
        info = MapInfo()
        address = hash(buffer)  # PyGObject's hash of a boxed value is its address
        if not self._gst.gst_buffer_map(address, ctypes.byref(info), _READ):
            raise EngineError("a frame's memory cannot be mapped")
        try:
            if info.size < ctypes.sizeof(Surface):
                raise EngineError(f"a frame of {info.size} bytes is no NvBufSurface")
            surface = Surface.from_address(info.data or 0)
            found = (surface.numFilled, surface.memType, bool(surface.surfaceList))
            if found != (1, _SURFACE_ARRAY, True):
                raise EngineError(
                    f"a frame holds {surface.numFilled} pictures in memory of kind "
                    f"{surface.memType}, wanted one in a surface array ({_SURFACE_ARRAY})"
                )
            if surface.surfaceList[0].colorFormat != _BGRX:
                raise EngineError(
                    f"a frame has the colour format {surface.surfaceList[0].colorFormat}, wanted "
                    f"BGRx ({_BGRX})"
                )
            yield surface
        finally:
            self._gst.gst_buffer_unmap(address, ctypes.byref(info))

    @contextmanager
    def _image_of(self, surface: Surface) -> Iterator[int]:
        if self._surfaces.NvBufSurfaceMapEglImage(ctypes.byref(surface), 0) != 0:
            raise EngineError("NvBufSurfaceMapEglImage cannot make an EGLImage of a frame")
        try:
            image = surface.surfaceList[0].mappedAddr.eglImage
            if not image:
                raise EngineError("NvBufSurfaceMapEglImage gave no EGLImage")
            yield image
        finally:
            if self._surfaces.NvBufSurfaceUnMapEglImage(ctypes.byref(surface), 0) != 0:
                raise EngineError("NvBufSurfaceUnMapEglImage cannot let go of an EGLImage")


def _load(names: tuple[str, ...]) -> Any:
    """The first of these libraries that there is. Raises EngineError."""
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError as exc:
            why = exc
    raise EngineError(f"{names[0]} cannot be loaded ({why})")
