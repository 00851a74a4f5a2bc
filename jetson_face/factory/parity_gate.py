"""The parity gate at work: golden faces through a plan and through ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing

import numpy as np

from jetson_face.core.errors import EngineError
from jetson_face.core.types import ImageU8
from jetson_face.detection.detector import Detector
from jetson_face.embedding.embedder import Embedder
from jetson_face.factory.golden import golden_crops, on_frame
from jetson_face.inference.backend import Array, Backend, BackendInfo, TensorSpec
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.inference.tensorrt.key import NetworkSpec
from jetson_face.inference.tensorrt.parity import (
    COSINE_MIN,
    ParityReport,
    detection_parity,
    embedding_parity,
    tensor_parity,
)

DETECTOR_NETS = ("pnet", "rnet", "onet")
SEARCH = "search"
EMBEDDER = "embed"
_FEEDS_MAX = 8
OpenPlan = Callable[[NetworkSpec, bytes], Backend]
MakeDetector = Callable[[Mapping[str, Backend]], Detector]
MakeEmbedder = Callable[[Backend], Embedder]


class ParityGate:
    """Judges plans on golden pictures, each against the fp32 graph in ONNX Runtime.

    references: the fp32 ONNX of each network. make_detector, make_embedder: as the program itself
    puts them together. One network is exchanged at a time, so that a failure names the culprit.
    """

    def __init__(
        self,
        references: Mapping[str, bytes],
        pictures: Sequence[ImageU8],
        *,
        open_plan: OpenPlan,
        make_detector: MakeDetector,
        make_embedder: MakeEmbedder | None,
        frame_size: tuple[int, int] | None = None,
    ) -> None:
        self._references, self._pictures = references, pictures
        self._frame_size = frame_size
        self._open_plan = open_plan
        self._make_detector, self._make_embedder = make_detector, make_embedder

    def __call__(self, spec: NetworkSpec, plan: bytes) -> ParityReport:
        """Raw outputs, and what the program makes of them. Raises EngineError."""
        with ExitStack() as stack:
            candidate = stack.enter_context(closing(self._open_plan(spec, plan)))
            recorded = _Recorder(OnnxBackend(self._references[spec.name], precision="fp32"))
            reference = stack.enter_context(closing(recorded))
            if spec.name == SEARCH:
                report = self._judge_search(reference, candidate, stack)
            elif spec.name in DETECTOR_NETS:
                report = self._judge_detector(spec, reference, candidate, stack)
            else:
                report = self._judge_embedder(spec, reference, candidate, stack)
            raw = tensor_parity(
                spec.name, spec.precision, reference, candidate, recorded.feeds[:_FEEDS_MAX]
            )
        return raw + report

    def _judge_detector(
        self, spec: NetworkSpec, reference: Backend, candidate: Backend, stack: ExitStack
    ) -> ParityReport:
        nets = self._reference_nets(stack)
        wanted = self._make_detector({**nets, spec.name: reference})
        got = self._make_detector({**nets, spec.name: candidate})
        return detection_parity(wanted.detect, got.detect, self._pictures, network=spec.name)

    def _judge_search(
        self, reference: Backend, candidate: Backend, stack: ExitStack
    ) -> ParityReport:
        if self._frame_size is None:
            raise EngineError("search: no frame size to judge it at: set engines.frame_size")
        frames = [on_frame(picture, self._frame_size) for picture in self._pictures]
        nets = self._reference_nets(stack)
        wanted = self._make_detector(nets)
        got = self._make_detector({**nets, SEARCH: candidate})
        self._make_detector({**nets, SEARCH: reference}).detect(frames[0])  # recorded
        return detection_parity(wanted.detect, got.detect, frames, network=SEARCH)

    def _judge_embedder(
        self, spec: NetworkSpec, reference: Backend, candidate: Backend, stack: ExitStack
    ) -> ParityReport:
        if self._make_embedder is None:
            raise EngineError(f"{spec.name}: the configured embedder runs no network")
        wanted, got = self._make_embedder(reference), self._make_embedder(candidate)
        detector = self._make_detector(self._reference_nets(stack))
        crops = golden_crops(detector, self._pictures, wanted.alignment)
        return embedding_parity(
            lambda c: wanted.embed(c).vectors,
            lambda c: got.embed(c).vectors,
            crops,
            similarity_min=wanted.similarity_min,
            precision=spec.precision,
            network=spec.name,
        )

    def _reference_nets(self, stack: ExitStack) -> dict[str, Backend]:
        return {
            net: stack.enter_context(closing(OnnxBackend(self._references[net])))
            for net in DETECTOR_NETS
        }


def check_against_reference(
    wanted: Embedder, got: Embedder, crops: ImageU8, precision: str
) -> None:
    """Refuse an embedder that answers golden faces otherwise than the reference; see ParityGate.

    Raises EngineError.
    """
    least = COSINE_MIN[precision]
    a, b = wanted.embed(crops).vectors, got.embed(crops).vectors
    cosine = float(np.sum(a * b, axis=1).min())
    if not cosine >= least:
        raise EngineError(
            f"the plan of {got.space} answers a golden face wrong (cosine {cosine:.4f}, wanted "
            f"{least} or more): run jetson-face engines check"
        )


class _Recorder:
    """A back end that remembers what it was asked."""

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self.feeds: list[dict[str, Array]] = []

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        return self._inner.inputs

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        return self._inner.outputs

    @property
    def info(self) -> BackendInfo:
        return self._inner.info

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if all(len(value) for value in feeds.values()):
            self.feeds.append({name: value.copy() for name, value in feeds.items()})
        return self._inner.run(feeds)

    def close(self) -> None:
        self._inner.close()
