"""Which way to CUDA a machine has."""

from __future__ import annotations

import logging

from jetson_face.core.errors import MissingDependencyError
from jetson_face.inference.cuda.base import CudaRuntime
from jetson_face.inference.cuda.driver import DriverRuntime
from jetson_face.inference.cuda.pycuda import PycudaBrokenError, PycudaRuntime

log = logging.getLogger(__name__)


def open_cuda(index: int = 0) -> CudaRuntime:
    """The GPU through pycuda where that is installed and works, else by the driver's own library.

    pycuda is compiled on the machine against CUDA's headers, which fails where nvcc is not found,
    and what was compiled breaks when CUDA, numpy or Python is replaced; the driver's library is
    wherever a GPU works. Both do the same calls on the primary context, and one line in the log
    says which it is. Raises EngineError without a working GPU.
    """
    try:
        return PycudaRuntime(index)
    except MissingDependencyError:
        said, level = "pycuda is not installed", logging.INFO
    except PycudaBrokenError as exc:
        said = f"{exc}; tools/install_jetson.sh builds it again, pip uninstall pycuda removes it"
        level = logging.WARNING
    cuda = DriverRuntime(index)
    log.log(level, "%s: CUDA is reached through libcuda, which does the same", said)
    return cuda
