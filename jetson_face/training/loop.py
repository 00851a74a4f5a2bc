"""The training loop: resumable, timed by compute, averaged weights, and loud about collapse."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from jetson_face.core.errors import InputBrokenError, InputMissingError
from jetson_face.training.augment import augment_batch
from jetson_face.training.collapse import CollapseWatch
from jetson_face.training.curves import CurveLog
from jetson_face.training.data import BatchSampler, FaceSet
from jetson_face.training.losses import Mix
from jetson_face.training.net import SqueezeNetFace, average, start_from, to_input

if TYPE_CHECKING:
    from jetson_face.training.settings import NetSettings, OptimSettings, TrainConfig

log = logging.getLogger(__name__)
CHECKPOINT = "checkpoint.pt"


def build_net(how: NetSettings) -> SqueezeNetFace:
    """The network that the settings describe, fresh."""
    return SqueezeNetFace(**how.model_dump())


def one_cycle(done: float, warmup: float, first: float, last: float) -> float:
    """Share of the highest rate at ``done`` in [0, 1]: linear rise, then half a cosine.

    Never below ``first`` and ``last``. Loshchilov and Hutter, "SGDR", 2017, equation 5, one period.
    """
    if done < warmup:
        return max(done / warmup, first)
    part = min((done - warmup) / (1 - warmup), 1.0)
    return max(0.5 * (1 + math.cos(math.pi * part)), last)


def rate_at(done: float, how: OptimSettings) -> float:
    """Learning rate at ``done`` in [0, 1]."""
    return how.rate * one_cycle(done, how.warmup, first=0.01, last=1e-3)


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write it so that a kill at any moment leaves the old or the new one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


class Trainer:
    """One run: everything is built here.

    ``train`` goes until the run is over or ``stop`` says so.

    Raises:
        InputMissingError, InputBrokenError: ``config.start`` is absent, or of another network.
    """

    def __init__(
        self,
        config: TrainConfig,
        faces: FaceSet,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.faces = config, faces
        self._clock = clock
        device = config.device
        self.net = build_net(config.net).to(device, memory_format=torch.channels_last)
        if config.start is not None:
            _start(self.net, config.start)
        self.ema = build_net(config.net).to(device).eval().requires_grad_(False)
        self.ema.load_state_dict(self.net.state_dict())
        teacher = None if faces.teacher is None else torch.from_numpy(np.array(faces.teacher))
        self.mix = Mix(config.loss, config.net.dim, len(faces.people), teacher).to(device)
        self.optim = _optimiser(self.net, self.mix, config.optim)
        data, size = config.data, config.optim.batch
        self.sampler = BatchSampler(
            faces.labels,
            size,
            config.seed,
            data.identity_share,
            data.photos_each,
            faces.focus,
            data.focus_share,
        )
        self.step, self.spent_s = 0, 0.0
        self.watch = CollapseWatch(config.loss)
        self.curves = CurveLog(config.run / "curves.csv")

    @property
    def done(self) -> float:
        """Part of the run behind us, by compute time or by steps."""
        how = self.config.optim
        if how.steps is not None:
            return self.step / how.steps
        return self.spent_s / (60 * (how.minutes or 1.0))

    def train(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Train to the end, or to the next step after ``stop()``.

        A checkpoint is written either way.

        Raises:
            CollapseError: the vectors have become one point.
        """
        config = self.config
        config.run.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(config.threads)
        saved_s = self.spent_s
        with ThreadPoolExecutor(config.threads) as pool:
            while self.done < 1 and not stop():
                started = self._clock()
                parts = self._one_step(pool)
                self.spent_s += self._clock() - started
                self.step += 1
                if self.step % config.log_steps == 0 or self.done >= 1:
                    self._note(parts)
                if self.spent_s - saved_s > 60 * config.checkpoint_minutes:
                    self.save()
                    saved_s = self.spent_s
        self.save()
        self.curves.draw(config.run / "curves.png")

    def _one_step(self, pool: ThreadPoolExecutor) -> dict[str, float]:
        config = self.config
        index = self.sampler(self.step)
        seed = (config.seed, 2, self.step)
        pictures = augment_batch(self.faces.faces[index], config.augment, seed, pool)
        for group in self.optim.param_groups:
            group["lr"] = rate_at(self.done, config.optim)
        self.net.train()
        with torch.autocast(config.device, torch.bfloat16, enabled=config.optim.bf16):
            vectors = self.net(to_input(pictures, config.device))
        label = torch.from_numpy(self.faces.labels[index]).to(config.device)
        draw = torch.Generator().manual_seed(config.seed * 1_000_003 + self.step)
        parts = self.mix(vectors, torch.from_numpy(index).to(config.device), label, draw)
        self.optim.zero_grad(set_to_none=True)
        parts["total"].backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), config.optim.clip)
        self.optim.step()
        average(self.ema, self.net, config.optim.ema, self.step)
        told = {k: float(v.detach()) for k, v in parts.items()}
        self.watch.see(self.step, vectors.detach(), told)
        return told

    def _note(self, parts: dict[str, float]) -> None:
        speed = self.step * self.config.optim.batch / max(self.spent_s, 1e-9)
        eta = self.spent_s * (1 - self.done) / max(self.done, 1e-9)
        epoch = self.sampler.epoch(self.step)
        rate = rate_at(self.done, self.config.optim)
        self.curves.add(
            {"step": self.step, "epoch": epoch, "spent_s": self.spent_s, "rate": rate} | parts
        )
        log.info(
            "step %d epoch %.2f (%.1f %%) loss %.4f, %.0f faces/s, %.0f min left",
            self.step, epoch, 100 * self.done, parts["total"], speed, eta / 60,
        )  # fmt: skip

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            "step": self.step,
            "spent_s": self.spent_s,
            "net": self.net.state_dict(),
            "ema": self.ema.state_dict(),
            "optim": self.optim.state_dict(),
            "mix": self.mix.state_dict(),
            "shape": self.config.net.model_dump(mode="json"),
        }
        write_checkpoint(self.config.run / CHECKPOINT, state)

    def resume(self) -> bool:
        """Go on from the run folder's checkpoint; False when there is none.

        Raises:
            ValueError: the checkpoint is of another network.
        """
        path = self.config.run / CHECKPOINT
        if not path.exists():
            return False
        state = torch.load(path, map_location=self.config.device, weights_only=True)
        if state["shape"] != self.config.net.model_dump(mode="json"):
            raise ValueError(f"{path}: trained with net {state['shape']}, not the one configured")
        self.net.load_state_dict(state["net"])
        self.ema.load_state_dict(state["ema"])
        self.optim.load_state_dict(state["optim"])
        self.mix.load_state_dict(state["mix"])
        self.step, self.spent_s = int(state["step"]), float(state["spent_s"])
        self.curves.cut_after(self.step)
        return True


def _start(net: SqueezeNetFace, checkpoint: Path) -> None:
    """Take over the averaged weights of another run."""
    if not checkpoint.exists():
        raise InputMissingError(f"start: {checkpoint} is absent: train it first, or leave it out")
    weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["ema"]
    try:
        new = start_from(net, weights)
    except ValueError as exc:
        raise InputBrokenError(f"start: {checkpoint} is of another network: {exc}") from exc
    log.info("started from %s; new: %s", checkpoint, ", ".join(new) or "nothing")


def _optimiser(net: nn.Module, mix: nn.Module, how: OptimSettings) -> torch.optim.Optimizer:
    """AdamW; no decay on biases, norms and slopes (one-dimensional parameters)."""
    every = [*net.parameters(), *mix.parameters()]
    groups = [
        {"params": [p for p in every if p.ndim > 1], "weight_decay": how.weight_decay},
        {"params": [p for p in every if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=how.rate, fused=True)
