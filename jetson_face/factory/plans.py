"""The TensorRT plans that a configuration needs: which, for what shapes, built and opened how."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from time import monotonic

from jetson_face.config import Config, HaarConfig, MtcnnConfig, TensorRTConfig
from jetson_face.core.errors import EngineError, JetsonFaceError, UsageError
from jetson_face.detection.mtcnn.detector import search_levels
from jetson_face.detection.mtcnn.graph import ensure_mtcnn
from jetson_face.detection.mtcnn.search import SEARCH_FP32, ensure_search, first_convolutions
from jetson_face.embedding.onnx import OnnxEmbedder
from jetson_face.factory.mtcnn import assemble_mtcnn
from jetson_face.factory.parity_gate import EMBEDDER, SEARCH, ParityGate, golden_pictures
from jetson_face.inference.backend import Backend
from jetson_face.inference.cuda.runtime import CudaRuntime, open_cuda
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.inference.tensorrt.bindings import TensorRT, load_tensorrt
from jetson_face.inference.tensorrt.build import BuildResult, Clock, EngineBuilder
from jetson_face.inference.tensorrt.builder import BuildOptions, Progress, ShapeRange
from jetson_face.inference.tensorrt.cache import EngineCache
from jetson_face.inference.tensorrt.key import Machine, NetworkSpec, key_of
from jetson_face.inference.tensorrt.parity import ParityReport
from jetson_face.inference.tensorrt.runtime import TensorRTBackend
from jetson_face.inference.tensorrt.shapes import embedding_range, mtcnn_ranges
from jetson_face.models.cards import ModelCard, load_card, resolve

log = logging.getLogger(__name__)

USUAL_FRAME = (1280, 720)
DETECTOR_FP32 = ("conv1",)
"""MTCNN's first convolutions take pixels of 0 to 255, whose fp16 rounding moved a golden face's box
by 1.43 px; in fp32 it is 0.24 px."""
SIDE_MAX = 2560
"""Longest side of a picture that P-Net's plan takes, where detector.max_side_px sets none."""


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


@dataclass(frozen=True, slots=True)
class Network:
    """spec: what is built. reference: the fp32 ONNX that its answers are judged by."""

    spec: NetworkSpec
    reference: bytes


def tensorrt_config(config: Config) -> TensorRTConfig:
    """The configuration's TensorRT part, or its defaults where another back end is chosen."""
    return config.backend if isinstance(config.backend, TensorRTConfig) else TensorRTConfig()


def networks_of(config: Config) -> dict[str, Network]:
    """Every network that the configuration runs, by name: pnet, rnet, onet, search, embed.

    Int8 is for the embedding alone: a detector whose boxes must stay within a pixel keeps fp16.
    Raises ModelError, InputMissingError, MissingDependencyError.
    """
    precision = tensorrt_config(config).precision
    detecting = "fp16" if precision == "int8" else precision
    ranges = mtcnn_ranges(
        USUAL_FRAME,
        min_face_px=config.mtcnn.min_face_px,
        side_max=config.mtcnn.max_side_px or SIDE_MAX,
    )
    found: dict[str, Network] = {}
    graphs = ensure_mtcnn(load_card("mtcnn"), config.engine_cache) if needs_mtcnn(config) else {}
    for net, path in graphs.items():
        onnx = path.read_bytes()
        spec = NetworkSpec(net, onnx, detecting, {"image": ranges[net]}, DETECTOR_FP32)
        found[net] = Network(spec, onnx)
    if searches_frames(config):
        found[SEARCH] = _search(config, graphs["pnet"], detecting)
    card = embedder_card(config)
    if card is not None:
        found[EMBEDDER] = _embedder(config, card, precision)
    return found


def searches_frames(config: Config) -> bool:
    """Whether frames of a known size are searched, all levels of their pyramid in one plan."""
    return isinstance(config.detector, MtcnnConfig) and config.engines.frame_size is not None


def _search(config: Config, pnet: Path, precision: str) -> Network:
    frame, wanted = config.engines.frame_size, config.mtcnn
    assert frame is not None
    (width, height), levels = search_levels(
        frame, wanted.min_face_px, wanted.pyramid_factor, max_side_px=wanted.max_side_px
    )
    onnx = ensure_search(pnet, config.engine_cache, width, height, levels).read_bytes()
    profiles = {"picture": ShapeRange.fixed((1, height, width, 3))}
    fp32 = (*SEARCH_FP32, *first_convolutions(levels))
    return Network(NetworkSpec(SEARCH, onnx, precision, profiles, fp32), onnx)


def needs_mtcnn(config: Config) -> bool:
    """Whether the detector is MTCNN, or takes its landmarks from MTCNN's third network."""
    wanted = config.detector
    return isinstance(wanted, MtcnnConfig) or (
        isinstance(wanted, HaarConfig) and wanted.points == "onet"
    )


def embedder_card(config: Config) -> ModelCard | None:
    """The configured embedder's card; None where it is no ONNX network, as dlib's is not."""
    card = load_card(config.embedder.model)
    return card if card.input is not None and resolve(card).suffix == ".onnx" else None


def calibrated_path(config: Config, card: ModelCard) -> Path:
    """Where `engines calibrate` puts the embedder's int8 graph."""
    return config.engine_cache / f"{card.name}-int8.onnx"


def _embedder(config: Config, card: ModelCard, precision: str) -> Network:
    if card.input is None:
        raise EngineError(f"model {card.name!r} has no input in its card")
    reference = resolve(card).read_bytes()
    onnx = reference
    if precision == "int8":
        calibrated = calibrated_path(config, card)
        # The user's own faces before those that the model was shipped with.
        if calibrated.is_file():
            onnx = calibrated.read_bytes()
        elif "int8" in card.parts:
            onnx = resolve(card, "int8").read_bytes()
    shape = embedding_range(
        card.input.size, max_batch=config.embedder.max_batch, nchw=card.input.layout == "NCHW"
    )
    spec = NetworkSpec(EMBEDDER, onnx, precision, {card.input.name: shape})
    return Network(spec, reference)


def reference_embedder(config: Config) -> OnnxEmbedder | None:
    """The embedder's fp32 graph in ONNX Runtime; None where it is no ONNX network."""
    card = embedder_card(config)
    return None if card is None else OnnxEmbedder(card, OnnxBackend(resolve(card)))


def open_plan(gpu: Gpu, spec: NetworkSpec, plan: bytes) -> Backend:
    """A plan's bytes, running. Raises EngineError."""
    return TensorRTBackend(
        plan, trt=gpu.trt, cuda=gpu.cuda, what=spec.name, precision=spec.precision
    )


class Plans:
    """Builds, checks and opens the plans of one configuration.

    gpu: None where plans are only built, for `compute_capability`, and cannot be judged.
    """

    def __init__(
        self,
        config: Config,
        trt: TensorRT,
        gpu: Gpu | None,
        *,
        compute_capability: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        if gpu is None and compute_capability is None:
            raise UsageError("without a GPU say which one to build for, as 8.7")
        self.config = config
        self.cache = EngineCache(config.engine_cache)
        self._gpu = gpu if compute_capability is None else None
        self.networks = networks_of(config)
        if self._gpu is not None:
            self.machine = self._gpu.machine
        else:
            self.machine = Machine(trt.flavour, trt.version, str(compute_capability))
        self._builder = EngineBuilder(
            trt,
            self.machine,
            self.cache,
            BuildOptions(tensorrt_config(config).workspace_mib, compute_capability),
            clock or Clock(monotonic),
            gate=None if self._gpu is None else lambda spec, plan: self._gate(spec, plan),
        )

    def specs(self, names: Sequence[str] = ()) -> list[NetworkSpec]:
        """Those named, or all. Raises UsageError on a name that there is not."""
        unknown = sorted(set(names) - self.networks.keys())
        if unknown:
            raise UsageError(f"no network {unknown}; there are {', '.join(self.networks)}")
        return [n.spec for name, n in self.networks.items() if not names or name in names]

    def build(
        self, spec: NetworkSpec, *, force: bool = False, progress: Progress | None = None
    ) -> BuildResult:
        """As `EngineBuilder.build`; the caller holds `cache.lock()`."""
        return self._builder.build(spec, force=force, progress=progress)

    def check(self, spec: NetworkSpec) -> ParityReport:
        """As `EngineBuilder.check`; the caller holds `cache.lock()`."""
        return self._builder.check(spec)

    def fitting(self) -> list[Path]:
        """Plans of the cache that this configuration and machine would load."""
        found = []
        for spec in self.specs():
            try:
                side_car = self.cache.find(key_of(spec, self.machine))
            except EngineError:
                continue
            found.append(self.cache.path_of(side_car.key))
        return found

    def open(self, name: str, *, autobuild: bool, progress: Progress | None = None) -> Backend:
        """The network's plan, running; built first where it is missing and `autobuild` is set.

        Raises EngineError, saying why and what to run.
        """
        if self._gpu is None:
            raise EngineError("no GPU here to run a plan on")
        spec = self.specs([name])[0]
        key = key_of(spec, self.machine)
        try:
            plan = self.cache.load(key)
        except EngineError as exc:
            if not autobuild:
                raise
            log.info("engine_build network=%s reason=%s (minutes, once)", name, exc)
            with self.cache.lock():
                self.build(spec, progress=progress)
            plan = self.cache.load(key)
        return open_plan(self._gpu, spec, plan)

    @cached_property
    def _gate(self) -> ParityGate:
        gpu, card = self._gpu, embedder_card(self.config)
        if gpu is None:
            raise EngineError("no GPU here to judge a plan on")
        batch = self.config.embedder.max_batch
        return ParityGate(
            {name: network.reference for name, network in self.networks.items()},
            golden_pictures(),
            frame_size=self.config.engines.frame_size,
            open_plan=partial(open_plan, gpu),
            make_detector=lambda nets: assemble_mtcnn(self.config, nets),
            make_embedder=None
            if card is None
            else lambda backend: OnnxEmbedder(card, backend, max_batch=batch),
        )


def plans_here(config: Config) -> Plans:
    """The plans of this configuration on this machine's GPU. Raises as `this_gpu`."""
    gpu = this_gpu()
    return Plans(config, gpu.trt, gpu)


def open_network(config: Config, name: str) -> Backend:
    """What runs one network of a configuration whose back end is TensorRT.

    Raises EngineError, MissingDependencyError.
    """
    return plans_here(config).open(name, autobuild=config.engines.autobuild)


def find_gpu() -> tuple[Gpu | None, str]:
    """The GPU, or None and why there is none."""
    try:
        return this_gpu(), ""
    except JetsonFaceError as exc:
        return None, str(exc)
