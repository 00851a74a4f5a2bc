"""Detectors put together from back ends, whatever runs them."""

from __future__ import annotations

from collections.abc import Mapping

from jetson_face.config import Config
from jetson_face.detection.mtcnn.detector import Mtcnn
from jetson_face.inference.backend import Backend

SEARCH = "search"
"""P-Net over a whole frame of one size, as one plan."""
RELAXED = (0.5, 0.3, 0.15)
"""Share of each threshold that a relaxed search keeps."""


def assemble_mtcnn(config: Config, nets: Mapping[str, Backend], *, relaxed: bool = False) -> Mtcnn:
    """MTCNN over `pnet`, `rnet`, `onet`, and `search` where there is one.

    relaxed: with lower thresholds, for pictures that surely show a face.
    """
    wanted = config.mtcnn
    first, second, third = wanted.thresholds
    if relaxed:
        first, second, third = first * RELAXED[0], second * RELAXED[1], third * RELAXED[2]
    frame = config.engines.frame_size
    return Mtcnn(
        nets["pnet"],
        nets["rnet"],
        nets["onet"],
        min_face_px=wanted.min_face_px,
        pyramid_factor=wanted.pyramid_factor,
        thresholds=(first, second, third),
        max_faces=wanted.max_faces,
        drop_below_px=wanted.drop_below_px,
        max_side_px=wanted.max_side_px,
        searches={frame: nets["search"]} if frame is not None and "search" in nets else {},
    )
