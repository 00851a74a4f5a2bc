"""A scene: actors who come, move and go in front of a background, rendered frame by frame."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from jetson_face.benchmark.clips.cutout import (
    Cutout,
    Owners,
    Pose,
    place,
    placed_box,
    visible_share,
)
from jetson_face.benchmark.ground_truth import TrueFace
from jetson_face.core.types import ImageU8

Interval = tuple[int, int]
"""Frames from, to (exclusive)."""


@dataclass(frozen=True, slots=True)
class Difficulty:
    """How far a scene departs from still, frontal and well lit: largest values.

    turn_deg: in the picture plane. blur_px: sigma. dark: least brightness gain. noise: sigma of
    the sensor's noise in grey levels. covered: share of an appearance's time with half a face
    covered. face_px: smallest and largest face as shares of the frame's height.
    """

    turn_deg: float = 12.0
    blur_px: float = 2.0
    dark: float = 0.45
    noise: float = 3.0
    covered: float = 0.1
    face: tuple[float, float] = (0.16, 0.34)


EASY = Difficulty(turn_deg=3, blur_px=0, dark=0.9, noise=1, covered=0)
NORMAL = Difficulty()
HARD = Difficulty(turn_deg=25, blur_px=3.5, dark=0.25, noise=8, covered=0.25, face=(0.09, 0.3))
DIFFICULTIES = {"easy": EASY, "normal": NORMAL, "hard": HARD}


@dataclass(frozen=True, slots=True, eq=False)
class Actor:
    """One appearance. id: from 1. sways: (amplitude, radians per frame, phase) of x, y, size and
    turn; each event interval is blurred, dark or covered."""

    id: int
    name: str | None
    cutout: Cutout
    frames: Interval
    centre: tuple[float, float]
    face_px: float
    sways: tuple[tuple[float, float, float], ...]
    blurred: Interval = (0, 0)
    blur_px: float = 0.0
    dim: Interval = (0, 0)
    gain: float = 1.0
    covered: Interval = (0, 0)
    bar: tuple[float, float] = (0.0, 0.0)

    def pose(self, frame: int) -> Pose | None:
        """How the actor looks in a frame; None while away."""
        if frame not in range(*self.frames):
            return None
        x, y, size, turn = (a * math.sin(w * frame + p) for a, w, p in self.sways)
        return Pose(
            centre=(self.centre[0] + x, self.centre[1] + y),
            face_px=self.face_px * (1 + size),
            angle_deg=turn,
            gain=self.gain if frame in range(*self.dim) else 1.0,
            blur_px=self.blur_px if frame in range(*self.blurred) else 0.0,
            bar=self.bar if frame in range(*self.covered) else None,
        )


def plan_actors(
    cast: Sequence[tuple[str | None, Sequence[Cutout]]],
    *,
    size: tuple[int, int],
    frames: int,
    at_once: int,
    difficulty: Difficulty,
    random: Generator,
) -> tuple[Actor, ...]:
    """Spread the cast over `at_once` places of the frame and over the time.

    Each place is taken by one after another; everybody appears, in turns, until the time is full.
    Every next appearance of a person shows the next of the person's cut-outs.
    """
    places = _places(size, at_once)
    order = [int(i) for i in random.permutation(len(cast))]
    turns = max(1, math.ceil(len(cast) / len(places)))
    span = frames / turns
    actors: list[Actor] = []
    for slot in range(turns * len(places)):
        turn, where = divmod(slot, len(places))
        name, cutouts = cast[order[slot % len(cast)]]
        shown = slot // len(cast)
        gap = 0.12 * span if turns > 1 else 0.0
        start = round(turn * span + random.uniform(0, gap))
        stop = round((turn + 1) * span - random.uniform(0, gap)) if turn < turns - 1 else frames
        actors.append(
            _actor(
                len(actors) + 1,
                (name, cutouts[shown % len(cutouts)]),
                (start, max(stop, start + 1)),
                places[where],
                size,
                difficulty,
                random,
            )
        )
    return tuple(actors)


def _places(size: tuple[int, int], count: int) -> list[tuple[float, float, float, float]]:
    """Cells (centre x, centre y, width, height) of a grid with the frame's own proportions."""
    width, height = size
    columns = max(1, min(count, round(math.sqrt(count * width / height))))
    rows = math.ceil(count / columns)
    cells = [(row, column) for row in range(rows) for column in range(columns)][:count]
    w, h = width / columns, height / rows
    return [((column + 0.5) * w, (row + 0.5) * h, w, h) for row, column in cells]


def _actor(
    actor_id: int,
    who: tuple[str | None, Cutout],
    frames: Interval,
    cell: tuple[float, float, float, float],
    size: tuple[int, int],
    difficulty: Difficulty,
    random: Generator,
) -> Actor:
    x, y, width, height = cell
    face = float(random.uniform(*difficulty.face)) * size[1]
    # Heads may touch their neighbours now and then, not stand behind them all the time.
    face = min(face, 0.62 * width, 0.55 * height)
    room_x, room_y = max(width / 2 - 0.75 * face, 0.0), max(height / 2 - 0.8 * face, 0.0)
    amplitudes = (1.05 * room_x, 0.9 * room_y, 0.2, difficulty.turn_deg)
    sways = tuple(
        (
            float(random.uniform(0.5, 1) * amplitude),
            float(random.uniform(0.02, 0.05)),
            float(random.uniform(0, 2 * math.pi)),
        )
        for amplitude in amplitudes
    )
    upper = bool(random.random() < 0.3)
    return Actor(
        id=actor_id,
        name=who[0],
        cutout=who[1],
        frames=frames,
        centre=(x, y),
        face_px=face,
        sways=sways,
        blurred=_event(frames, 0.15 if difficulty.blur_px else 0.0, random),
        blur_px=float(random.uniform(0.5, 1) * difficulty.blur_px),
        dim=_event(frames, 0.2, random),
        gain=float(random.uniform(difficulty.dark, 1.0)),
        covered=_event(frames, difficulty.covered, random),
        bar=(0.0, 0.45) if upper else (0.55, 1.05),
    )


def _event(frames: Interval, share: float, random: Generator) -> Interval:
    length = round(share * (frames[1] - frames[0]))
    start = frames[0] + int(random.integers(0, max(frames[1] - frames[0] - length, 0) + 1))
    return start, start + length


def background(size: tuple[int, int], random: Generator) -> ImageU8:
    """A room without faces: a wall lighter at the top, some boards and lines, blurred."""
    width, height = size
    top, bottom = random.uniform(110, 190), random.uniform(60, 110)
    rows = np.linspace(top, bottom, height)[:, None, None]
    tint = random.uniform(0.85, 1.0, 3)
    wall = np.ascontiguousarray(np.broadcast_to(rows * tint, (height, width, 3)), np.float32)
    for _ in range(int(random.integers(4, 9))):
        x, y = int(random.integers(0, width)), int(random.integers(0, height))
        w, h = int(random.integers(20, width // 3)), int(random.integers(20, height // 2))
        colour = tuple(float(c) for c in random.uniform(50, 190, 3))
        cv2.rectangle(wall, (x, y), (x + w, y + h), colour, -1)
    soft = cv2.GaussianBlur(wall, (0, 0), max(width, height) / 250)
    return np.asarray(np.clip(soft, 0, 255), np.uint8)


class ClipScene:
    """Renders the actors of a clip; the same arguments give the same pixels."""

    def __init__(
        self, actors: Sequence[Actor], backdrop: ImageU8, *, noise: float, seed: int
    ) -> None:
        self.actors = tuple(actors)
        self._backdrop = backdrop
        self._seed = seed
        height, width = backdrop.shape[:2]
        # One noise picture, shifted in every frame: drawing a new one takes longer than the rest.
        grain = np.random.default_rng(seed).normal(0, noise, (height, width, 1))
        self._noise = np.rint(grain).astype(np.int16) if noise > 0 else None

    def render(self, frame: int) -> tuple[ImageU8, tuple[TrueFace, ...]]:
        """Frame `frame` as (H, W, 3) uint8 BGR, and the faces in it; nearer (larger) ones last."""
        scene = self._backdrop.copy()
        owners = np.zeros(scene.shape[:2], np.int32)
        present = [(a, p) for a in self.actors if (p := a.pose(frame)) is not None]
        for actor, pose in sorted(present, key=lambda both: both[1].face_px):
            place(scene, owners, actor.cutout, pose, actor.id)
        faces = tuple(_true_face(actor, pose, owners) for actor, pose in present)
        if self._noise is not None:
            random = np.random.default_rng((self._seed, frame))
            shift = tuple(int(n) for n in random.integers(0, min(scene.shape[:2]), 2))
            noisy = scene.astype(np.int16) + np.roll(self._noise, shift, (0, 1))
            scene = np.clip(noisy, 0, 255).astype(np.uint8)
        return scene, tuple(face for face in faces if face.visible > 0)

    def frames(self, count: int) -> Iterator[tuple[ImageU8, tuple[TrueFace, ...]]]:
        """The first `count` frames."""
        return (self.render(i) for i in range(count))


def _true_face(actor: Actor, pose: Pose, owners: Owners) -> TrueFace:
    box = placed_box(actor.cutout, pose)
    rounded = tuple(round(edge, 1) for edge in box)
    share = round(visible_share(owners, box, actor.id), 3)
    return TrueFace(actor=actor.id, name=actor.name, box=rounded, visible=share)
