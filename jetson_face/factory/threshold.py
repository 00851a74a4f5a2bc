"""The threshold in force: the one in the configuration, the site's calibrated one, the model's."""

from __future__ import annotations

import logging

from jetson_face.calibration.stored import Calibration, read_calibration
from jetson_face.config import Config
from jetson_face.gallery.store import GalleryStore

_log = logging.getLogger(__name__)
AGAIN = "run: jetson-face calibrate --write"


def calibrated(config: Config, gallery: GalleryStore) -> Config:
    """`config` with the gallery's calibrated threshold, where it gives none itself.

    A calibration for another network or another way of matching is left out with a warning; one
    that the gallery has outgrown is used with one. Raises the gallery's errors.
    """
    if config.matching.similarity_min is not None:
        return config
    found = read_calibration(gallery)
    if found is None:
        return config
    if why := found.unfit(scoring(config), gallery.space):
        _log.warning("calibration_unfit goes_on_with=default why=%s; %s", why, AGAIN)
        return config
    for doubt in found.doubts(engine(config), len(gallery.snapshot().people)):
        _log.warning("calibration_old why=%s; %s", doubt, AGAIN)
    return with_threshold(config, found)


def with_threshold(config: Config, found: Calibration) -> Config:
    """`config` with that threshold."""
    matching = config.matching.model_copy(update={"similarity_min": found.similarity_min})
    return config.model_copy(update={"matching": matching})


def scoring(config: Config) -> str:
    """The way of matching, with every setting that changes a score or what it leads to."""
    wanted = config.matching
    settings = {
        "cosine": f" top_k={wanted.top_k}",
        "knn": f" neighbours={wanted.neighbours}",
        "siamese": f" top_k={wanted.top_k}",
    }
    return f"{wanted.method}{settings.get(wanted.method, '')} margin_min={wanted.margin_min:g}"


def engine(config: Config) -> str:
    """What runs the embedding network."""
    own = config.backend
    precision = own.precision if own.type == "tensorrt" else config.embedder.precision
    return f"{own.type} {precision}"
