"""A clip in memory: decoded once, so that what is measured is the recogniser."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jetson_face.benchmark.ground_truth import GroundTruth, read_ground_truth
from jetson_face.capture.opening import open_source
from jetson_face.capture.source import EndOfSource, FrameBroken, OpenOptions, Source
from jetson_face.core.errors import InputBrokenError, UsageError
from jetson_face.core.types import Frame, ImageU8
from jetson_face.util.machine import machine_facts

FPS_UNKNOWN = 25.0
_READ_S = 30.0
_MEMORY_SHARE = 0.5
"""More of the machine's memory than this is not filled with frames."""


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """A clip in memory. decode_fps: how fast its frames could be read, None when made here.

    path: where it was read from. stills: each picture stands alone.
    """

    name: str
    images: Sequence[ImageU8]
    fps: float
    ground_truth: GroundTruth | None = None
    decode_fps: float | None = None
    path: Path | None = None
    stills: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of its first frame."""
        height, width = self.images[0].shape[:2]
        return width, height

    def frames(self) -> Iterator[Frame]:
        """The frames, timed as a camera of this rate would."""
        for seq, image in enumerate(self.images):
            yield Frame(image, seq, round(seq * 1e9 / self.fps), 0.0, self.name)

    @property
    def bytes(self) -> int:
        """Memory that the frames take."""
        return sum(image.nbytes for image in self.images)


def read_clip(
    path: Path,
    ground_truth: GroundTruth | None = None,
    *,
    frames_max: int | None = None,
    memory_mb: int | None = None,
) -> Material:
    """A video file, or a folder of pictures, decoded into memory, and how fast that went.

    Raises what `read_source` raises, and UsageError where the ground truth is another clip's.
    """
    made = read_source(str(path), path.stem, frames_max=frames_max, memory_mb=memory_mb)
    made = replace(made, path=path)
    return made if ground_truth is None else with_ground_truth(made, ground_truth)


def read_source(
    uri: str,
    name: str,
    *,
    options: OpenOptions | None = None,
    frames_max: int | None = None,
    memory_mb: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Material:
    """The first `frames_max` frames of any source; a camera is recorded at its own rate.

    memory_mb: of the machine; at most half of it is filled. Raises InputMissingError,
    InputBrokenError, SourceError, and UsageError where it does not fit.
    """
    limit = (memory_mb or machine_facts()["memory_mb"] or 2048) * _MEMORY_SHARE * 2**20
    images: list[ImageU8] = []
    taken = 0
    source = open_source(uri, name, options=options)
    started = clock()
    try:
        for image in _images(source):
            images.append(image)
            taken += image.nbytes
            if taken > limit:
                raise UsageError(
                    f"{name}: its frames do not fit into half of the memory: measure the first "
                    f"{len(images) - 1} with --frames {len(images) - 1}"
                )
            if len(images) == frames_max:
                break
        speed = len(images) / max(clock() - started, 1e-9)
        info = source.info
    finally:
        source.close()
    if not images:
        raise InputBrokenError(f"{name}: has no frames to measure on")
    if info.is_live:
        return Material(name, images, speed)
    return Material(name, images, info.fps or FPS_UNKNOWN, None, speed, stills=info.stills)


def _images(source: Source) -> Iterator[ImageU8]:
    while True:
        try:
            yield source.read(_READ_S).image
        except (FrameBroken, TimeoutError):
            continue
        except EndOfSource:
            return


def ground_truth_beside(clip: Path, given: Path | None) -> GroundTruth | None:
    """The labels that were named, or those beside the clip; None where there are none."""
    beside = clip.with_suffix(".json")
    path = given or (beside if beside.exists() else None)
    return None if path is None else read_ground_truth(path)


def with_ground_truth(material: Material, ground_truth: GroundTruth) -> Material:
    """The clip with its labels. Raises UsageError where they are of another clip."""
    if ground_truth.size != material.size or len(ground_truth.frames) < len(material.images):
        raise UsageError(
            f"{material.name}: {len(material.images)} frames of {material.size}, but the ground "
            f"truth is of {len(ground_truth.frames)} frames of {ground_truth.size}: "
            "name the clip's own"
        )
    # Labels beyond the frames that were read are of faces that nobody could have found.
    kept = ground_truth.model_copy(update={"frames": ground_truth.frames[: len(material.images)]})
    return replace(material, fps=ground_truth.fps, ground_truth=kept)
