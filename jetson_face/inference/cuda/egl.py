"""Pictures that another part of a Jetson made, reached by CUDA through EGL's images.

Structures and calls after `cudaEGL.h` and `cuda.h` of CUDA 13.0; those of 12.6 are the same.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_int, c_size_t, c_uint, c_uint64, c_void_p

import numpy as np

from jetson_face.core.errors import EngineError
from jetson_face.core.types import Pixels
from jetson_face.inference.cuda.driver import Driver, DriverRuntime, load_driver

_READ_ONLY = 1
"""CU_GRAPHICS_REGISTER_FLAGS_READ_ONLY."""
_ARRAY, _PITCH = 0, 1
"""CUeglFrameType."""
_FROM_HOST, _FROM_DEVICE, _FROM_ARRAY = 1, 2, 3
"""CUmemorytype."""
_BYTES = 1
"""CU_AD_FORMAT_UNSIGNED_INT8."""


class EglFrame(ctypes.Structure):
    """CUeglFrame: where the planes lie, as pointers or as CUDA arrays."""

    _fields_ = (
        ("planes", c_void_p * 3),
        ("width", c_uint),
        ("height", c_uint),
        ("depth", c_uint),
        ("pitch", c_uint),
        ("plane_count", c_uint),
        ("channels", c_uint),
        ("kind", c_int),
        ("colours", c_int),
        ("element", c_int),
    )


class Copy2D(ctypes.Structure):
    """CUDA_MEMCPY2D: a rectangle of bytes from anywhere to anywhere."""

    _fields_ = (
        ("source_x", c_size_t),
        ("source_y", c_size_t),
        ("source_kind", c_int),
        ("source_host", c_void_p),
        ("source_device", c_uint64),
        ("source_array", c_void_p),
        ("source_pitch", c_size_t),
        ("target_x", c_size_t),
        ("target_y", c_size_t),
        ("target_kind", c_int),
        ("target_host", c_void_p),
        ("target_device", c_uint64),
        ("target_array", c_void_p),
        ("target_pitch", c_size_t),
        ("width_bytes", c_size_t),
        ("height", c_size_t),
    )


_SIGNATURES = {
    "cuGraphicsEGLRegisterImage": (POINTER(c_void_p), c_void_p, c_uint),
    "cuGraphicsResourceGetMappedEglFrame": (POINTER(EglFrame), c_void_p, c_uint, c_uint),
    "cuGraphicsUnregisterResource": (c_void_p,),
    "cuMemcpy2D_v2": (POINTER(Copy2D),),
}


class EglImages:
    """EGL's images on the GPU's primary context. Raises EngineError without a working GPU, and
    where the driver has no EGL, as on a PC without a display's driver."""

    def __init__(self, driver: Driver | None = None) -> None:
        self._driver = driver or load_driver()
        self._driver.bind(_SIGNATURES)
        self._cuda = DriverRuntime(driver=self._driver)

    @contextmanager
    def opened(self, image: int) -> Iterator[EglFrame]:
        """The picture behind an EGLImage, for the block; CUDA's context is current in it.

        Raises EngineError; what was registered is unregistered whatever happens.
        """
        resource, frame = c_void_p(), EglFrame()
        call = self._driver.call
        with self._cuda.active():
            what = "cannot reach a picture of the camera"
            call("cuGraphicsEGLRegisterImage", ctypes.byref(resource), image, _READ_ONLY, what=what)
            try:
                where = (ctypes.byref(frame), resource, 0, 0)
                call("cuGraphicsResourceGetMappedEglFrame", *where, what=what)
                yield frame
            finally:
                call("cuGraphicsUnregisterResource", resource, what="cannot let go of a picture")

    def download(self, frame: EglFrame, width: int, height: int) -> Pixels:
        """A copy of a picture of one plane, (H, W, 4) BGRx; inside `opened`.

        Raises EngineError where the picture is another.
        """
        shape = (frame.height, frame.width, frame.plane_count, frame.element)
        if shape != (height, width, 1, _BYTES) or frame.kind not in (_ARRAY, _PITCH):
            raise EngineError(
                f"CUDA sees {frame.width}x{frame.height} in {frame.plane_count} planes of kind "
                f"{frame.kind}, wanted {width}x{height} in one"
            )
        target = np.empty((height, width, 4), np.uint8)
        copy = Copy2D(
            target_kind=_FROM_HOST,
            target_host=target.ctypes.data,
            target_pitch=width * 4,
            width_bytes=width * 4,
            height=height,
        )
        if frame.kind == _PITCH:
            copy.source_kind, copy.source_pitch = _FROM_DEVICE, frame.pitch
            copy.source_device = frame.planes[0]
        else:
            copy.source_kind, copy.source_array = _FROM_ARRAY, frame.planes[0]
        self._driver.call("cuMemcpy2D_v2", ctypes.byref(copy), what="cannot copy a picture")
        return target
