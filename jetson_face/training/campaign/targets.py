"""Faces, teachers and what they teach: the target's axes, hints, and views seen more than once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from jetson_face.core.errors import InputBrokenError
from jetson_face.core.types import I64, ImageU8
from jetson_face.training import data
from jetson_face.training.campaign.rebuild import Rebuilt, Teacher

if TYPE_CHECKING:
    from jetson_face.training.campaign.settings import CampaignConfig, TeacherSettings


class CampaignFaces:
    """All faces of the packs, on the disk (CPU) or in the device's memory, and stored vectors.

    Raises:
        InputMissingError, InputBrokenError: a pack or its vectors are absent or do not fit.
    """

    def __init__(self, config: CampaignConfig) -> None:
        self.device = torch.device(config.device)
        self._parts: list[ImageU8] = []
        people: list[str] = []
        for pack in config.packs:
            faces, names = data.open_packed(pack.packed, config.cache)
            self._parts.append(faces)
            people += names
        self._starts = np.cumsum([0, *map(len, self._parts)])
        known = {p: i for i, p in enumerate(sorted({p for p in people if p}))}
        self.labels = np.array([known.get(p, -1) for p in people], np.int64)
        self.stored = {
            name: torch.from_numpy(_stored(config, name, how)).to(self.device)
            for name, how in config.teachers.items()
            if how.file is None
        }
        self._all: Tensor | None = None
        if self.device.type == "cuda":
            held = [torch.from_numpy(np.array(p)).to(self.device) for p in self._parts]
            self._all = torch.cat(held)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, rows: I64) -> Tensor:
        """Faces (N, 3, 112, 112), float, 0 to 255."""
        if self._all is not None:
            picked = self._all[torch.from_numpy(rows).to(self.device)]
        else:
            part = np.searchsorted(self._starts, rows, side="right") - 1
            picked = torch.from_numpy(
                np.stack(
                    [self._parts[p][r - self._starts[p]] for p, r in zip(part, rows, strict=True)]
                )
            )
        return picked.permute(0, 3, 1, 2).float()


def _stored(config: CampaignConfig, name: str, how: TeacherSettings) -> NDArray[np.float16]:
    parts = []
    for pack in config.packs:
        if name not in pack.vectors:
            raise InputBrokenError(f"{pack.packed}: no stored vectors of the teacher {name}")
        parts.append(np.load(data.find(pack.vectors[name]), allow_pickle=False))
    out = np.concatenate(parts)
    if out.shape[1] != how.dim:
        raise InputBrokenError(f"{name}: vectors of {out.shape[1]} numbers, not {how.dim}")
    return np.asarray(out, np.float16)


@dataclass
class Lesson:
    """What a batch is taught. view: (N, 3, 112, 112) uint8. target: (N, dim). hints: by side."""

    view: Tensor
    target: Tensor
    hints: dict[int, Tensor]


class Teachers(nn.Module):
    """The live teachers; their joined vectors' mean, and the axes that the target is turned to.

    axes: (sum of their numbers, dim). centre: (sum of their numbers,).
    """

    axes: Tensor
    centre: Tensor

    def __init__(self, config: CampaignConfig, faces: CampaignFaces) -> None:
        super().__init__()
        self.told, self._faces = config.teachers, faces
        self._bf16 = config.optim.bf16
        self.live = nn.ModuleDict()
        self.hint_of: dict[int, str] = {}
        for name, how in config.teachers.items():
            if how.file is None:
                continue
            wanted = {s: tap for s, tap in how.taps.items() if s in config.loss.hints}
            self.hint_of |= dict.fromkeys(wanted, name)
            network = Rebuilt(data.find(how.file), tuple(wanted.values()))
            self.live[name] = Teacher(network, how.colour, how.mean, how.std, wanted)
        total = sum(how.dim for how in config.teachers.values() if how.weight > 0)
        self.register_buffer("axes", torch.eye(total)[:, : config.dim].clone())
        self.register_buffer("centre", torch.zeros(total))
        self.to(faces.device, memory_format=torch.channels_last)

    @property
    def target(self) -> str:
        """Whose vectors are joined, how many numbers, weight, and whether of the changed crop."""
        return ", ".join(
            f"{name} {how.dim} x {how.weight:g} {'stored' if how.file is None else 'live'}"
            for name, how in self.told.items()
            if how.weight > 0
        )

    def ask(self, view: Tensor, rows: I64) -> tuple[Tensor, dict[int, Tensor]]:
        """Of views (N, 3, 112, 112), float: joined vectors (N, sum of numbers), and the hints."""
        given = view.contiguous(memory_format=torch.channels_last)
        parts: list[Tensor] = []
        hints: dict[int, Tensor] = {}
        with torch.no_grad():
            for name, how in self.told.items():
                if how.file is None:
                    at = torch.from_numpy(rows).to(view.device)
                    vector = F.normalize(self._faces.stored[name][at].float(), dim=1)
                else:
                    with torch.autocast(view.device.type, torch.bfloat16, enabled=self._bf16):
                        vector, taps = self.live[name](given)
                    hints |= {side: taps[side] for side in taps if self.hint_of[side] == name}
                if how.weight > 0:
                    parts.append(how.weight * vector)
            return torch.cat(parts, 1), hints

    def turn(self, joined: Tensor) -> Tensor:
        """Joined vectors to unit targets (N, dim)."""
        return F.normalize((joined - self.centre) @ self.axes, dim=1)

    def learn_axes(self, joined: Tensor, own: Tensor) -> None:
        """The strongest directions of ``joined``, turned as a whole to the network's ``own``.

        Centred first: what all faces share says nothing of who it is, and a network that is
        not sure answers with it. joined: (N, sum of numbers); own: (N, dim), centred, unit length.
        """
        self.centre.copy_(joined.mean(0))
        joined = joined - self.centre
        _, axes = torch.linalg.eigh((joined.T @ joined).double())
        self.axes.copy_(axes.flip(1)[:, : self.axes.shape[1]].float())
        # Schoenemann, "A generalized solution of the orthogonal Procrustes problem", 1966
        left, _, right = torch.linalg.svd((F.normalize(joined @ self.axes, dim=1).T @ own).double())
        self.axes.copy_(self.axes @ (left @ right).float())


class Hints(nn.Module):
    """1x1 projections from the student's maps to the teacher's, thrown away afterwards.

    Romero et al., "FitNets", 2015, section 2.2. Each channel's error counts in units of its
    variance, so that a loss of 1 is as good as always saying the mean.
    """

    def __init__(self, shapes: dict[int, tuple[int, int]]) -> None:
        super().__init__()
        self.project = nn.ModuleDict()
        for side, (mine, theirs) in shapes.items():
            self.project[str(side)] = nn.Conv2d(mine, theirs, 1)
            self.register_buffer(f"spread{side}", torch.ones(theirs))

    def loss(self, side: int, mine: Tensor, theirs: Tensor) -> Tensor:
        """Mean squared error over variance; maps (N, C, side, side)."""
        spread: Tensor = getattr(self, f"spread{side}")
        given: Tensor = self.project[str(side)](mine)
        error = (given.float() - theirs.float()) / spread[None, :, None, None]
        return error.square().mean()


class Ring:
    """The last views with their lessons, to be seen again: a teacher is asked once for several.

    ``targets_only`` keeps what the bank of negatives needs and no views.
    """

    def __init__(self, size: int, targets_only: bool = False) -> None:
        self.size, self.filled, self._next = size, 0, 0
        self._targets_only = targets_only
        self._held: dict[str, Tensor] = {}

    def add(self, lesson: Lesson) -> None:
        """Keep a batch in place of the oldest."""
        named = {"target": lesson.target.half()}
        if not self._targets_only:
            named["view"] = lesson.view
            named |= {f"hint{side}": value.half() for side, value in lesson.hints.items()}
        count = len(lesson.view)
        at = (torch.arange(count, device=lesson.view.device) + self._next) % self.size
        for name, value in named.items():
            if name not in self._held:
                shape = (self.size, *value.shape[1:])
                self._held[name] = torch.empty(shape, dtype=value.dtype, device=value.device)
            self._held[name][at] = value
        self._next = (self._next + count) % self.size
        self.filled = min(self.filled + count, self.size)

    def take_targets(self) -> Tensor:
        """The targets of all views that are kept (M, dim)."""
        return self._held["target"][: self.filled].float()

    def take(self, count: int, draw: torch.Generator, flip: float = 0.0) -> Lesson:
        """Views drawn at random; each mirrored with the chance ``flip``."""
        at = torch.randint(0, self.filled, (count,), generator=draw, device=draw.device)
        held = {name: value[at] for name, value in self._held.items()}
        hints = {int(n[4:]): v for n, v in held.items() if n.startswith("hint")}
        lesson = Lesson(held["view"], held["target"].float(), hints)
        return mirrored(lesson, flip, draw) if flip else lesson


def joined(one: Lesson, other: Lesson) -> Lesson:
    """Both batches as one."""
    hints = {side: torch.cat([v.half(), other.hints[side]]) for side, v in one.hints.items()}
    return Lesson(torch.cat([one.view, other.view]), torch.cat([one.target, other.target]), hints)


def mirrored(lesson: Lesson, chance: float, draw: torch.Generator) -> Lesson:
    """Some of its views, and their hints' maps, as their mirror images; the targets stay.

    So a view's target is, on average, that of the face and of its mirror image: who it is does not
    depend on the side, and what a network says of both is the better answer.
    """
    chosen = torch.rand(len(lesson.view), generator=draw, device=draw.device) < chance
    wide = chosen[:, None, None, None]
    view = torch.where(wide, lesson.view.flip(3), lesson.view)
    hints = {side: torch.where(wide, maps.flip(3), maps) for side, maps in lesson.hints.items()}
    return Lesson(view, lesson.target, hints)
