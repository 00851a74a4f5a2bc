"""The parity gate at work: golden faces through a plan and through ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing

import numpy as np

from jetson_face.core.errors import EngineError
from jetson_face.core.types import Detections, ImageU8
from jetson_face.detection.detector import Detector, Refiner, SecondLook
from jetson_face.embedding.embedder import Embedder
from jetson_face.factory.golden import golden_crops, on_frame
from jetson_face.factory.mtcnn import SEARCH
from jetson_face.factory.yunet import FRAME, TILES
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
from jetson_face.util.rounding import away

EMBEDDER = "embed"
_FEEDS_MAX = 8
OpenPlan = Callable[[NetworkSpec, bytes], Backend]
MakeDetector = Callable[[Mapping[str, Backend]], Detector]
MakeEmbedder = Callable[[Backend], Embedder]


class ParityGate:
    """Judges plans on golden pictures, each against the fp32 graph in ONNX Runtime.

    references: the fp32 ONNX of each network. make_detector, make_embedder: as the program itself
    puts them together; None where it runs no network. One network is exchanged at a time, so that a
    failure names the culprit.
    """

    def __init__(
        self,
        references: Mapping[str, bytes],
        pictures: Sequence[ImageU8],
        *,
        open_plan: OpenPlan,
        make_detector: MakeDetector | None,
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
            recorded = _Recorder(OnnxBackend(self._references[spec.name]))
            reference = stack.enter_context(closing(recorded))
            if spec.name == EMBEDDER:
                report = self._judge_embedder(spec, reference, candidate)
            else:
                report = self._judge_detector(spec.name, reference, candidate, stack)
            raw = tensor_parity(
                spec.name, spec.precision, reference, candidate, recorded.feeds[:_FEEDS_MAX]
            )
        return raw + report

    def _judge_detector(
        self, name: str, reference: Backend, candidate: Backend, stack: ExitStack
    ) -> ParityReport:
        """Both as a part of the whole detector, which may do without a plan for one size."""
        if self._make_detector is None:
            raise EngineError(f"{name}: the configured detector runs no network")
        nets = {
            net: stack.enter_context(closing(OnnxBackend(onnx)))
            for net, onnx in self._references.items()
            if net not in (SEARCH, FRAME, EMBEDDER)
        }
        got = self._make_detector({**nets, name: candidate})
        pictures = self._frames(name) if name in (SEARCH, FRAME) else self._pictures
        wanted = self._make_detector({**nets, name: reference})
        if name == SEARCH:
            wanted.detect(pictures[0])  # recorded
            wanted = self._make_detector(nets)
        if name == TILES:
            first = wanted.detect
            finds = _following(wanted, first), _following(got, first)
        elif isinstance(wanted, SecondLook) and isinstance(got, SecondLook):
            finds = wanted.search, got.search  # the second look is the tiles'
        else:
            return detection_parity(wanted.detect, got.detect, pictures, network=name)
        return detection_parity(*finds, pictures, network=name)

    def _frames(self, name: str) -> list[ImageU8]:
        if self._frame_size is None:
            raise EngineError(f"{name}: no frame size to judge it at: set engines.frame_size")
        return [on_frame(picture, self._frame_size) for picture in self._pictures]

    def _judge_embedder(
        self, spec: NetworkSpec, reference: Backend, candidate: Backend
    ) -> ParityReport:
        if self._make_embedder is None:
            raise EngineError(f"{spec.name}: the configured embedder runs no network")
        wanted, got = self._make_embedder(reference), self._make_embedder(candidate)
        return embedding_parity(
            lambda c: wanted.embed(c).vectors,
            lambda c: got.embed(c).vectors,
            golden_crops(wanted.alignment),
            similarity_min=wanted.similarity_min,
            precision=spec.precision,
            network=spec.name,
        )


def _following(
    detector: Detector, first: Callable[[ImageU8], Detections]
) -> Callable[[ImageU8], Detections]:
    """What a detector makes of faces that are known already: those that `first` finds."""
    if not isinstance(detector, Refiner):
        raise EngineError(f"{detector.name} follows no faces")
    refine = detector.refine
    return lambda image: refine(image, first(image).boxes)


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
            f"the plan of {got.space} answers a golden face wrong (cosine "
            f"{away(cosine, least, 5)}, wanted {least} or more): run jetson-face engines check"
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
