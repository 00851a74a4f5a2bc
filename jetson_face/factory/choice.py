"""Which detector `detector.type: auto` is on this machine, and why."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache

from jetson_face.config import AutoDetectorConfig, Config, MtcnnConfig, YunetConfig
from jetson_face.core.errors import JetsonFaceError
from jetson_face.models.cards import load_card, resolve

log = logging.getLogger(__name__)


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


def log_choice(config: Config, level: int = logging.INFO) -> None:
    """Say in the log what `auto` stands for."""
    if isinstance(config.detector, AutoDetectorConfig):
        choice = choose_detector()
        log.log(level, "detector_chosen detector=%s reason=%s", choice.type, choice.reason)


@lru_cache(maxsize=1)
def _missing_yunet() -> str | None:
    """What is wrong with YuNet's file; None: nothing."""
    try:
        resolve(load_card("yunet"), "fp32")
    except JetsonFaceError as exc:
        return str(exc)
    return None
