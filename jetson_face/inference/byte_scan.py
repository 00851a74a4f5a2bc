"""Cosines of probes to very many compact templates, on the integer units of the processor.

ONNX Runtime multiplies bytes with the vector units that a processor has for that: 1,000,000
templates of 128 numbers take 9 to 12 ms of one core of an EPYC where widening them with numpy takes
25 to 40; seven probes at once take twice as long as one. It keeps the templates in an order of its
own, and the array that it was given is let go.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetson_face.core.compact import SLACK, CompactTemplates, cosines
from jetson_face.core.types import F32
from jetson_face.inference.onnxruntime import without_telemetry

logger = logging.getLogger(__name__)
_ZERO = 64
_MOST = 63
"""A probe's numbers are bytes of 1 to 127 around 64: AVX2 adds two products of bytes in 16 bits,
which 7 bits times 8 bits never overflow."""
_FINER = 2 * _MOST
"""Steps of a probe's fine row in one of the coarse row."""


@dataclass(frozen=True, slots=True, eq=False)
class ByteProbes:
    """Unit vectors to be compared, also as bytes.

    exact: (P, dim). rows: (2 P, dim) uint8, a coarse row of each, then a fine one. step: (P, 1),
    how much one step of the fine row is worth. left: (P, 1), an upper bound of the length of what
    both leave out.
    """

    exact: F32
    rows: NDArray[np.uint8]
    step: F32
    left: F32

    @classmethod
    def of(cls, probes: F32) -> ByteProbes:
        """probes: (P, dim)."""
        wide = probes.astype(np.float64)
        step = np.maximum(np.abs(wide).max(axis=1, keepdims=True), 1e-12) / (_MOST * _FINER)
        step = step.astype(np.float32)
        high = np.rint(wide / (step * _FINER))
        low = np.clip(np.rint((wide - high * _FINER * step) / step), -_MOST, _MOST)
        left = np.linalg.norm(wide - (high * _FINER + low) * step, axis=1, keepdims=True)
        rows = (np.concatenate([high, low]) + _ZERO).astype(np.uint8)
        return cls(probes, rows, step, (left * 1.001 + 1e-6).astype(np.float32))


class ByteScan:
    """Some templates, to be compared with probes.

    Until `pack` numpy compares, which takes longer for each probe and no time to prepare.
    """

    def __init__(self, templates: CompactTemplates) -> None:
        self._templates: CompactTemplates | None = templates
        self.scale, self.error = templates.scale, templates.error
        self.error_max = np.float32(templates.error.max(initial=0))
        self._session: Any = None

    def __len__(self) -> int:
        return len(self.scale)

    def at_most(self, probes: ByteProbes, out: F32) -> None:
        """Write what each cosine is at most to `out` (P, N); it is at least that less twice what
        `off` says."""
        if self._templates is not None:
            out[:] = cosines(self._templates.codes, self.scale, probes.exact)
        else:
            sums = self._sums(probes)
            count = len(probes.exact)
            # whole numbers first: mixed with float32 numpy would compute in float64
            sums[:count] *= _FINER
            sums[:count] += sums[count:]
            np.copyto(out, sums[:count], casting="unsafe")
            out *= probes.step
            out *= self.scale
        out += self.error
        out += probes.left * (1 + self.error_max) + SLACK

    def off(self, probes: ByteProbes) -> F32:
        """What a cosine computed from the bytes may be off by: (P, N)."""
        return np.asarray(self.error + probes.left * (1 + self.error_max) + SLACK, np.float32)

    def _sums(self, probes: ByteProbes) -> NDArray[np.int32]:
        sums = np.empty((len(probes.rows), len(self)), np.int32)
        binding = self._session.io_binding()
        binding.bind_cpu_input("probes", probes.rows)
        binding.bind_output("sums", "cpu", 0, np.int32, sums.shape, sums.ctypes.data)
        self._session.run_with_iobinding(binding)
        return sums

    def pack(self) -> bool:
        """Hand the templates to ONNX Runtime, where it is installed; worth it for a program that
        goes on: 1,000,000 take a second. False where nothing was to do."""
        if self._templates is None or not len(self):
            return False
        try:
            self._session = _session(np.ascontiguousarray(self._templates.codes.T))
        except ImportError:
            logger.info("byte_scan with=numpy onnxruntime or onnx is not installed")
            return False
        self._templates = None
        return True


def _session(columns: Any) -> Any:
    """One integer matrix product with (dim, N) int8. Raises ImportError."""
    without_telemetry()
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    weights = onnx.TensorProto(name="templates", data_type=TensorProto.INT8, dims=columns.shape)
    weights.data_location = TensorProto.EXTERNAL
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["probes", "templates", "zero"], ["sums"])],
        "byte_scan",
        [helper.make_tensor_value_info("probes", TensorProto.UINT8, ["rows", columns.shape[0]])],
        [helper.make_tensor_value_info("sums", TensorProto.INT32, ["rows", columns.shape[1]])],
        [weights, helper.make_tensor("zero", TensorProto.UINT8, [], [_ZERO])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    options.log_severity_level = 3
    given = onnxruntime.OrtValue.ortvalue_from_numpy(columns)
    options.add_external_initializers(["templates"], [given])
    providers = ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)
