"""What follows faces between searches, for any detector."""

from __future__ import annotations

import logging

from jetson_face.config import Config
from jetson_face.core.errors import InputMissingError, MissingDependencyError
from jetson_face.detection.detector import Detector, Refiner
from jetson_face.detection.guarded import GuardedDetector
from jetson_face.detection.mtcnn.detector import Mtcnn
from jetson_face.detection.mtcnn.onet import OnetRefiner
from jetson_face.detection.yunet import YuNet
from jetson_face.factory.networks import build_backend
from jetson_face.factory.plugins import plugin_refiner
from jetson_face.models.cards import load_card

log = logging.getLogger(__name__)


def build_refiner(config: Config, detector: Detector) -> Refiner | None:
    """The configured one, the detector where it can follow, or MTCNN's O-Net.

    None: boxes are only predicted. A plug-in's faces need not be human ones: where it cannot
    follow them itself, O-Net does not either. Raises as `networks.build_backend`, PluginError.
    """
    if not config.sampling.refine:
        return None
    if config.refiner is not None:
        return plugin_refiner(config.refiner)
    if isinstance(detector, GuardedDetector):
        return detector.refiner()
    if isinstance(detector, (Mtcnn, YuNet)):
        return detector
    return _build_onet(config)


def _build_onet(config: Config) -> OnetRefiner | None:
    from jetson_face.detection.mtcnn.graph import ensure_mtcnn

    try:
        graphs = ensure_mtcnn(load_card("mtcnn"), config.engine_cache)
    except (InputMissingError, MissingDependencyError) as exc:
        log.warning("faces_not_followed reason=%s (sampling.refine: false takes this away)", exc)
        return None
    onet = build_backend(config, "onet", graphs["onet"])
    return OnetRefiner(onet, score_min=config.mtcnn.thresholds[2])
