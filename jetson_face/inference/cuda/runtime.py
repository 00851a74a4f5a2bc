"""Which way to CUDA a machine has."""

from __future__ import annotations

import logging

from jetson_face.core.errors import MissingDependencyError
from jetson_face.inference.cuda.base import CudaRuntime
from jetson_face.inference.cuda.driver import DriverRuntime
from jetson_face.inference.cuda.pycuda import PycudaRuntime

log = logging.getLogger(__name__)


def open_cuda(index: int = 0) -> CudaRuntime:
    """The GPU through pycuda where that is installed, else through the driver's own library.

    pycuda is compiled on the machine against CUDA's headers, which fails where nvcc is not found;
    the driver's library is wherever a GPU works. Both do the same calls on the primary context.
    Raises EngineError without a working GPU, or with a pycuda that is installed but broken.
    """
    try:
        return PycudaRuntime(index)
    except MissingDependencyError:
        log.debug("pycuda is not installed: CUDA is reached through libcuda")
        return DriverRuntime(index)
