"""The threshold in force. In this order: a cosine in the configuration; the site's calibration,
moved to the gallery's present size and `matching.fpir`; the network's impostor curve; the model
card's single cosine."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import cycle, islice
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from jetson_face.calibration.fpir import Scores
from jetson_face.calibration.impostor_curve import GallerySize, ImpostorCurve, read_curve
from jetson_face.calibration.site_shift import PEOPLE_MIN, site_shift
from jetson_face.calibration.stored import Calibration, read_calibration
from jetson_face.config import Config
from jetson_face.config.decision import MatchingConfig
from jetson_face.core.errors import InputMissingError, ModelError
from jetson_face.core.types import F32, EmbeddingSpace
from jetson_face.factory.choice import choose_precision
from jetson_face.gallery.matcher import GallerySnapshot, Thresholds
from jetson_face.gallery.scoring import SCORE_MIN
from jetson_face.gallery.store import GalleryStore
from jetson_face.models.card_files import Places
from jetson_face.models.cards import ModelCard, embedding_space, load_card

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
    # the network's curve knows nothing of centred vectors
    curve = curve_of(config, gallery.space) if found.centre is None else None
    size = GallerySize.of(gallery.snapshot(), config.matching.top_k)
    # a curve knows what growth does
    people = size.people if curve is None else found.people
    for doubt in found.doubts(engine(config), people):
        _log.warning("calibration_old why=%s; %s", doubt, AGAIN)
    return with_threshold(config, _moved(config, found, curve, size))


class SiteMatching(MatchingConfig):
    """Matching as it was calibrated for a site; no file says it. centre: see `Calibration`."""

    centre: tuple[float, ...] | None = None


def with_threshold(config: Config, found: Calibration) -> Config:
    """`config` with that threshold, the FPIR it was set for, and the site's centre where it has
    one."""
    told = {"similarity_min": found.similarity_min, "fpir": found.fpir}
    matching = config.matching.model_copy(update=told)
    config = config.model_copy(update={"matching": matching})
    if found.centre is None:
        return config
    return with_centre(config, found.centre)


def with_centre(config: Config, centre: tuple[float, ...]) -> Config:
    """`config` with vectors compared without a centre."""
    matching = SiteMatching.model_construct(**dict(config.matching) | {"centre": centre})
    return config.model_copy(update={"matching": matching})


def centre_of(config: Config) -> F32 | None:
    """(dim,) what is taken from all vectors before they are compared."""
    wanted = config.matching
    if not isinstance(wanted, SiteMatching) or wanted.centre is None:
        return None
    return np.array(wanted.centre, np.float32)


def _moved(
    config: Config, found: Calibration, curve: ImpostorCurve | None, size: GallerySize
) -> Calibration:
    """The calibration at the gallery's size of today and the configuration's FPIR: as far from
    what it was as the network's curve says."""
    wanted = config.matching.fpir
    if curve is None or not size.people:
        return found
    then = _even(found.people, found.templates, size.top_k)
    now = _even(size.people, _templates(size), size.top_k)
    by = curve.threshold(wanted, now) - curve.threshold(found.fpir, then)
    return replace(found, similarity_min=min(1.0, found.similarity_min + by), fpir=wanted)


def _even(people: int, templates: int, top_k: int) -> GallerySize:
    """As if everybody had as many templates: more than their number was not kept."""
    return GallerySize(people, ((round(templates / people), people),), top_k)


def _templates(size: GallerySize) -> int:
    return sum(each * people for each, people in size.templates)


Source: TypeAlias = Literal["configuration", "site calibration", "impostor curve", "model card"]
LEAST_PEOPLE = 5
"""A gallery of fewer is taken for one of so many: strangers at a site are more like each other than
people of a collection, and a face has many chances while it is in view."""


def _card(config: Config) -> ModelCard | None:
    """Of the configured network; None for an embedder of others, which has none."""
    return _read_card(config.embedder.model, config.model_places)


@lru_cache(maxsize=16)
def _read_card(model: str | Path, places: Places) -> ModelCard | None:
    try:
        return load_card(model, places)
    except (ModelError, InputMissingError):
        # a network that is built from a card fails before anybody asks for its threshold
        return None


@lru_cache(maxsize=16)
def _read_curve(path: Path, space: EmbeddingSpace) -> ImpostorCurve:
    return read_curve(path, space)


def curve_of(config: Config, space: EmbeddingSpace) -> ImpostorCurve | None:
    """The impostor curve of the configured network; None where its card has none, or where the
    vectors are another's or are not compared by their cosine. Raises ModelError,
    InputMissingError, InputBrokenError, EmbeddingSpaceError."""
    plain = config.matching.method == "cosine" and centre_of(config) is None
    card = _card(config) if plain else None
    if card is None or card.impostors is None or embedding_space(card) != space:
        return None
    return _read_curve(card.folder / card.impostors, space)


def thresholds_for(config: Config, snapshot: GallerySnapshot) -> Thresholds | None:
    """The cosines that keep `matching.fpir` with this gallery, by averaged embeddings; None where
    the configuration says a cosine, or no curve is there."""
    if config.matching.similarity_min is not None or not snapshot.people:
        return None
    curve = curve_of(config, snapshot.space)
    if curve is None:
        return None
    size = GallerySize.of(snapshot, config.matching.top_k)
    return curve.by_frames(config.matching.fpir, _at_least(size))


def moved_for_site(
    config: Config, snapshot: GallerySnapshot, outsiders: Scores, fpir: float, frames: int = 1
) -> tuple[float, float] | None:
    """The cosine of the network's impostor curve, moved by what faces of the site say that are too
    few to set it alone; and by how much. None without a curve, or with too few people for that.

    outsiders: of people who are not enrolled, as `site_shift` needs them. Raises as `curve_of`.
    """
    curve = curve_of(config, snapshot.space)
    if curve is None or outsiders.people < PEOPLE_MIN:
        return None
    size = GallerySize.of(snapshot, config.matching.top_k)
    by = site_shift(outsiders, curve, size, frames)
    return min(1.0, curve.threshold(fpir, _at_least(size), frames) + by), by


def unknown_thresholds(
    config: Config,
    deciding: Config,
    gallery: GallerySnapshot,
    unknowns: GallerySnapshot,
    similarity_min: float,
) -> Thresholds:
    """The cosines, by averaged embeddings, at or above which somebody who is not enrolled was seen
    before: so strict that `unknown.fpir` of new people are taken for one of `unknowns`.

    By the network's impostor curve, moved as the site's calibration moved that of the gallery;
    similarity_min: the network's own, where there is no curve. deciding: what `calibrated` made of
    `config`. Raises as `curve_of`.
    """
    plain = {"similarity_min": None, "fpir": config.unknown.fpir, "method": "cosine"}
    matching = config.matching.model_copy(update=plain)
    found = thresholds_for(config.model_copy(update={"matching": matching}), unknowns)
    if found is None:
        return (similarity_min,)
    moved, curve = 0.0, curve_of(deciding, gallery.space)
    site = deciding.matching.similarity_min
    if curve is not None and site is not None and config.matching.similarity_min is None:
        size = GallerySize.of(gallery, deciding.matching.top_k)
        moved = site - curve.threshold(deciding.matching.fpir, size)
    return tuple(min(1.0, least + moved) for least in found)


def _at_least(size: GallerySize) -> GallerySize:
    if size.people >= LEAST_PEOPLE:
        return size
    # the same people once more, those with the most templates first
    each = sorted((n for n, people in size.templates for _ in range(people)), reverse=True)
    taken = Counter(islice(cycle(each), LEAST_PEOPLE))
    return GallerySize(LEAST_PEOPLE, tuple(sorted(taken.items())), size.top_k)


@dataclass(frozen=True, slots=True)
class ThresholdInForce:
    """similarity_min: for a single face. fpir: share of non-enrolled people's faces that get a
    name at it, of this gallery; None where nothing says it. people: enrolled. centred: vectors are
    compared without what the site's faces have in common."""

    similarity_min: float
    source: Source
    fpir: float | None
    people: int
    centred: bool = False

    def __str__(self) -> str:
        people = "1 person" if self.people == 1 else f"{self.people} people"
        rate = "not known" if self.fpir is None else f"{100 * self.fpir:.2g} %"
        return (
            f"expected FPIR {rate} with {people} enrolled (similarity {self.similarity_min:.3f}, "
            f"{self.source}{', centred on the site' if self.centred else ''})"
        )

    def as_json(self) -> dict[str, object]:
        """Plain data; shares and cosines of 1."""
        return {
            "similarity_min": round(self.similarity_min, 4),
            "source": self.source,
            "expected_fpir": None if self.fpir is None else round(self.fpir, 5),
            **({"centred": True} if self.centred else {}),
        }


def own_threshold(config: Config) -> float:
    """The cosine of the configured network's card; 0 where it is not one with a card."""
    card = _card(config)
    return 0.0 if card is None else card.similarity_min or 0.0


def threshold_in_force(
    asked: Config, deciding: Config, snapshot: GallerySnapshot, similarity_min: float
) -> ThresholdInForce:
    """asked: as configured; deciding: what `calibrated` made of it. similarity_min: the network's
    own. Raises as `curve_of`."""
    people, curve = len(snapshot.people), curve_of(deciding, snapshot.space)
    size = GallerySize.of(snapshot, deciding.matching.top_k)
    by_hand = deciding.matching.similarity_min
    known = thresholds_for(deciding, snapshot)
    if known is not None and curve is not None:
        return ThresholdInForce(known[0], "impostor curve", curve.fpir(known[0], size), people)
    least = SCORE_MIN[deciding.matching.method]
    default = similarity_min if least is None else least
    cosine = default if by_hand is None else by_hand
    if by_hand is not None and asked.matching.similarity_min is None:
        fpir, centred = deciding.matching.fpir, centre_of(deciding) is not None
        return ThresholdInForce(cosine, "site calibration", fpir, people, centred)
    source: Source = "model card" if by_hand is None else "configuration"
    rate = curve.fpir(cosine, size) if curve is not None else None
    return ThresholdInForce(cosine, source, rate, people)


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
    return f"{config.backend.type} {embedding_precision(config)}"


def embedding_precision(config: Config) -> str:
    """The precision that the embedding network runs in; of an embedder without a card fp32."""
    own = config.backend
    if own.type == "tensorrt":
        return own.precision
    card = _card(config)
    return "fp32" if card is None else choose_precision(config, card).precision
