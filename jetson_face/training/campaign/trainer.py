"""The campaign's loop: lessons from the teachers, steps, averaged weights, checkpoints."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jetson_face.core.types import I64
from jetson_face.training import data, losses
from jetson_face.training.campaign import targets
from jetson_face.training.campaign.optimisers import optimisers, rate_part
from jetson_face.training.campaign.people import PersonMiddles, vectors_of
from jetson_face.training.campaign.starting import ridge, start_from_kept, start_from_onnx
from jetson_face.training.campaign.state import read_small
from jetson_face.training.campaign.targets import CampaignFaces, Hints, Lesson, Ring, Teachers
from jetson_face.training.campaign.views import changed, mixed
from jetson_face.training.curves import CurveLog
from jetson_face.training.loop import CHECKPOINT, build_net, write_checkpoint
from jetson_face.training.net import SqueezeNetFace, average

if TYPE_CHECKING:
    from jetson_face.training.campaign.settings import CampaignConfig

log = logging.getLogger(__name__)


def embed_faces(net: SqueezeNetFace, view: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
    """Views (N, 3, 112, 112), 0 to 255, to unit vectors and the last map of each side."""
    raw, maps = _raw_vectors(net, view)
    return F.normalize(raw, dim=1), maps


def _raw_vectors(net: SqueezeNetFace, view: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
    x = ((view.float() - 127.5) / 127.5).contiguous(memory_format=torch.channels_last)
    maps: dict[int, Tensor] = {}
    for layer in net.trunk:
        x = layer(x)
        maps[x.shape[-1]] = x
    return net.head(x).float(), maps


class Campaign:
    """One run folder. ``prepare`` or ``resume`` first, then ``train``."""

    def __init__(
        self,
        config: CampaignConfig,
        clock: Callable[[], float] = time.monotonic,
        on_saved: Callable[[Path], None] = lambda _: None,
    ) -> None:
        torch.manual_seed(config.seed)
        torch.set_num_threads(config.threads)
        self.config, self._clock, self._on_saved = config, clock, on_saved
        self.device = torch.device(config.device)
        self.faces = CampaignFaces(config)
        order = np.random.default_rng((config.seed, 9)).permutation(len(self.faces))
        self.held_out = np.sort(order[: config.held_out])
        self.rows = np.sort(order[config.held_out :])
        self.teachers = Teachers(config, self.faces)
        self.net = build_net(config.net).to(self.device, memory_format=torch.channels_last)
        self.ema = build_net(config.net).to(self.device, memory_format=torch.channels_last)
        self.ema.eval().requires_grad_(False)
        self.hints = Hints(self._hint_shapes()).to(self.device)
        self.optim = optimisers([self.net, self.hints], config.optim)
        self.ring = Ring(config.ring, targets_only=config.replay == 1)
        self.walk = data.Walk(self.rows, config.seed)
        self.people = self._people() if config.people.share else None
        self._wanted: dict[tuple[int, int], Tensor] = {}
        self.cosine: tuple[float, float] | None = None
        self.step = self.samples = self.asked = 0
        self.spent_s = self.cycle_s = 0.0
        self.cycle_samples = 0
        self.curves = CurveLog(config.run / "curves.csv")

    def _hint_shapes(self) -> dict[int, tuple[int, int]]:
        blank = torch.zeros(2, 3, 112, 112, device=self.device)
        self.net.eval()
        with torch.no_grad():
            _, mine = embed_faces(self.net, blank)
            _, theirs = self.teachers.ask(blank, self.rows[:1].repeat(2))
        return {s: (mine[s].shape[1], theirs[s].shape[1]) for s in self.config.loss.hints}

    def _people(self) -> PersonMiddles:
        """From one pass of the teachers over the labelled faces that are trained on."""
        labels = self.faces.labels
        rows = self.rows[labels[self.rows] >= 0]
        packs = [pack.packed for pack in self.config.packs]
        files = [how.file for how in self.config.teachers.values() if how.file is not None]
        digests = [sha256(data.find(path).read_bytes()).hexdigest() for path in (*packs, *files)]
        joined = vectors_of(
            rows,
            lambda part: self.teachers.ask(self.faces.take(part), part)[0],
            self.config.cache,
            f"{self.teachers.target} {digests}",
        )
        out = PersonMiddles(labels, rows, joined.to(self.device), self.config.people.least_cosine)
        log.info("%d of %d labelled faces lean to their person's middle", out.faces, len(rows))
        return out

    @property
    def done(self) -> float:
        """Part of the cycle behind us."""
        how = self.config.optim
        if how.samples is not None:
            return (self.samples - self.cycle_samples) / how.samples
        return (self.spent_s - self.cycle_s) / (60 * how.minutes)

    def prepare(self) -> None:
        """Before the first step: the start's weights, and target and hints fitted to them.

        The target is turned as a whole to where the network's own vectors lie, which leaves all
        its cosines as they are; the hints' projections are the least-squares ones. So the trunk is
        not shaken by what would have to be learned first.
        """
        config = self.config
        start = None if config.start is None else data.find(config.start)
        kept = None if start is None or start.suffix != ".npz" else read_small(start)
        if kept is not None and self._go_on_from(kept):
            return
        count = min(config.prepare_faces, len(self.rows))
        rows = np.random.default_rng((config.seed, 8)).choice(self.rows, count, replace=False)
        with torch.no_grad():
            if start is not None and kept is None:
                # of changed faces: what the norms will go on to see
                first = changed(self.faces.take(rows[:512]), config.view, self._draw(-3))
                fresh = start_from_onnx(self.net, start, (first - 127.5) / 127.5)
                log.info("started from %s; new: %s", start, ", ".join(fresh) or "nothing")
            self.net.eval()
            self._fit(rows)
        self.ema.load_state_dict(self.net.state_dict())

    def _go_on_from(self, kept: dict[str, Any]) -> bool:
        """Kept averaged weights; optimiser and cycle are new. False: they had another target, or
        lack hints that are wanted now."""
        with torch.no_grad():
            log.info("kept weights taken over; %s", start_from_kept(self.net, kept["ema"]) or "all")
        self.ema.load_state_dict(self.net.state_dict())
        wanted = self.hints.state_dict().keys()
        same: bool = kept["target"] == self.teachers.target and wanted <= kept["hints"].keys()
        if same:
            self._take_target(kept | {"hints": {key: kept["hints"][key] for key in wanted}})
        else:
            log.info(
                "target and hints are fitted again: %s, it was %s",
                self.teachers.target,
                kept["target"],
            )
        self.step, self.samples, self.asked = kept["step"], kept["samples"], kept["asked"]
        self.spent_s = self.cycle_s = kept["spent_s"]
        self.cycle_samples = self.samples
        return same

    def _take_target(self, held: dict[str, Any]) -> None:
        self.hints.load_state_dict(held["hints"])
        self.teachers.axes.copy_(held["axes"])
        self.teachers.centre.copy_(held["centre"])

    def _fit(self, rows: I64) -> None:
        """Axes and hints' projections, from one pass of student and teachers at ``rows``."""
        draw = self._draw(-1)
        vectors, own = [], []
        maps: dict[int, tuple[list[Tensor], list[Tensor]]] = {}
        for part in _parts(rows, self.config.prepare_rows):
            view = changed(self.faces.take(part), self.config.view, draw)
            vector, theirs = self.teachers.ask(view, part)
            raw, mine = _raw_vectors(self.net, view)
            vectors.append(vector)
            own.append(raw)
            for side, value in theirs.items():
                held = maps.setdefault(side, ([], []))
                held[0].append(_some(mine[side]))
                held[1].append(_some(value))
        raw = torch.cat(own)
        middle = raw.mean(0)  # as the target: centred
        self.net.head.norm.bias.sub_(middle)
        self.teachers.learn_axes(torch.cat(vectors), F.normalize(raw - middle, dim=1))
        for side, (mine_of, theirs_of) in maps.items():
            self._fit_hint(side, torch.cat(mine_of), torch.cat(theirs_of))

    def _fit_hint(self, side: int, mine: Tensor, theirs: Tensor) -> None:
        weight, bias = ridge(mine, theirs)
        layer = self.hints.project[str(side)]
        layer.weight.copy_(weight[:, :, None, None])
        layer.bias.copy_(bias)
        getattr(self.hints, f"spread{side}").copy_(theirs.std(0).clamp_min(1e-3))

    def _draw(self, step: int) -> torch.Generator:
        draw = torch.Generator(self.device)
        return draw.manual_seed(self.config.seed * 1_000_003 + step + 1)

    def lesson(self, draw: torch.Generator) -> Lesson:
        """The next batch: some new views, the rest seen before."""
        config = self.config
        batch, replay = config.optim.batch, config.replay
        ready = replay > 1 and self.ring.filled == config.ring  # few views are soon known by heart
        fresh = max(1, round(batch / replay)) if ready else batch
        rows = self.walk(self.asked, fresh)
        self.asked += fresh
        view = changed(self.faces.take(rows), config.view, draw)
        alone = None
        if config.view.mix:
            whole, view = view, mixed(view, config.view.mix, draw)
            alone = (view == whole).flatten(1).all(1)
        view = view.round_()
        vector, hints = self.teachers.ask(view, rows)
        if self.people is not None:
            own, vector = vector, self.people.lean(vector, rows, config.people.share)
            if alone is not None:
                vector = torch.where(alone[:, None], vector, own)
        new = Lesson(view.to(torch.uint8), self.teachers.turn(vector), hints)
        flip = config.replay_flip
        again = self.ring.take(batch - fresh, draw, flip) if fresh < batch else None
        self.ring.add(new)
        return new if again is None else targets.joined(new, again)

    def train(self, stop: Callable[[], bool] = lambda: False) -> None:
        """To the end of the cycle, or to the next step after ``stop()``; a checkpoint either way.

        Raises:
            FloatingPointError: the loss is not a number.
        """
        config = self.config
        config.run.mkdir(parents=True, exist_ok=True)
        saved_s, started_s, first = self.spent_s, self.spent_s, self.samples
        while self.done < 1 and not stop():
            began = self._clock()
            parts = self._one_step()
            self.step += 1
            self.samples += config.optim.batch
            self.spent_s += self._clock() - began
            if self.step % config.log_steps == 0 or self.done >= 1:
                speed = (self.samples - first) / max(self.spent_s - started_s, 1e-9)
                self._note({k: float(v) for k, v in parts.items()}, speed)
            if self.spent_s - saved_s > 60 * config.checkpoint_minutes:
                self.save()
                saved_s = self.spent_s
        self.save()

    def _one_step(self) -> dict[str, Tensor]:
        config, draw = self.config, self._draw(self.step)
        lesson = self.lesson(draw)
        part = rate_part(self.done, config.optim)
        for optim in self.optim:
            for group in optim.param_groups:
                group["lr"] = part * group["peak"]
        self._learning()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.optim.bf16):
            vectors, maps = embed_faces(self.net, lesson.view)
            hints = self._hint_losses(maps, lesson)
        parts = self._losses(vectors, lesson) | hints
        total = torch.stack(list(parts.values())).sum()
        for optim in self.optim:
            optim.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), config.optim.clip)
        if self.step % 50 == 0 and not bool(torch.isfinite(norm)):
            raise FloatingPointError(f"step {self.step}: the gradient is {float(norm)}")
        for optim in self.optim:
            optim.step()
        average(self.ema, self.net, config.optim.ema, self.step)
        cosine = (vectors.detach() * lesson.target).sum(1).mean()
        return {k: v.detach() for k, v in parts.items()} | {
            "total": total.detach(),
            "cosine": cosine,
        }

    def _learning(self) -> None:
        """Training mode; norms that are frozen keep the statistics that they have."""
        self.net.train()
        if self.config.optim.freeze_norms:
            for layer in self.net.modules():
                if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                    layer.eval()

    def _losses(self, vectors: Tensor, lesson: Lesson) -> dict[str, Tensor]:
        """Of unit vectors, weighted."""
        how, own = self.config.loss, lesson.target
        parts: dict[str, Tensor] = {}
        if how.distill:
            parts["distill"] = how.distill * losses.distill(vectors, own)
        if how.gram:
            parts["gram"] = how.gram * losses.gram(vectors, own)
        if how.bank:
            negatives = self.ring.take_targets()
            parts["bank"] = how.bank * losses.bank(
                vectors, own, negatives, how.bank_tau, how.bank_margin, how.bank_same_min
            )
        return parts

    def _hint_losses(self, maps: dict[int, Tensor], lesson: Lesson) -> dict[str, Tensor]:
        return {
            f"hint{side}": weight * self.hints.loss(side, maps[side], lesson.hints[side])
            for side, weight in self.config.loss.hints.items()
        }

    def _note(self, parts: dict[str, float], speed: float) -> None:
        row = {"step": self.step, "samples": self.samples, "spent_s": self.spent_s}
        self.curves.add(row | parts)
        log.info(
            "step %d, %d samples (%.1f %%): loss %.4f, cosine %.4f, %.0f faces/s; %s",
            self.step, self.samples, 100 * self.done, parts["total"], parts["cosine"], speed,
            " ".join(f"{k} {v:.4f}" for k, v in parts.items() if k not in ("total", "cosine")),
        )  # fmt: skip

    def held_out_cosine(self) -> tuple[float, float]:
        """Mean cosine of the averaged weights to the target, on faces that are never trained on.

        Clean, and changed in always the same way; the teachers see the same picture.
        """
        draw = self._draw(-2)
        told: tuple[list[Tensor], list[Tensor]] = ([], [])
        with torch.no_grad():
            for number, part in enumerate(_parts(self.held_out, 64)):
                clean = self.faces.take(part)
                views = (clean, changed(clean, self.config.view, draw))
                for kind, view in enumerate(views):
                    key = (number, kind)
                    if key not in self._wanted:
                        self._wanted[key] = self.teachers.turn(self.teachers.ask(view, part)[0])
                    told[kind].append((embed_faces(self.ema, view)[0] * self._wanted[key]).sum(1))
        return float(torch.cat(told[0]).mean()), float(torch.cat(told[1]).mean())

    def save(self) -> None:
        """Measure on the faces that are held out, then write the checkpoint."""
        if len(self.held_out):
            self.cosine = self.held_out_cosine()
            log.info("held out: cosine %.4f, changed %.4f", *self.cosine)
        path = self.config.run / CHECKPOINT
        write_checkpoint(path, self.state())
        self._on_saved(path)

    def state(self) -> dict[str, Any]:
        """All that a run goes on from; the ring is filled again."""
        return {
            "step": self.step,
            "samples": self.samples,
            "asked": self.asked,
            "spent_s": self.spent_s,
            "cycle_s": self.cycle_s,
            "cycle_samples": self.cycle_samples,
            "net": self.net.state_dict(),
            "ema": self.ema.state_dict(),
            "hints": self.hints.state_dict(),
            "axes": self.teachers.axes,
            "centre": self.teachers.centre,
            "optim": [optim.state_dict() for optim in self.optim],
            "held_out_cosine": self.cosine,
            **self._identity(),
        }

    def _identity(self) -> dict[str, Any]:
        shape = self.config.net.model_dump(mode="json")
        return {"shape": shape, "target": self.teachers.target}

    def resume(self, new_cycle: bool = False) -> bool:
        """Go on from the run folder's checkpoint; False when there is none.

        Raises:
            ValueError: the checkpoint is of another network or target.
        """
        path = self.config.run / CHECKPOINT
        if not path.exists():
            return False
        state = torch.load(path, map_location=self.device, weights_only=True)
        for key in ("shape", "target"):
            if state[key] != self._identity()[key]:
                raise ValueError(f"{path}: its {key} is {state[key]}, not the one configured")
        self.net.load_state_dict(state["net"])
        self.ema.load_state_dict(state["ema"])
        self._take_target(state)
        for optim, held in zip(self.optim, state["optim"], strict=True):
            optim.load_state_dict(held)
        for key in ("step", "samples", "asked", "cycle_samples"):
            setattr(self, key, int(state[key]))
        self.spent_s, self.cycle_s = state["spent_s"], state["cycle_s"]
        if new_cycle:
            self.cycle_s, self.cycle_samples = self.spent_s, self.samples
        self.curves.cut_after(self.step)
        return True


def _parts(rows: I64, size: int) -> list[I64]:
    return np.array_split(rows, max(1, len(rows) // size))


def _some(maps: Tensor, most: int = 16) -> Tensor:
    """Rows (N * places, C) of maps (N, C, H, W): at most ``most`` places, evenly spread."""
    flat = maps.float().flatten(2).permute(0, 2, 1)
    return flat[:, :: max(1, flat.shape[1] // most)].reshape(-1, flat.shape[2])
