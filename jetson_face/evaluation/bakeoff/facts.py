"""What a method is made of: files, their size, and under which terms they may be used."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from jetson_face.config import Config, DlibConfig, HaarConfig, MtcnnConfig, YunetConfig
from jetson_face.factory.choice import choose_precision, with_detector
from jetson_face.factory.files import network_file
from jetson_face.models.cards import ModelCard, card_dir, embedding_space, load_card, resolve


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """bytes: all network files of the method. licence, trained_on: of detector and embedder.
    digest: of what its answers depend on, beside the settings."""

    bytes: int
    licence: str
    trained_on: str
    digest: str = ""

    @property
    def mib(self) -> float:
        """Size, MiB."""
        return self.bytes / 2**20

    def as_json(self) -> dict[str, object]:
        """Its facts."""
        return {"mib": self.mib, "licence": self.licence, "trained_on": self.trained_on}


def model_facts(config: Config) -> ModelFacts:
    """The files that a configuration loads. Raises ModelError, InputMissingError."""
    size, licences = _detector(config)
    card = load_card(config.embedder.model, config.model_places)
    part = choose_precision(config, card).part
    size += network_file(config, card, part).stat().st_size
    licences.append(f"{card.name}: {card.licence}")
    digest = f"{embedding_space(card, part).digest} {card.similarity_min}"
    if config.matching.method == "siamese":
        weights = Path(config.matching.pair_weights or card_dir() / f"siamese_{card.name}.json")
        size += weights.stat().st_size
        digest += f" {sha256(weights.read_bytes()).hexdigest()}"
    return ModelFacts(size, "; ".join(licences), card.source, digest)


def _detector(config: Config) -> tuple[int, list[str]]:
    wanted = with_detector(config).detector
    if isinstance(wanted, MtcnnConfig):
        return _card(load_card("mtcnn"), ("pnet", "rnet", "onet"))
    if isinstance(wanted, YunetConfig):
        return _card(load_card(wanted.model, config.model_places), ("fp32",))
    dlib = load_card("dlib_faces")
    if isinstance(wanted, DlibConfig):
        parts = (wanted.points, *(("mmod",) if wanted.method == "cnn" else ()))
        size, _ = _card(dlib, parts)
        return size, ["HOG: Boost, in dlib", _points_licence(wanted.points)]
    assert isinstance(wanted, HaarConfig)
    licences = ["Haar cascade: Intel licence (BSD-like), in OpenCV"]
    if wanted.points == "onet":
        size, more = _card(load_card("mtcnn"), ("onet",))
    elif wanted.points == "eyes":
        size, more = 0, []
    else:
        size, _ = _card(dlib, (wanted.points,))
        more = [_points_licence(wanted.points)]
    return size + _cascade_bytes(), licences + more


def _points_licence(points: str) -> str:
    if points == "dlib68":
        return "68 points: iBUG 300-W, not for commercial use"
    return "5 points: CC0-1.0"


def _card(card: ModelCard, parts: tuple[str, ...]) -> tuple[int, list[str]]:
    size = sum(resolve(card, part).stat().st_size for part in parts)
    return size, [f"{card.name}: {card.licence}"]


def _cascade_bytes() -> int:
    import cv2

    from jetson_face.detection.haar import CASCADE

    folder = getattr(getattr(cv2, "data", None), "haarcascades", "/usr/share/opencv4/haarcascades/")
    path = Path(folder) / CASCADE
    return path.stat().st_size if path.is_file() else 0
