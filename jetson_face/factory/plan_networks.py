"""The networks that a configuration runs as TensorRT plans: which, and for what shapes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jetson_face.config import (
    Config,
    DlibConfig,
    HaarConfig,
    MtcnnConfig,
    PluginEmbedderConfig,
    TensorRTConfig,
)
from jetson_face.core.errors import EngineError
from jetson_face.detection.mtcnn.detector import search_levels
from jetson_face.detection.mtcnn.graph import ensure_mtcnn
from jetson_face.detection.mtcnn.search import SEARCH_FP32, ensure_search, first_convolutions
from jetson_face.detection.shrink import small_size
from jetson_face.detection.yunet import FOLLOWED_PX, TILE_PX, search_size, searched_side
from jetson_face.detection.yunet_decode import STRIDES
from jetson_face.detection.yunet_search import PICTURE, frame_graph
from jetson_face.embedding.onnx import OnnxEmbedder
from jetson_face.factory.choice import with_detector
from jetson_face.factory.files import network_file
from jetson_face.factory.mtcnn import SEARCH
from jetson_face.factory.parity_gate import EMBEDDER
from jetson_face.factory.yunet import FRAME, TILES, YUNET, plan_side, yunet_config
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.inference.tensorrt.builder import ShapeRange
from jetson_face.inference.tensorrt.key import NetworkSpec
from jetson_face.inference.tensorrt.shapes import (
    embedding_range,
    mtcnn_ranges,
    tile_range,
    yunet_range,
)
from jetson_face.models.cards import ModelCard, load_card

USUAL_FRAME = (1280, 720)
DETECTOR_FP32 = ("conv1",)
"""MTCNN's first convolutions take pixels of 0 to 255, whose fp16 rounding moved a golden face's box
by 1.43 px; in fp32 it is 0.24 px."""
SIDE_MAX = 2560
"""Longest side of a picture that P-Net's plan takes, where detector.max_side_px sets none."""


@dataclass(frozen=True, slots=True)
class Network:
    """spec: what is built. reference: the fp32 ONNX that its answers are judged by."""

    spec: NetworkSpec
    reference: bytes


def tensorrt_config(config: Config) -> TensorRTConfig:
    """The configuration's TensorRT part, or its defaults where another back end is chosen."""
    return config.backend if isinstance(config.backend, TensorRTConfig) else TensorRTConfig()


def networks_of(config: Config) -> dict[str, Network]:
    """Every network that the configuration runs, by name: pnet, rnet, onet, search of MTCNN, or
    yunet, yunet_tiles, yunet_frame, and embed.

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
    found |= _yunet(config, detecting)
    card = embedder_card(config)
    if card is not None:
        found[EMBEDDER] = _embedder(config, card, precision)
    return found


def _yunet(config: Config, precision: str) -> dict[str, Network]:
    """One graph with a range of shapes for each of its uses; none where it is not configured."""
    wanted = yunet_config(config)
    if wanted is None:
        return {}
    card = load_card(wanted.model, config.model_places)
    onnx = network_file(config, card).read_bytes()
    side = plan_side(config, wanted)
    frame = config.engines.frame_size
    size = search_size(frame or USUAL_FRAME, wanted.min_face_px, wanted.max_side_px)
    name = next(iter(OnnxBackend(onnx).inputs))
    any_size = yunet_range(size, step=STRIDES[-1], side_max=side)
    found = {
        use: Network(NetworkSpec(use, onnx, precision, {name: shapes}), onnx)
        for use, shapes in ((YUNET, any_size), (TILES, tile_range(FOLLOWED_PX, TILE_PX)))
    }
    if frame is not None:
        side = searched_side(max(frame), wanted.min_face_px, wanted.max_side_px)
        together = config.sampling.together
        whole = frame_graph(onnx, frame, small_size(frame, side)[0], size, many=together > 1)
        shapes = {PICTURE: ShapeRange.batch((frame[1], frame[0], 4), together, together)}
        found[FRAME] = Network(NetworkSpec(FRAME, whole, precision, shapes), whole)
    return found


def searches_frames(config: Config) -> bool:
    """Whether frames of a known size are searched, all levels of their pyramid in one plan."""
    wanted = with_detector(config).detector
    return isinstance(wanted, MtcnnConfig) and config.engines.frame_size is not None


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
    """Whether the detector is MTCNN, or takes its landmarks from MTCNN's third network, or has its
    faces followed by it."""
    wanted = with_detector(config).detector
    follows = config.sampling.refine and config.refiner is None
    return isinstance(wanted, MtcnnConfig) or (
        isinstance(wanted, HaarConfig | DlibConfig)
        and (follows or (isinstance(wanted, HaarConfig) and wanted.points == "onet"))
    )


def embedder_card(config: Config) -> ModelCard | None:
    """The configured embedder's card; None where it is no ONNX network, as dlib's is not."""
    if isinstance(config.embedder, PluginEmbedderConfig):
        return None
    card = load_card(config.embedder.model, config.model_places)
    return card if card.input is not None and network_file(config, card).suffix == ".onnx" else None


def calibrated_path(config: Config, card: ModelCard) -> Path:
    """Where `engines calibrate` puts the embedder's int8 graph."""
    return config.engine_cache / f"{card.name}-int8.onnx"


def plan_source(config: Config, card: ModelCard, precision: str) -> Path:
    """The file that the embedder's plan is built from; the user's own faces before the shipped."""
    if precision == "int8":
        calibrated = calibrated_path(config, card)
        if calibrated.is_file():
            return calibrated
        if "int8" in card.parts:
            return network_file(config, card, "int8")
    return network_file(config, card)


def _embedder(config: Config, card: ModelCard, precision: str) -> Network:
    if card.input is None:
        raise EngineError(f"model {card.name!r} has no input in its card")
    reference = network_file(config, card).read_bytes()
    onnx = plan_source(config, card, precision).read_bytes()
    shape = embedding_range(
        card.input.size, max_batch=config.embedder.max_batch, nchw=card.input.layout == "NCHW"
    )
    spec = NetworkSpec(EMBEDDER, onnx, precision, {card.input.name: shape})
    return Network(spec, reference)


def reference_embedder(config: Config) -> OnnxEmbedder | None:
    """The embedder's fp32 graph in ONNX Runtime; None where it is no ONNX network."""
    card = embedder_card(config)
    return None if card is None else OnnxEmbedder(card, OnnxBackend(network_file(config, card)))
