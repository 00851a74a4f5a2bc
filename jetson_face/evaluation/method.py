"""A method: everything between a picture and an answer, under one name."""

from __future__ import annotations

import hashlib
import logging
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from jetson_face.calibration.leave_one_out import Enrol
from jetson_face.config import Config
from jetson_face.core.types import F32, EmbeddingSpace, Person
from jetson_face.core.version import __version__
from jetson_face.detection.detector import Detector
from jetson_face.evaluation.extract import FaceExtractor
from jetson_face.evaluation.verification import PairScorer, cosine_scores
from jetson_face.factory.choice import choose_precision, with_detector
from jetson_face.factory.files import network_file
from jetson_face.factory.networks import build_detector
from jetson_face.factory.parts import (
    build_matcher,
    build_parts,
    decision_threshold,
    for_photos,
    load_pair_weights,
)
from jetson_face.factory.plan_networks import plan_source
from jetson_face.factory.threshold import embedding_precision
from jetson_face.gallery.classifiers import TRAINED
from jetson_face.gallery.matcher import GallerySnapshot
from jetson_face.models.cards import load_card

# a face of 20 pixels is found where the product's own limit would leave the picture out
_RELAXED_FACE_PX = 20


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """What is measured. pair_scorer: likeness of two faces; enrol: how a gallery is matched.

    similarity_min: the method's own threshold for single faces. margin_min: its lead over the
    second person. default_min: the threshold where the configuration gives none. trained: enrolling
    somebody trains. facts: for every report.
    """

    name: str
    extractor: FaceExtractor
    facts: Mapping[str, object]
    similarity_min: float
    enrol: Enrol
    pair_scorer: PairScorer = cosine_scores
    margin_min: float = 0.0
    default_min: float | None = None
    trained: bool = False

    @property
    def space(self) -> EmbeddingSpace:
        """Where its vectors live."""
        return self.extractor.embedder.space

    @property
    def same_person_min(self) -> float:
        """The network's own cosine at or above which two faces are one person."""
        return self.extractor.embedder.similarity_min


Keep: TypeAlias = Callable[[Detector, bool], Detector]
"""Puts a memory before a detector; the flag says whether it is the relaxed one."""


def build_method(
    config: Config, *, relaxed: bool = True, keep: Keep | None = None, photos: bool = False
) -> Method:
    """The method that a configuration describes; relaxed: search again where nothing was found.

    photos: pictures stand alone, as for `identify`; otherwise each is a single frame of a camera.
    Raises ModelError, EngineError, MissingDependencyError.
    """
    config = with_detector(config)
    parts = build_parts(config)
    mirrored = photos and config.embedder.mirror
    parts = for_photos(config, parts) if mirrored else parts
    detector = parts.detector if keep is None else keep(parts.detector, False)
    again = None
    if relaxed:
        smaller = min(config.detector.min_face_px, _RELAXED_FACE_PX)
        eager = config.detector.model_copy(update={"min_face_px": smaller})
        again = build_detector(config.model_copy(update={"detector": eager}), relaxed=True)
        again = again if keep is None else keep(again, True)
    extractor = FaceExtractor(
        detector, parts.aligner, parts.embedder, relaxed=again, grader=parts.quality
    )
    decision = config.matching.method
    name = f"{config.detector.type}_{parts.embedder.space.model}"
    name += "" if decision == "cosine" else f"_{decision}"
    scorer: PairScorer = cosine_scores
    if config.matching.method == "siamese":
        # what verifies pairs with a gallery verifies them without
        scorer = load_pair_weights(config, parts.embedder.space).probability
    matching = config.matching.model_copy(update={"similarity_min": None})
    without = config.model_copy(update={"matching": matching})
    return Method(
        name=name,
        extractor=extractor,
        facts={
            "method": name,
            "detector": parts.detector.name,
            "min_face_px": config.detector.min_face_px,
            "relaxed_search": relaxed,
            "alignment": parts.embedder.alignment,
            "mirror": mirrored,
            "model": parts.embedder.space.model,
            "space": str(parts.embedder.space),
            "decision": decision,
            "precision": embedding_precision(config),
            "weights": _weights(config),
            "backend": config.backend.type,
            "jetson_face": __version__,
            "machine": platform.machine(),
        },
        similarity_min=decision_threshold(config, parts.embedder),
        enrol=lambda snapshot: build_matcher(config, snapshot, parts.embedder.similarity_min),
        pair_scorer=scorer,
        margin_min=config.matching.margin_min,
        default_min=decision_threshold(without, parts.embedder),
        trained=config.matching.method in TRAINED,
    )


def _weights(config: Config) -> str:
    """SHA-256 of the file that runs in a precision of its own; "": the space has FP32's."""
    precision = embedding_precision(config)
    if config.embedder.type == "plugin" or precision == "fp32":
        return ""
    card = load_card(config.embedder.model, config.model_places)
    if config.backend.type == "tensorrt":
        path = plan_source(config, card, precision)
    else:
        path = network_file(config, card, choose_precision(config, card).part)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def snapshot_of(
    space: EmbeddingSpace,
    templates: Mapping[str, F32],
) -> GallerySnapshot:
    """A gallery in memory from (K, dim) templates by person; people without one are left out."""
    there = {name: vectors for name, vectors in templates.items() if len(vectors)}
    if not there:
        return GallerySnapshot.empty(space)
    counts = [len(vectors) for vectors in there.values()]
    return GallerySnapshot(
        space,
        np.concatenate(list(there.values())),
        np.repeat(np.arange(len(there)), counts),
        tuple(Person(name, name) for name in there),
    )


def log_progress(what: str, every: int = 500) -> Callable[[int, int], None]:
    """A progress callback that logs every `every`-th step and the last."""
    log = logging.getLogger(__name__)

    def progress(done: int, total: int) -> None:
        if done % every == 0 or done == total:
            log.info("%s: %d of %d", what, done, total)

    return progress
