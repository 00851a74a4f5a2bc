"""From a cast to a clip: in memory, or a video with ground truth and enrolment photos beside it."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from filecmp import cmp
from pathlib import Path

import numpy as np

from jetson_face.benchmark.clips.cast import Member
from jetson_face.benchmark.clips.cutout import Cutout, cut_out
from jetson_face.benchmark.clips.scene import NORMAL, ClipScene, Difficulty, background, plan_actors
from jetson_face.benchmark.ground_truth import GroundTruth, TrueFace, write_ground_truth
from jetson_face.core.errors import InputBrokenError, OutputError, UsageError
from jetson_face.core.types import Box, ImageU8
from jetson_face.util.files import staged
from jetson_face.util.images import read_picture
from jetson_face.util.whole_video import CODECS, WholeVideo

log = logging.getLogger(__name__)

_FACE_MIN_PX = 40
"""A face smaller than this in the photo would be enlarged into a blur."""


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """What a clip is like. size: (width, height). at_once: faces in view together."""

    size: tuple[int, int] = (1280, 720)
    frames: int = 250
    fps: float = 25.0
    at_once: int = 3
    seed: int = 1
    difficulty: Difficulty = field(default=NORMAL)

    def __post_init__(self) -> None:
        width, height = self.size
        if not (64 <= width <= 7680 and 64 <= height <= 4320):
            raise UsageError(f"a clip is 64x64 to 7680x4320 pixels, got {width}x{height}")
        if self.frames < 1 or self.at_once < 1 or self.fps <= 0:
            raise UsageError("a clip needs at least 1 frame, 1 face and more than 0 frames/s")


@dataclass(frozen=True, slots=True, eq=False)
class Role:
    """Somebody of the cast, ready to be pasted. name None: a stranger. enrol: photos to enrol."""

    name: str | None
    cutouts: tuple[Cutout, ...]
    enrol: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A clip that is rendered when it is asked for its frames."""

    plan: ClipPlan
    roles: tuple[Role, ...]
    scene: ClipScene
    photos_shared: bool = False

    def rendered(self) -> Iterator[tuple[ImageU8, tuple[TrueFace, ...]]]:
        """Each frame with its faces."""
        return self.scene.frames(self.plan.frames)

    def ground_truth(self, faces: Sequence[tuple[TrueFace, ...]]) -> GroundTruth:
        """The labels, given the faces of the rendered frames."""
        enrol = {
            role.name: tuple(str(photo) for photo in role.enrol)
            for role in self.roles
            if role.name is not None and role.enrol
        }
        return GroundTruth(
            size=self.plan.size,
            fps=self.plan.fps,
            seed=self.plan.seed,
            enrol=enrol,
            photos_shared=self.photos_shared,
            frames=tuple(faces),
        )


def roles_of(
    cast: Sequence[Member],
    locate: Callable[[ImageU8], Box | None],
    *,
    photos_max: int = 8,
    read: Callable[[Path], ImageU8] = read_picture,
) -> tuple[Role, ...]:
    """Cut the heads out of the cast's photos. locate: the box of the largest face, None for none.

    Photos that cannot be read, without a face or with a tiny one are passed over; at most
    `photos_max` of a person are used. Raises InputBrokenError when nothing of a person is left.
    """
    roles = []
    for member in cast:
        cutouts: list[Cutout] = []
        for photo in member.show:
            if len(cutouts) == photos_max:
                break
            made = _cutout(photo, locate, read)
            if made is not None:
                cutouts.append(made)
        if not cutouts:
            who = member.name or member.show[0].parent.name
            raise InputBrokenError(
                f"{member.show[0].parent}: no face of {_FACE_MIN_PX} pixels or more in any of the "
                f"{len(member.show)} photos of {who} that are left for the clip"
            )
        roles.append(Role(member.name, tuple(cutouts), member.enrol))
    return tuple(roles)


def _cutout(
    photo: Path, locate: Callable[[ImageU8], Box | None], read: Callable[[Path], ImageU8]
) -> Cutout | None:
    try:
        image = read(photo)
    except InputBrokenError as error:
        log.warning("passed over: %s", error)
        return None
    box = locate(image)
    if box is None or max(box[2] - box[0], box[3] - box[1]) < _FACE_MIN_PX:
        log.debug("%s: no face that is large enough", photo)
        return None
    return cut_out(image, box)


def compose_clip(plan: ClipPlan, roles: Sequence[Role], *, photos_shared: bool = False) -> Clip:
    """Plan who appears where and when; the same plan and roles give the same clip."""
    random = np.random.default_rng(plan.seed)
    backdrop = background(plan.size, random)
    actors = plan_actors(
        [(role.name, role.cutouts) for role in roles],
        size=plan.size,
        frames=plan.frames,
        at_once=plan.at_once,
        difficulty=plan.difficulty,
        random=random,
    )
    scene = ClipScene(actors, backdrop, noise=plan.difficulty.noise, seed=plan.seed)
    return Clip(plan, tuple(roles), scene, photos_shared)


def in_memory(clip: Clip) -> tuple[list[ImageU8], GroundTruth]:
    """All frames and their ground truth."""
    images, faces = zip(*clip.rendered(), strict=True)
    return list(images), clip.ground_truth(faces)


def ground_truth_path(video: Path) -> Path:
    """Where the ground truth of a clip is: beside it, `.json` for the video's suffix."""
    return video.with_suffix(".json")


def record(
    clip: Clip, path: Path, *, progress: Callable[[int], None] = lambda done: None
) -> GroundTruth:
    """Write the video, its ground truth and copies of the enrolment photos (`STEM_enrol/PERSON/`),
    all of them or none.

    The photos travel along, so that the clip can be used on another machine. progress: called
    with the number of frames written. Raises OutputError, and UsageError where a copy would take
    the place of another photo.
    """
    if path.suffix.lower() not in CODECS:
        raise OutputError(f"{path}: clips are written as {' or '.join(CODECS)}: choose one of them")
    copies = _copies(clip, path)
    wanted = [copy for photos in copies.values() for copy in photos if _is_wanted(*copy, path)]
    with staged(path.parent) as stage:
        ground_truth = clip.ground_truth(_write_video(clip, stage / path.name, progress))
        for photo, name in wanted:
            _copy(photo, stage / name)
        enrol = {who: tuple(name for _, name in photos) for who, photos in copies.items()}
        ground_truth = ground_truth.model_copy(update={"enrol": enrol})
        write_ground_truth(ground_truth_path(stage / path.name), ground_truth)
    return ground_truth


def _write_video(
    clip: Clip, path: Path, progress: Callable[[int], None]
) -> list[tuple[TrueFace, ...]]:
    faces = []
    with closing(WholeVideo(path)) as video:
        video.start(clip.plan.fps, clip.plan.size)
        for done, (image, present) in enumerate(clip.rendered(), 1):
            video.write(image)
            faces.append(present)
            progress(done)
        video.keep()
    return faces


def _copies(clip: Clip, video: Path) -> dict[str, list[tuple[Path, str]]]:
    """The photos to enrol by person, each with its copy's path relative to the video's folder."""
    return {
        name: [(Path(photo), f"{video.stem}_enrol/{name}/{Path(photo).name}") for photo in photos]
        for name, photos in clip.ground_truth(()).enrol.items()
    }


def _is_wanted(photo: Path, name: str, video: Path) -> bool:
    """Not so where the photo itself, or a copy of it, is there. Raises UsageError for another."""
    there = video.parent / name
    if not there.is_file():
        return True
    if cmp(photo, there, shallow=False):
        return False
    raise UsageError(
        f"{there}: another photo than {photo} is there, and would be overwritten: give the clip "
        "another name, or move that folder"
    )


def _copy(photo: Path, to: Path) -> None:
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(photo, to)
        with to.open("rb+") as file:
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(f"{to}: cannot be written: {error.strerror or error}") from error
