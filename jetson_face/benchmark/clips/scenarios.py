"""Clips that make tracks go wrong: cuts, crossings, occlusion, look-alikes, turns, dark, decoys."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.random import Generator

from jetson_face.benchmark.clips import decoys
from jetson_face.benchmark.clips.cutout import Cutout, Pose, place
from jetson_face.benchmark.clips.scene import Actor, ClipScene, background
from jetson_face.benchmark.ground_truth import TrueFace
from jetson_face.core.types import Box, ImageU8

SIZE = (320, 240)
FPS = 25.0
_SHOT = 20
_LONG = 75
_STILL = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class CastMember:
    """One person of the clips. name None: not enrolled. cutouts: of pictures that are not enrolled.
    alike: the place in the other list of the person who looks most like them. picture, face: one
    whole picture (H, W, 3) BGR, and where its face is."""

    name: str | None
    cutouts: tuple[Cutout, ...]
    alike: int
    picture: ImageU8
    face: Box


@dataclass(frozen=True, slots=True, eq=False)
class TrackClip:
    """A clip and what is in it. cuts: frames at which another shot begins."""

    kind: str
    images: tuple[ImageU8, ...]
    faces: tuple[tuple[TrueFace, ...], ...]
    cuts: tuple[int, ...] = ()

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.images) / FPS


@dataclass(slots=True, eq=False)
class _Stage:
    """Draws people for one clip; every appearance has a number of its own."""

    enrolled: Sequence[CastMember]
    others: Sequence[CastMember]
    random: Generator
    actors: int = 0

    def anybody(self, but: CastMember | None = None) -> CastMember:
        """Somebody, more often enrolled than not."""
        while True:
            people = self.enrolled if self.random.random() < 0.65 else self.others
            member = people[int(self.random.integers(len(people)))]
            if member is not but:
                return member

    def actor(self, who: CastMember, frames: int, x: float = 160.0) -> Actor:
        """A standing appearance from the first frame on."""
        self.actors += 1
        cutout = who.cutouts[int(self.random.integers(len(who.cutouts)))]
        sway = (5.0, 0.09, float(self.random.uniform(0, 6)))
        return Actor(
            self.actors,
            who.name,
            cutout,
            (0, frames),
            (x + float(self.random.uniform(-12, 12)), 120.0 + float(self.random.uniform(-8, 8))),
            float(self.random.uniform(72, 92)),
            (sway, _STILL, _STILL, (4.0, 0.07, 0.0)),
        )


def _cut(stage: _Stage, *, one_room: bool) -> list[tuple[ClipScene, int]]:
    """Six shots of one person each, in nearly the same place: a track has every reason to go on."""
    room = background(SIZE, stage.random)
    shots, who = [], None
    for _ in range(6):
        who = stage.anybody(who)
        actor = stage.actor(who, _SHOT)
        backdrop = room if one_room else background(SIZE, stage.random)
        shots.append((_scene(stage, [actor], backdrop=backdrop), _SHOT))
    return shots


def _crossing(stage: _Stage) -> list[tuple[ClipScene, int]]:
    """Two people walk past each other, one in front."""
    first = stage.anybody()
    pair = []
    for who, way in ((first, 1), (stage.anybody(first), -1)):
        actor = stage.actor(who, _LONG)
        walk = (105.0, math.pi / _LONG, -way * math.pi / 2)
        pair.append(replace(actor, sways=(walk, *actor.sways[1:])))
    return [(_scene(stage, pair), _LONG)]


def _occlusion(stage: _Stage) -> list[tuple[ClipScene, int]]:
    """A board hides a face for a third of a second; half of the time somebody else comes out."""
    first = stage.anybody()
    same = stage.random.random() < 0.5
    start, stop = 32, 40
    one = replace(stage.actor(first, _LONG if same else 36), covered=(start, stop), bar=(-0.3, 1.3))
    if same:
        return [(_scene(stage, [one]), _LONG)]
    other = stage.actor(stage.anybody(first), _LONG)
    other = replace(
        other, frames=(36, _LONG), centre=one.centre, covered=(36, stop), bar=(-0.3, 1.3)
    )
    return [(_scene(stage, [one, other]), _LONG)]


def _look_alikes(stage: _Stage) -> list[tuple[ClipScene, int]]:
    """Somebody enrolled beside the person who looks most like them and is not."""
    one = stage.enrolled[int(stage.random.integers(len(stage.enrolled)))]
    pair = [stage.actor(one, _LONG, 85.0), stage.actor(stage.others[one.alike], _LONG, 235.0)]
    return [(_scene(stage, pair), _LONG)]


def _turned(stage: _Stage) -> list[tuple[ClipScene, int]]:
    """Two heads that tilt by 35 degrees and are seen from the side, narrower."""
    actors = []
    for x in (85.0, 235.0):
        actor = stage.actor(stage.anybody(), _LONG, x)
        turn = (35.0, 0.12, float(stage.random.uniform(0, 6)))
        narrow = _foreshortened(actor.cutout, float(stage.random.uniform(0.6, 0.8)))
        actors.append(replace(actor, cutout=narrow, sways=(*actor.sways[:3], turn)))
    return [(_scene(stage, actors), _LONG)]


def _low_light(stage: _Stage) -> list[tuple[ClipScene, int]]:
    """Two people in a dark room, a noisy sensor."""
    gain = float(stage.random.uniform(0.12, 0.3))
    actors = [
        replace(stage.actor(stage.anybody(), _LONG, x), dim=(0, _LONG), gain=gain)
        for x in (85.0, 235.0)
    ]
    dark = np.asarray(background(SIZE, stage.random) * gain, np.uint8)
    return [(_scene(stage, actors, backdrop=dark, noise=8.0), _LONG)]


def _non_faces(stage: _Stage) -> list[tuple[ClipScene, int]]:
    """Five shots of four things that are no face."""
    shots = []
    for _ in range(5):
        backdrop, random = background(SIZE, stage.random), stage.random
        made = [decoys.back_of_head(random), decoys.texture(random)]
        for _ in range(2):
            who = stage.anybody()
            made.append(decoys.beside_face(who.picture, who.face, random))
        decoys.put(backdrop, made, random)
        shots.append((_scene(stage, [], backdrop=backdrop), 20))
    return shots


def _posters(stage: _Stage) -> list[tuple[ClipScene, int]]:
    """Two faces printed on paper, on a wall; nobody is there."""
    backdrop = background(SIZE, stage.random)
    owners = np.zeros(backdrop.shape[:2], np.int32)
    for x in (85, 235):
        cv2.rectangle(backdrop, (x - 62, 30), (x + 62, 215), (205, 210, 215), -1)
        who = stage.anybody()
        place(backdrop, owners, who.cutouts[0], Pose((x, 120), 76.0), 0)
    return [(_scene(stage, [], backdrop=backdrop), _LONG)]


_KINDS: dict[str, tuple[int, Callable[[_Stage], list[tuple[ClipScene, int]]]]] = {
    "cuts": (20, lambda stage: _cut(stage, one_room=False)),
    "cuts in one room": (8, lambda stage: _cut(stage, one_room=True)),
    "crossing": (8, _crossing),
    "occlusion": (8, _occlusion),
    "look-alikes": (6, _look_alikes),
    "turned heads": (6, _turned),
    "low light": (6, _low_light),
    "non-faces": (12, _non_faces),
    "posters": (4, _posters),
}
KINDS = tuple(_KINDS)
NO_FACES = ("non-faces", "posters")


def planned(share: float = 1.0, only: Collection[str] = KINDS) -> list[str]:
    """The kind of each clip; share: of the full set, at least one of a kind; only: these kinds."""
    return [
        kind
        for kind, (count, _) in _KINDS.items()
        if kind in only
        for _ in range(max(1, round(count * share)))
    ]


def make_track_clip(
    kind: str,
    number: int,
    enrolled: Sequence[CastMember],
    others: Sequence[CastMember],
    *,
    seed: int = 1,
) -> TrackClip:
    """Clip `number` of a kind, of `KINDS`; the same arguments give the same pixels."""
    random = np.random.default_rng((seed, KINDS.index(kind), number))
    stage = _Stage(enrolled, others, random)
    images: list[ImageU8] = []
    faces: list[tuple[TrueFace, ...]] = []
    cuts: list[int] = []
    for scene, count in _KINDS[kind][1](stage):
        cuts.append(len(images))
        for image, present in scene.frames(count):
            images.append(image)
            faces.append(present)
    return TrackClip(kind, tuple(images), tuple(faces), tuple(cuts[1:]))


def _scene(
    stage: _Stage,
    actors: Sequence[Actor],
    *,
    backdrop: ImageU8 | None = None,
    noise: float = 2.0,
) -> ClipScene:
    room = background(SIZE, stage.random) if backdrop is None else backdrop
    return ClipScene(actors, room, noise=noise, seed=int(stage.random.integers(1 << 30)))


def _foreshortened(cutout: Cutout, width: float) -> Cutout:
    """The head narrower by `width`, the far side smaller, on a canvas of the same size."""
    side = len(cutout.image)
    half, middle, drop = side * width / 2, side / 2, side * 0.06
    source = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float32)
    near, far = middle - half, middle + half
    goal = np.array([[near, 0], [far, drop], [far, side - drop], [near, side]], np.float32)
    matrix = cv2.getPerspectiveTransform(source, goal)
    image = cv2.warpPerspective(cutout.image, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.warpPerspective(cutout.mask, matrix, (side, side))
    left, top, right, bottom = cutout.face
    wide = (right - left) * width / 2
    box = ((left + right) / 2 - wide, top, (left + right) / 2 + wide, bottom)
    return Cutout(np.asarray(image, np.uint8), np.asarray(mask, np.float32), box)
