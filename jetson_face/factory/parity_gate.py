"""The parity gate at work: golden faces through a plan and through ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np

from jetson_face.core.errors import EngineError
from jetson_face.core.types import ImageU8
from jetson_face.detection.detector import Detector
from jetson_face.embedding.align import Aligner
from jetson_face.embedding.embedder import Embedder
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
from jetson_face.models.cards import card_dir
from jetson_face.util.images import decode_picture
from jetson_face.util.rounding import away

DETECTOR_NETS = ("pnet", "rnet", "onet")
SEARCH = "search"
EMBEDDER = "embed"
_FEEDS_MAX = 8
_CANARY = 4
_CANARY_POINTS = ((175.8, 151.9), (246.0, 148.4), (215.3, 190.6), (185.9, 222.7), (242.9, 218.0))
"""One golden picture and its five points, so that the canary needs no detector."""

OpenPlan = Callable[[NetworkSpec, bytes], Backend]
MakeDetector = Callable[[Mapping[str, Backend]], Detector]
MakeEmbedder = Callable[[Backend], Embedder]


def golden_pictures(file: Path | None = None) -> list[ImageU8]:
    """Pictures that are known to show a face: each as it is, mirrored, darker and smaller.

    file: an .npz of JPEG bytes; None: the one that ships. Raises EngineError.
    """
    path = file or card_dir() / "golden_faces.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            data = {name: stored[name].tobytes() for name in sorted(stored.files)}
    except (OSError, ValueError, BadZipFile) as exc:
        raise EngineError(f"{path}: cannot be read ({exc}): install jetson-face again") from exc
    pictures: list[ImageU8] = []
    for name, jpeg in data.items():
        image = decode_picture(jpeg, f"{path.name}/{name}")
        mirrored = np.ascontiguousarray(image[:, ::-1])
        darker = (image * np.float32(0.6)).astype(np.uint8)
        smaller = np.ascontiguousarray(image[::2, ::2])
        pictures += [image, mirrored, darker, smaller]
    return pictures


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


def on_frame(picture: ImageU8, size: tuple[int, int]) -> ImageU8:
    """The picture as large as a frame of (width, height) takes it, at its upper left corner."""
    scale = min(size[0] / picture.shape[1], size[1] / picture.shape[0])
    width, height = (max(1, int(side * scale)) for side in picture.shape[1::-1])
    frame = np.full((size[1], size[0], 3), 127, np.uint8)
    frame[:height, :width] = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return frame


def golden_crops(detector: Detector, pictures: Sequence[ImageU8], alignment: str) -> ImageU8:
    """The best face of each picture that has one, aligned: (N, S, S, 3). Raises EngineError."""
    aligner = Aligner(alignment)
    crops = []
    for image in pictures:
        found = detector.detect(image)
        if len(found):
            crops.append(aligner.crop(image, found.landmarks[:1])[0])
    if len(crops) < 3:
        raise EngineError(f"the golden pictures show {len(crops)} faces: 3 are needed")
    return np.stack(crops)


def golden_face(aligner: Aligner) -> ImageU8:
    """The canary's face, aligned: (1, S, S, 3)."""
    points = np.array([_CANARY_POINTS], np.float32)
    return aligner.crop(golden_pictures()[_CANARY], points)


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
