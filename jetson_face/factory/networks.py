"""Detectors and embedders as the configuration names them, with what runs their networks."""

from __future__ import annotations

from pathlib import Path

from jetson_face.config import (
    Config,
    DlibConfig,
    HaarConfig,
    MtcnnConfig,
    OnnxRuntimeConfig,
    PluginDetectorConfig,
    PluginEmbedderConfig,
    TensorRTConfig,
    YunetConfig,
)
from jetson_face.detection.detector import Detector
from jetson_face.detection.mtcnn.detector import Mtcnn
from jetson_face.detection.yunet import YuNet
from jetson_face.embedding.embedder import Embedder
from jetson_face.factory.choice import choose_precision, with_detector
from jetson_face.factory.files import network_file
from jetson_face.factory.mtcnn import SEARCH, assemble_mtcnn
from jetson_face.factory.plugins import plugin_detector, plugin_embedder
from jetson_face.factory.yunet import FRAME, TILES, YUNET, assemble_yunet
from jetson_face.inference.backend import Backend
from jetson_face.models.cards import load_card


def build_backend(config: Config, name: str, onnx: Path) -> Backend:
    """What runs one network: `pnet`, `rnet`, `onet`, `yunet` or `embed`.

    Raises ModelError, EngineError, MissingDependencyError.
    """
    if isinstance(config.backend, OnnxRuntimeConfig):
        from jetson_face.inference.onnxruntime import OnnxBackend

        return OnnxBackend(onnx, providers=config.backend.providers, threads=config.backend.threads)
    from jetson_face.factory.plans import open_network

    return open_network(config, name)


def build_detector(config: Config, *, relaxed: bool = False) -> Detector:
    """The detector; relaxed: with lower thresholds, for pictures that surely show a face.

    Raises ModelError, EngineError, InputMissingError, MissingDependencyError, PluginError.
    """
    config = with_detector(config)
    wanted = config.detector
    if isinstance(wanted, PluginDetectorConfig):
        return plugin_detector(wanted)
    if isinstance(wanted, MtcnnConfig):
        mtcnn = build_mtcnn(config, relaxed=relaxed)
        if not relaxed:
            return mtcnn
        from jetson_face.detection.padded import Padded

        return Padded(mtcnn)
    if isinstance(wanted, HaarConfig):
        return _build_haar(config, wanted, relaxed=relaxed)
    if isinstance(wanted, DlibConfig):
        from jetson_face.detection.dlib import DlibDetector

        return DlibDetector(
            load_card("dlib_faces"),
            method=wanted.method,
            points=wanted.points,
            min_face_px=wanted.min_face_px,
            threshold=wanted.threshold - (0.5 if relaxed else 0),
            max_faces=wanted.max_faces,
            max_side_px=wanted.max_side_px,
        )
    assert isinstance(wanted, YunetConfig)
    return build_yunet(config, wanted, relaxed=relaxed)


def build_yunet(config: Config, wanted: YunetConfig, *, relaxed: bool) -> YuNet:
    """YuNet; on TensorRT known faces have a plan of their own, and so have frames of one size."""
    if isinstance(config.backend, TensorRTConfig):
        # photos are of any size
        names = [YUNET, TILES, *([FRAME] if config.engines.frame_size and not relaxed else [])]
        from jetson_face.factory.plans import open_network

        nets = {name: open_network(config, name) for name in names}
    else:
        card = load_card(wanted.model, config.model_places)
        nets = {YUNET: build_backend(config, YUNET, network_file(config, card))}
    return assemble_yunet(config, nets, relaxed=relaxed)


def build_mtcnn(config: Config, *, relaxed: bool = False) -> Mtcnn:
    """MTCNN, as a detector or as what finds landmarks for another one."""
    from jetson_face.detection.mtcnn.graph import ensure_mtcnn

    graphs = ensure_mtcnn(load_card("mtcnn"), config.engine_cache)
    nets = {str(net): build_backend(config, net, path) for net, path in graphs.items()}
    if isinstance(config.backend, TensorRTConfig) and not relaxed:  # photos are of any size
        from jetson_face.factory.plan_networks import searches_frames
        from jetson_face.factory.plans import open_network

        if searches_frames(config):
            nets[SEARCH] = open_network(config, SEARCH)
    return assemble_mtcnn(config, nets, relaxed=relaxed)


def _build_haar(config: Config, wanted: HaarConfig, *, relaxed: bool) -> Detector:
    from jetson_face.detection import landmarks
    from jetson_face.detection.haar import Haar, turns

    finder: landmarks.PointFinder
    if wanted.points == "onet":
        finder = landmarks.OnetPoints(build_mtcnn(config, relaxed=relaxed))
    elif wanted.points == "eyes":
        finder = landmarks.EyePoints(landmarks.open_cascade("haarcascade_eye_tree_eyeglasses.xml"))
    else:
        finder = landmarks.DlibPoints(load_card("dlib_faces"), wanted.points)
    return Haar(
        finder,
        angles=turns(wanted.turn_max_deg, wanted.turn_step_deg),
        min_face_px=wanted.min_face_px,
        scale_factor=wanted.scale_factor,
        min_neighbours=wanted.min_neighbours // (2 if relaxed else 1),
        max_faces=wanted.max_faces,
        max_side_px=wanted.max_side_px,
    )


def build_embedder(config: Config) -> Embedder:
    """The embedder that the configuration names.

    Raises ModelError, MissingDependencyError, PluginError.
    """
    if isinstance(config.embedder, PluginEmbedderConfig):
        return plugin_embedder(config.embedder)
    card = load_card(config.embedder.model, config.model_places, kind="embedder")
    if card.name == "dlib_resnet":
        from jetson_face.embedding.dlib import DlibResnet128

        return DlibResnet128(card)
    path = network_file(config, card, choose_precision(config, card).part)
    if path.suffix == ".t7":
        from jetson_face.embedding.opencv import OpenCvNet

        return OpenCvNet(card)
    from jetson_face.embedding.onnx import OnnxEmbedder

    backend = build_backend(config, "embed", path)
    return OnnxEmbedder(card, backend, max_batch=config.embedder.max_batch)
