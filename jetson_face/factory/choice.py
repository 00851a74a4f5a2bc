"""What `auto` stands for on this machine, and why: which detector, and the embedder's precision."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache

from jetson_face.config import (
    AutoDetectorConfig,
    Config,
    MtcnnConfig,
    OnnxRuntimeConfig,
    YunetConfig,
)
from jetson_face.core.errors import JetsonFaceError
from jetson_face.models.cards import UNSIGNED, ModelCard, load_card, resolve
from jetson_face.util.machine import byte_maths

log = logging.getLogger(__name__)
_CPU_ALONE = ("CPUExecutionProvider",)
_TIME_OF_FP32 = {"VNNI": "less than half", "AVX2": "three quarters"}
"""What INT8 takes of it; engines/README.md, "INT8 for processors"."""


@dataclass(frozen=True, slots=True)
class DetectorChoice:
    """type: `yunet` or `mtcnn`. reason: why, one line for people."""

    type: str
    reason: str


def choose_detector() -> DetectorChoice:
    """The fastest that is there and finds no fewer faces: YuNet, else MTCNN.

    On the crowd clip YuNet finds 133 faces where MTCNN finds 109, in a quarter of its time.
    """
    missing = _missing_yunet()
    if missing is None:
        return DetectorChoice("yunet", "the faster one, and its file is there")
    return DetectorChoice("mtcnn", f"YuNet is not there: {missing}")


def with_detector(config: Config) -> Config:
    """The configuration with the detector that `auto` stands for; any other as it is."""
    wanted = config.detector
    if not isinstance(wanted, AutoDetectorConfig):
        return config
    choice = choose_detector()
    values = wanted.model_dump(exclude={"type"})
    made = YunetConfig(type="yunet", **values)
    chosen = made if choice.type == "yunet" else MtcnnConfig(**values)
    return config.model_copy(update={"detector": chosen})


@dataclass(frozen=True, slots=True)
class PrecisionChoice:
    """part: of the network's card. reason: why, one line for people."""

    part: str
    reason: str

    @property
    def precision(self) -> str:
        """What people call it."""
        return "int8" if self.part == UNSIGNED else self.part


def choose_precision(config: Config, card: ModelCard) -> PrecisionChoice:
    """What `embedder.precision` stands for without TensorRT: INT8 of its own kind where the
    processor gains by it. Its vectors are compared with FP32's (engines/README.md, "INT8")."""
    wanted = config.embedder.precision
    if wanted not in ("auto", "int8"):
        return PrecisionChoice(wanted, "as configured")
    backend = config.backend
    other = "fp32" if wanted == "auto" else "int8"
    if not isinstance(backend, OnnxRuntimeConfig) or backend.providers != _CPU_ALONE:
        return PrecisionChoice(other, "the processor does not run it")
    if UNSIGNED not in card.parts:
        return PrecisionChoice(other, f"{card.name} has no INT8 for processors")
    by = _byte_maths()
    if by is None:
        return PrecisionChoice(other, "the processor is not known to gain by INT8")
    return PrecisionChoice(UNSIGNED, f"the processor has {by}: {_TIME_OF_FP32[by]} of the time")


def auto_precision(config: Config) -> PrecisionChoice | None:
    """What `embedder.precision: auto` is here; None where nothing chooses, as with TensorRT.
    Raises ModelError, InputMissingError."""
    wanted = config.embedder
    if not isinstance(config.backend, OnnxRuntimeConfig) or wanted.precision != "auto":
        return None
    return choose_precision(config, load_card(wanted.model, config.model_places))


def as_chosen(config: Config) -> Config:
    """The configuration with what each `auto` stands for. Raises as `auto_precision`."""
    config = with_detector(config)
    if (chosen := auto_precision(config)) is None:
        return config
    embedder = config.embedder.model_copy(update={"precision": chosen.precision})
    return config.model_copy(update={"embedder": embedder})


def log_detector(config: Config, level: int = logging.INFO) -> None:
    """Say in the log which detector `auto` stands for."""
    if isinstance(config.detector, AutoDetectorConfig):
        choice = choose_detector()
        log.log(level, "detector_chosen detector=%s reason=%s", choice.type, choice.reason)


def log_precision(config: Config, level: int = logging.INFO) -> None:
    """Say in the log which precision `auto` stands for."""
    if (chosen := auto_precision(config)) is not None:
        log.log(level, "precision_chosen precision=%s reason=%s", chosen.precision, chosen.reason)


_byte_maths = lru_cache(maxsize=1)(byte_maths)


@lru_cache(maxsize=1)
def _missing_yunet() -> str | None:
    """What is wrong with YuNet's file; None: nothing."""
    try:
        resolve(load_card("yunet"), "fp32")
    except JetsonFaceError as exc:
        return str(exc)
    return None
