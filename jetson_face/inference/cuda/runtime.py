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
        log.info("pycuda is not installed: CUDA is reached through libcuda, which does the same")
    except PycudaBrokenError as exc:
        log.warning(
            "%s: CUDA is reached through libcuda, which does the same; build pycuda again with "
            "tools/install_jetson.sh, or remove it: pip uninstall pycuda",
            exc,
        )
    return DriverRuntime(index)
