"""The composition root: turns a configuration into working parts."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from jetson_face.capture.opening import open_source
from jetson_face.capture.source import OpenOptions, Source, SourceInfo
from jetson_face.config import Config, PluginDetectorConfig, SourceConfig, TensorRTConfig
from jetson_face.core.errors import InputMissingError, ModelError
from jetson_face.core.protocols import FrameProcessor
from jetson_face.core.types import EmbeddingSpace
from jetson_face.detection.detector import Detector, Refiner
from jetson_face.detection.guarded import GuardedRefiner
from jetson_face.detection.mtcnn.onet import OnetRefiner
from jetson_face.embedding.align import Aligner, cut_portraits
from jetson_face.embedding.embedder import Embedder
from jetson_face.embedding.mirrored import Mirrored
from jetson_face.embedding.quality import QualityGate
from jetson_face.embedding.recognisable import Recognisability
from jetson_face.factory.choice import log_detector, log_precision, with_detector
from jetson_face.factory.galleries import open_gallery as open_gallery
from jetson_face.factory.golden import golden_face
from jetson_face.factory.negatives import negatives_of
from jetson_face.factory.networks import build_detector, build_embedder
from jetson_face.factory.refiners import build_refiner
from jetson_face.factory.threshold import centre_of, own_threshold, thresholds_for
from jetson_face.gallery.enroll import Enroller
from jetson_face.gallery.live import LivePeople
from jetson_face.gallery.matcher import GallerySnapshot, Matcher
from jetson_face.gallery.scoring import SCORE_MIN
from jetson_face.gallery.store import GalleryStore
from jetson_face.inference.canary import Canary
from jetson_face.live import LivePolicy
from jetson_face.models.cards import card_dir, embedding_space, load_card
from jetson_face.output.run_report import RunFacts
from jetson_face.privacy.encryption import fill_credentials
from jetson_face.recognition.decision import Decider
from jetson_face.recognition.detection_interval import DetectionInterval
from jetson_face.recognition.embedding_scheduler import EmbeddingBudget, EmbeddingScheduler
from jetson_face.recognition.finder import FaceFinder
from jetson_face.recognition.fusion import Fuser, contradiction_below
from jetson_face.recognition.motion import MovedAreas
from jetson_face.recognition.rate_controlled import GovernedRecognizer
from jetson_face.recognition.rate_controller import Bounds, Governor, RateGoal
from jetson_face.recognition.recognizer import FaceRecognizer
from jetson_face.recognition.scene_cut import SceneCuts
from jetson_face.recognition.still_faces import StillFaces

if TYPE_CHECKING:
    from jetson_face.gallery.classifiers import PairWeights
from jetson_face.recognition.track_decisions import TrackDecisions
from jetson_face.recognition.tracker import Tracker

logger = logging.getLogger(__name__)
_SURE = {"yunet": 0.74, "mtcnn": 0.8}
"""`quality.detection_min` of detectors whose scores were measured."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The networks and what stands around them; shared by all sources of a process.

    A refiner that is not the detector itself is closed too.
    """

    detector: Detector
    refiner: Refiner | None
    aligner: Aligner
    quality: QualityGate
    embedder: Embedder

    def close(self) -> None:
        """Close the networks."""
        self.detector.close()
        self.embedder.close()
        if isinstance(self.refiner, OnetRefiner):
            self.refiner.close()
        if isinstance(self.refiner, GuardedRefiner) and not self.refiner.is_part_of(self.detector):
            self.refiner.close()


def build_parts(
    config: Config,
    *,
    detector: Detector | None = None,
    refiner: Refiner | None = None,
    embedder: Embedder | None = None,
    runs_on: bool = False,
) -> Parts:
    """Detector, alignment, quality and embedder; objects stand in for what is configured.

    runs_on: for a program that runs on, whose log says what `auto` is; that of a short command
    says so at the level DEBUG.
    """
    level = logging.INFO if runs_on else logging.DEBUG
    if embedder is None:
        log_precision(config, level)
        embedder = build_embedder(config)
    quality = build_quality(config, handed_over=detector is not None)
    if detector is None:
        log_detector(config, level)
    detector = detector or build_detector(config)
    return Parts(
        detector=detector,
        refiner=(config.sampling.refine and refiner) or build_refiner(config, detector),
        aligner=Aligner(embedder.alignment),
        quality=quality,
        embedder=embedder,
    )


def build_quality(config: Config, *, handed_over: bool = False) -> QualityGate:
    """What rates faces, and takes a second look at whether they are any. handed_over: the detector
    is not the configured one."""
    wanted = config.quality
    sure = wanted.detection_min
    if sure is None:
        sure = 0.0 if handed_over else _SURE.get(with_detector(config).detector.type, 0.0)
    return QualityGate(landmarks_min=wanted.landmarks_min, detection_min=sure)


def for_photos(config: Config, parts: Parts) -> Parts:
    """The same for pictures that stand alone: faces count together with their mirror images.

    Only where `embedder.mirror` says so. A track needs none of it: it has several looks.
    """
    if not config.embedder.mirror:
        return parts
    return replace(parts, embedder=Mirrored(parts.embedder))


def build_canary(config: Config, parts: Parts, *, drifted: bool = False) -> Canary:
    """A golden face to ask the embedder for, every `engines.canary_every_s`.

    What it answers now is what it must answer from now on; a TensorRT plan is first compared with
    ONNX Runtime. drifted: how things stood before. Raises EngineError where that fails.
    """
    every_ns = round(config.engines.canary_every_s * 1e9)
    crop = golden_face(parts.aligner)
    if every_ns and isinstance(config.backend, TensorRTConfig):
        from jetson_face.factory.parity_gate import check_against_reference
        from jetson_face.factory.plan_networks import reference_embedder

        reference = reference_embedder(config)
        if reference is not None:
            with closing(reference):
                check_against_reference(reference, parts.embedder, crop, config.backend.precision)
    wanted = parts.embedder.embed(crop).vectors[0] if every_ns else np.zeros(1, np.float32)
    return Canary(parts.embedder.embed, crop, wanted, every_ns, drifted=drifted)


def build_enroller(config: Config, parts: Parts, gallery: GalleryStore) -> Enroller:
    """What turns photos into templates."""
    return Enroller(
        gallery,
        detector=parts.detector,
        aligner=parts.aligner,
        embedder=parts.embedder,
        portraits=cut_portraits,
        assess=parts.quality.verdict,
        recognisable=build_recognisability(config, parts.embedder),
        recognisable_min=config.quality.recognisable_min,
        face_px_min=config.quality.enroll_min_px,
        quality_min=config.quality.enroll_min,
    )


def build_recognisability(config: Config, embedder: Embedder) -> Recognisability | None:
    """What the network makes of crops that show nobody; None where its card does not say.

    Raises InputMissingError, ModelError.
    """
    try:
        card = load_card(config.embedder.model, config.model_places)
    except (InputMissingError, ModelError):
        return None  # dlib's own, or a plug-in's: has no card
    if card.unrecognisable is None or embedding_space(card) != embedder.space:
        return None  # an embedder of the program's own may stand in for the configured network
    return Recognisability.read(card.folder / card.unrecognisable, embedder.space)


def build_matcher(
    config: Config, snapshot: GallerySnapshot, similarity_min: float | None = None
) -> Matcher:
    """Compares faces with everybody in the gallery as it is now.

    similarity_min: the embedder's own; None: that of the configured network's card.
    Raises MissingDependencyError, InputMissingError where the method's parts are not there.
    """
    wanted = config.matching
    own = own_threshold(config) if similarity_min is None else similarity_min
    if wanted.method == "cosine":
        return Matcher(
            snapshot,
            top_k=wanted.top_k,
            thresholds=thresholds_for(config, snapshot),
            negatives=negatives_of(config, snapshot.space, own),
            centre=centre_of(config),
        )
    from jetson_face.gallery.classifiers import KnnMatcher, LinearMatcher, PairMatcher

    if wanted.method == "knn":
        return KnnMatcher(snapshot, neighbours=wanted.neighbours)
    if wanted.method == "siamese":
        pairs = load_pair_weights(config, snapshot.space)
        return PairMatcher(snapshot, pairs, top_k=wanted.top_k)
    return LinearMatcher(snapshot, wanted.method, similarity_min=own)


def load_pair_weights(config: Config, space: EmbeddingSpace) -> PairWeights:
    """The trained pair verification of this embedding. Raises InputMissingError, ModelError."""
    from jetson_face.gallery.classifiers import PairWeights

    given = config.matching.pair_weights
    return PairWeights.read(given or card_dir() / f"siamese_{space.model}.json", space)


def decision_threshold(config: Config, embedder: Embedder) -> float:
    """The score at or above which a face gets a name, on the matching method's own scale, where
    the matcher knows none of its gallery's size."""
    wanted = config.matching
    if wanted.similarity_min is not None:
        return wanted.similarity_min
    least = SCORE_MIN[wanted.method]
    return embedder.similarity_min if least is None else least


def build_decider(config: Config, embedder: Embedder, *, single: bool = False) -> Decider:
    """When a face gets a name; single: one picture decides, there are no frames to wait for."""
    wanted = config.matching
    least = decision_threshold(config, embedder)
    return Decider(
        least,
        similarity_leave=least - wanted.hysteresis,
        margin_min=wanted.margin_min,
        frames_min=1 if single else wanted.frames_min,
        unknown_after=1 if single else wanted.unknown_after,
        review_margin=wanted.review_margin,
        withhold_margin=config.privacy.withhold_margin,
    )


def live_people(config: Config, gallery: GalleryStore, embedder: Embedder) -> LivePeople:
    """Who is enrolled, for a program that runs on while people come and go; where that is nobody,
    the log says so, as the path may be mistyped."""
    people = LivePeople(
        gallery,
        lambda snapshot: build_matcher(config, snapshot, embedder.similarity_min),
        every_ns=round(config.gallery.refresh_s * 1e9),
    )
    if not people.ids:
        logger.warning("gallery_empty gallery=%s nobody is enrolled", gallery.path)
    return people


def build_tracker(config: Config) -> Tracker:
    """What follows the faces of one source."""
    wanted = config.tracking
    return Tracker(
        wanted.iou_min, max_gap_ns=wanted.max_gap_ms * 1_000_000, hold_ns=wanted.hold_ms * 1_000_000
    )


def build_motion(config: Config) -> MovedAreas | None:
    """What says where one source's frames changed; None where that is not asked."""
    wanted = config.sampling
    return MovedAreas(round(wanted.full_search_s * 1e9)) if wanted.motion else None


def build_recognizer(
    config: Config, parts: Parts, people: Callable[[int], Matcher], *, stills: bool = False
) -> FaceRecognizer:
    """The recogniser of one source; networks and gallery may be shared between several.

    stills: each picture stands alone, and is searched and decided as `identify` does it.
    """
    if stills:
        parts = for_photos(config, parts)
    cut_share = config.tracking.scene_cut
    finder = FaceFinder(
        parts.detector,
        parts.refiner,
        DetectionInterval(
            1 if stills else config.sampling.interval, on_loss=config.sampling.on_loss
        ),
        build_tracker(config),
        stills=stills,
        cuts=None if cut_share is None or stills else SceneCuts(cut_share),
        small_every=config.sampling.small_every,
        moved=build_motion(config),
    )
    budget = EmbeddingBudget(
        embed_interval=config.fusion.embed_interval,
        # of a face that is left out no other crop comes
        per_frame=config.detector.max_faces if stills else config.fusion.max_per_frame,
        quality_min=config.quality.embed_min,
        mirror=config.embedder.mirror and not stills,
        recognisable_min=config.quality.recognisable_min,
    )
    # the network's own: how strict a site is with names says nothing of two frames
    least = parts.embedder.similarity_min
    fuser = Fuser(
        parts.embedder.space,
        strategy=config.fusion.strategy,
    )
    recognisable = build_recognisability(config, parts.embedder)
    decisions = TrackDecisions(
        fuser,
        build_decider(config, parts.embedder, single=stills),
        people,
        contradiction_below=contradiction_below(least),
        doubted_below=least,
    )
    still_s = None if stills else config.tracking.still_face_s
    return FaceRecognizer(
        finder,
        EmbeddingScheduler(parts.aligner, parts.quality, parts.embedder, budget, recognisable),
        decisions,
        review_quality_min=config.quality.enroll_min,
        still=None if still_s is None else StillFaces(round(still_s * 1e9)),
    )


def govern(config: Config, recognizer: FaceRecognizer, info: SourceInfo) -> FrameProcessor:
    """The recogniser of a live source with its sampling rate adapted, where `sampling: auto`."""
    auto = config.sampling.auto
    if auto is None or not info.is_live:
        return recognizer
    cores = len(os.sched_getaffinity(0))
    goal = RateGoal(auto.decision_fps_min, auto.age_ms_max, auto.cpu_max)
    return GovernedRecognizer(
        recognizer,
        recognizer.finder.interval,
        Governor(goal, Bounds(auto.interval_min, auto.interval_max), config.sampling.interval),
        cpu_share=lambda: time.process_time() / cores,
    )


def open_options(wanted: SourceConfig) -> OpenOptions:
    """How to open a source that the configuration names."""
    keys = {field.name for field in fields(OpenOptions)}
    return OpenOptions(**wanted.model_dump(include=keys))


def open_sources(config: Config, *, must_open: bool = False) -> list[Source]:
    """The sources; must_open False: a camera that is not there now is waited for.

    Raises UsageError, InputMissingError, InputBrokenError, SourceError, GalleryError for a
    credential that is named and missing.
    """
    opened: list[Source] = []
    try:
        for wanted in config.sources:
            options = open_options(wanted)
            uri = fill_credentials(wanted.uri)
            opened.append(open_source(uri, wanted.name, options=options, must_open=must_open))
    except BaseException:
        for source in opened:
            source.close()
        raise
    return opened


def run_facts(config: Config, every: int | None = None) -> RunFacts:
    """What the report says was set; every: the sampling rate now, where it is adapted."""
    detector = with_detector(config).detector
    named = detector.name if isinstance(detector, PluginDetectorConfig) else detector.type
    return RunFacts(
        sampling=every or config.sampling.interval,
        search_max_side=detector.max_side_px,
        method=f"{named}+{config.embedder.model}",
    )


def live_policy(config: Config, *, frames: int | None = None) -> LivePolicy:
    """How the configured sources are run live. frames: see LivePolicy."""
    return LivePolicy(
        together=config.sampling.together,
        max_age_ms={source.name: float(source.max_age_ms) for source in config.sources},
        frames=frames,
        log_every_s=config.report.every_s,
    )
