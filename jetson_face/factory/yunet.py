"""YuNet put together from back ends, whatever runs them."""

from __future__ import annotations

from collections.abc import Mapping

from jetson_face.config import Config, TensorRTConfig, YunetConfig
from jetson_face.detection.yunet import YuNet, padded_size, searched_side
from jetson_face.factory.choice import with_detector
from jetson_face.inference.backend import Backend

YUNET, TILES, FRAME = "yunet", "yunet_tiles", "yunet_frame"
"""One graph for three uses, each a plan of its own on TensorRT: a picture of any size, any number
of known faces, and a frame of `engines.frame_size`."""
SIDE_MAX = 2560
"""Longest side of a picture that YuNet's plan searches as finely as `min_face_px` wants it: it
holds memory for that. Larger ones are shrunk."""
RELAXED = 0.4
"""Share of the score that a relaxed search keeps."""


def yunet_config(config: Config) -> YunetConfig | None:
    """YuNet's settings; None where another detector is configured, or `auto` is another."""
    wanted = with_detector(config).detector
    return wanted if isinstance(wanted, YunetConfig) else None


def plan_side(config: Config, wanted: YunetConfig) -> int:
    """Longest side that YuNet's plan for any picture takes, pixels."""
    longest = max((SIDE_MAX, *(config.engines.frame_size or ())))
    side = searched_side(longest, wanted.min_face_px, wanted.max_side_px)
    return padded_size((side, side))[0]


def assemble_yunet(config: Config, nets: Mapping[str, Backend], *, relaxed: bool = False) -> YuNet:
    """YuNet over `yunet`, and over `yunet_tiles` and `yunet_frame` where there are such.

    relaxed: with a lower score, for pictures that surely show a face. Raises ValueError where the
    configuration's detector is another, ModelError as `YuNet`.
    """
    wanted = yunet_config(config)
    if wanted is None:
        raise ValueError("the configured detector is not YuNet")
    frame, max_side_px = config.engines.frame_size, wanted.max_side_px
    if max_side_px is None and isinstance(config.backend, TensorRTConfig):
        max_side_px = plan_side(config, wanted)
    return YuNet(
        nets[YUNET],
        tiles=nets.get(TILES),
        searches={frame: nets[FRAME]} if frame is not None and FRAME in nets else {},
        score_min=wanted.score_min * (RELAXED if relaxed else 1),
        min_face_px=wanted.min_face_px,
        max_faces=wanted.max_faces,
        max_side_px=max_side_px,
        together=config.sampling.together,
        any_together=not isinstance(config.backend, TensorRTConfig),
    )
