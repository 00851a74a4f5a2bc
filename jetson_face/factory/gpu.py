"""A TensorRT with a GPU, and plans that run on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from jetson_face.core.errors import JetsonFaceError
from jetson_face.inference.backend import Backend
from jetson_face.inference.cuda.base import CudaRuntime
from jetson_face.inference.cuda.runtime import open_cuda
from jetson_face.inference.tensorrt.bindings import TensorRT, load_tensorrt
from jetson_face.inference.tensorrt.key import Machine, NetworkSpec
from jetson_face.inference.tensorrt.runtime import TensorRTBackend


@dataclass(frozen=True, slots=True)
class Gpu:
    """A TensorRT and the GPU it runs on."""

    trt: TensorRT
    cuda: CudaRuntime

    @property
    def machine(self) -> Machine:
        """What plans must be built for."""
        cuda = self.cuda
        return Machine(self.trt.flavour, self.trt.version, cuda.compute_capability, cuda.device)


@lru_cache(maxsize=1)
def this_gpu() -> Gpu:
    """The GPU of this machine; one CUDA context for the process.

    Raises MissingDependencyError without TensorRT, EngineError without a GPU.
    """
    return Gpu(load_tensorrt(), open_cuda())


def find_gpu() -> tuple[Gpu | None, str]:
    """The GPU, or None and why there is none."""
    try:
        return this_gpu(), ""
    except JetsonFaceError as exc:
        return None, str(exc)


def open_plan(gpu: Gpu, spec: NetworkSpec, plan: bytes) -> Backend:
    """A plan's bytes, running. Raises EngineError."""
    return TensorRTBackend(
        plan, trt=gpu.trt, cuda=gpu.cuda, what=spec.name, precision=spec.precision
    )
