"""Faces to calibrate on, from a folder or a camera, as the embedding network gets them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np

from jetson_face.capture.opening import open_source
from jetson_face.capture.source import EndOfSource, FrameBroken, OpenOptions
from jetson_face.config import Config
from jetson_face.core.errors import EngineError, InputBrokenError, InputMissingError
from jetson_face.core.types import ImageU8
from jetson_face.detection.detector import Detector
from jetson_face.detection.mtcnn.graph import ensure_mtcnn
from jetson_face.embedding.align import Aligner
from jetson_face.embedding.onnx import preprocess
from jetson_face.factory.files import network_file
from jetson_face.factory.mtcnn import assemble_mtcnn
from jetson_face.factory.plan_networks import calibrated_path, embedder_card
from jetson_face.inference.backend import Array
from jetson_face.inference.int8 import calibrate
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.inference.tensorrt.cache import reason
from jetson_face.models.cards import ModelCard, load_card
from jetson_face.util.files import write_all
from jetson_face.util.images import SUFFIXES, read_picture

log = logging.getLogger(__name__)

_BATCH = 8
_SIDE_MAX = 2000
_IDLE_MAX = 400
"""A camera that shows no face on so many frames in a row has nobody before it."""


def calibrate_embedder(
    config: Config,
    *,
    pictures: Path | None,
    source: str | None,
    faces_max: int,
    options: OpenOptions | None = None,
) -> tuple[Path, int]:
    """Write the configured embedder's int8 graph; its path, and the faces it was calibrated on.

    options: how the source is opened. The caller holds the cache's lock.
    Raises EngineError, InputMissingError, SourceError.
    """
    card = embedder_card(config)
    if card is None:
        raise EngineError(
            f"{config.embedder.model} is no network that TensorRT runs: set embedder.model to one"
        )
    images = _from_folder(pictures) if pictures is not None else _from_source(str(source), options)
    graphs = ensure_mtcnn(load_card("mtcnn"), config.engine_cache)
    nets: dict[str, OnnxBackend] = {net: OnnxBackend(path) for net, path in graphs.items()}
    with closing(assemble_mtcnn(config, nets)) as detector:
        idle_max = _IDLE_MAX if pictures is None else None
        feeds = face_feeds(detector, card, images, faces_max, idle_max)
        graph, faces = calibrate(network_file(config, card).read_bytes(), feeds, card.name)
    path = calibrated_path(config, card)
    write_all({path: graph}, reason)
    return path, faces


def face_feeds(
    detector: Detector,
    card: ModelCard,
    images: Iterator[ImageU8],
    faces_max: int,
    idle_max: int | None = None,
) -> Iterator[dict[str, Array]]:
    """Batches of the card's input from the faces of `images`, `faces_max` faces at most.

    idle_max: after more images in a row without a face they end; None: they are all looked at.
    """
    if card.input is None or card.alignment is None:
        raise EngineError(f"model {card.name!r} is no embedder")
    crops = islice(_crops(detector, Aligner(card.alignment), images, idle_max), faces_max)
    while batch := list(islice(crops, _BATCH)):
        yield {card.input.name: preprocess(np.stack(batch), card.input)}


def _crops(
    detector: Detector, aligner: Aligner, images: Iterator[ImageU8], idle_max: int | None
) -> Iterator[ImageU8]:
    idle = 0
    for image in images:
        found = detector.detect(image)
        yield from aligner.crop(image, found.landmarks)
        idle = 0 if len(found) else idle + 1
        if idle_max is not None and idle > idle_max:
            return


def _from_folder(folder: Path) -> Iterator[ImageU8]:
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not files:
        raise InputMissingError(f"{folder}: no pictures: give a folder that holds some")
    for path in files:
        try:
            yield read_picture(path, side_max=_SIDE_MAX)
        except InputBrokenError as exc:
            log.warning("calibration_skipped reason=%s", exc)


def _from_source(uri: str, options: OpenOptions | None) -> Iterator[ImageU8]:
    with closing(open_source(uri, options=options)) as source:
        while True:
            try:
                yield source.read(timeout_s=5).image
            except EndOfSource:
                return
            except (FrameBroken, TimeoutError):
                continue
