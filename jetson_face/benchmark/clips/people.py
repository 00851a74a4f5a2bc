"""Clips of people from a folder of photos, whose faces the configured detector finds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from jetson_face.benchmark.clip import Material
from jetson_face.benchmark.clips.builtin import builtin_clip
from jetson_face.benchmark.clips.cast import choose_cast, people_in
from jetson_face.benchmark.clips.make import Clip, ClipPlan, compose_clip, in_memory, roles_of
from jetson_face.config import Config
from jetson_face.core.types import Box, ImageU8
from jetson_face.detection.detector import Detector
from jetson_face.factory.networks import build_detector

_ENROL = 3
_KNOWN = 0.6


def made_material(config: Config, people: Path | None, plan: ClipPlan) -> Material:
    """A made clip in memory to measure on: of the folder's people, most of them enrolled, or the
    built-in one. Raises what making it raises."""
    if people is None:
        clip = builtin_clip(plan)
    else:
        known = max(1, round(_KNOWN * plan.at_once))
        rest = max(1, plan.at_once - known)
        clip = clip_of_people(config, people, plan, known=known, strangers=rest, enrol=_ENROL)
    images, ground_truth = in_memory(clip)
    width, height = plan.size
    return Material(f"{plan.at_once}-face-{width}x{height}", images, plan.fps, ground_truth)


def clip_of_people(
    config: Config, people: Path, plan: ClipPlan, *, known: int, strangers: int, enrol: int
) -> Clip:
    """A clip of people from a folder; the detector of the configuration finds their heads."""
    cast = choose_cast(
        people_in(people), known=known, strangers=strangers, enrol=enrol, seed=plan.seed
    )
    with closing(build_detector(config, relaxed=True)) as detector:
        return compose_clip(plan, roles_of(cast, largest_face(detector)))


def largest_face(detector: Detector) -> Callable[[ImageU8], Box | None]:
    """Finds the box of a picture's largest face; None where there is no face."""

    def locate(image: ImageU8) -> Box | None:
        boxes = detector.detect(image).boxes
        if not len(boxes):
            return None
        sides = boxes[:, 2:] - boxes[:, :2]
        left, top, right, bottom = (float(edge) for edge in boxes[sides.prod(axis=1).argmax()])
        return left, top, right, bottom

    return locate
