"""The file that runs for a card and a precision, made in the engine cache where none is shipped."""

from __future__ import annotations

from pathlib import Path

from jetson_face.config import Config
from jetson_face.inference.precision import to_fp16
from jetson_face.models.built import built_file
from jetson_face.models.built import network_file as card_file
from jetson_face.models.cards import ModelCard

FP16 = 1
"""Counts changes of the conversion: part of the cache's key."""


def network_file(config: Config, card: ModelCard, part: str = "fp32") -> Path:
    """The file of one precision or part; FP16 is made of the FP32 network where a card has none.

    Raises as `models.built.network_file`, and EngineError where the network has no FP16.
    """
    cache = config.engine_cache
    if part != "fp16" or part in card.parts or "fp32" not in card.parts:
        return card_file(card, part, cache)
    whole = card_file(card, "fp32", cache)
    if whole.suffix != ".onnx":
        return card_file(card, part, cache)  # which says what there is
    return built_file(
        cache / f"{whole.stem}-fp16-{FP16}.onnx",
        {"card": card.name, "part": part},
        lambda: to_fp16(whole.read_bytes(), card.name),
    )
