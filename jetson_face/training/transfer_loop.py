"""The loop that trains the tables' networks: two phases, checkpoints, a watch for collapse."""

from __future__ import annotations

import io
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import nn

from jetson_face.core.errors import UsageError
from jetson_face.core.types import I64
from jetson_face.training.augment import augment_batch
from jetson_face.training.collapse import CollapseWatch
from jetson_face.training.loop import CHECKPOINT
from jetson_face.training.losses import Mix
from jetson_face.training.net import to_input
from jetson_face.training.networks import FeatureNet
from jetson_face.training.small import SmallSet
from jetson_face.training.transfer_settings import TransferConfig
from jetson_face.util.files import write_file

log = logging.getLogger(__name__)
_NOTE_STEPS = 50


class SmallTrainer:
    """One run. Batch n depends on the seed and n alone, so that a resumed run goes on exactly.

    losses: the total of every step so far; faces_seen: in them; spent_s: time in steps, over all
    parts of the run.
    """

    def __init__(
        self,
        config: TransferConfig,
        net: FeatureNet,
        seen: SmallSet,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config, self.seen, self._clock = config, seen, clock
        self.net = net.to(memory_format=torch.channels_last)
        teacher = None if seen.teacher is None else torch.from_numpy(np.array(seen.teacher))
        self.warm = Mix(config.warming, net.dim, seen.people, teacher) if config.warm else None
        self.mix = Mix(config.joined, net.dim, seen.people, teacher)
        learnt = [p for p in net.parameters() if p.requires_grad]
        learnt += list(self.mix.parameters())
        self.optim = torch.optim.AdamW(learnt, lr=config.rate, weight_decay=0.01)
        self._groups = [
            rows for p in range(seen.people) if len(rows := np.flatnonzero(seen.labels == p))
        ]
        self._watch = CollapseWatch(config.joined)
        self.losses: list[float] = []
        self.spent_s = 0.0
        self.faces_seen = 0

    @property
    def done(self) -> float:
        """Part of the run behind us."""
        if self.config.steps is not None:
            return len(self.losses) / self.config.steps
        return self.spent_s / self.config.seconds

    def train(self) -> None:
        """To the end; a checkpoint now and then, where the recipe names a folder.

        Raises CollapseError when the vectors have become one point.
        """
        config = self.config
        saved_s = self.spent_s
        with ThreadPoolExecutor(config.threads) as pool:
            while self.done < 1 or not self.losses:
                started = self._clock()
                self.losses.append(self._step(pool))
                self.spent_s += self._clock() - started
                if len(self.losses) % _NOTE_STEPS == 0:
                    self._note()
                if config.run and self.spent_s - saved_s > config.checkpoint_seconds:
                    self.save(config.run)
                    saved_s = self.spent_s
        if config.run:
            self.save(config.run)

    def _step(self, pool: ThreadPoolExecutor) -> float:
        config, step, done = self.config, len(self.losses), self.done
        mix = self.warm if self.warm is not None and done < config.warm else self.mix
        rows = self._rows(step, mix is self.warm or config.loss == "teacher")
        faces = augment_batch(self.seen.faces[rows], config.augment, (config.seed, 2, step), pool)
        for group in self.optim.param_groups:
            group["lr"] = config.rate * max(_rate(done), 0.01)
        self.faces_seen += len(rows)
        self._train_mode()
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
            vectors = self.net(to_input(faces))
        label = torch.from_numpy(self.seen.labels[rows])
        draw = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        parts = mix(vectors, torch.from_numpy(rows), label, draw)
        self.optim.zero_grad(set_to_none=True)
        parts["total"].backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optim.step()
        told = {name: float(value.detach()) for name, value in parts.items()}
        self._watch.see(step, vectors.detach(), told)
        return told["total"]

    def _rows(self, step: int, anybody: bool) -> I64:
        """Faces of a batch: any, those of unknown people too, or some of each of some people."""
        rng = np.random.default_rng((self.config.seed, 1, step))
        if anybody:
            total = len(self.seen.labels)
            return rng.choice(total, min(self.config.batch, total), replace=False)
        count, each = min(self.config.people_each, len(self._groups)), self.config.photos_each
        chosen = rng.choice(len(self._groups), count, replace=False)
        return np.concatenate(
            [rng.choice(self._groups[p], each, replace=len(self._groups[p]) < each) for p in chosen]
        )

    def _train_mode(self) -> None:
        """Layers that are not trained keep their statistics as well."""
        self.net.train()
        for module in self.net.trunk:
            if not any(p.requires_grad for p in module.parameters()):
                module.eval()

    def _note(self) -> None:
        left = self.spent_s * (1 - self.done) / max(self.done, 1e-9)
        log.info(
            "%s: step %d (%.1f %%) loss %.4f, %.0f s left",
            self.config.architecture,
            len(self.losses),
            100 * self.done,
            float(np.mean(self.losses[-_NOTE_STEPS:])),
            left,
        )

    def save(self, folder: Path) -> None:
        """Write the checkpoint, whole or not at all."""
        buffer = io.BytesIO()
        state = {
            "recipe": _digest(self.config),
            "losses": torch.tensor(self.losses, dtype=torch.float64),
            "spent_s": self.spent_s,
            "faces_seen": self.faces_seen,
            "net": self.net.state_dict(),
            "mix": self.mix.state_dict(),
            "optim": self.optim.state_dict(),
        }
        torch.save(state, buffer)
        write_file(folder / CHECKPOINT, buffer.getvalue())

    def resume(self, folder: Path) -> bool:
        """Go on from the folder's checkpoint; False where there is none.

        Raises UsageError on a checkpoint of another recipe.
        """
        path = folder / CHECKPOINT
        if not path.exists():
            return False
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["recipe"] != _digest(self.config):
            raise UsageError(f"{path}: of another recipe; remove it, or give another 'run' folder")
        self.net.load_state_dict(state["net"])
        self.mix.load_state_dict(state["mix"])
        self.optim.load_state_dict(state["optim"])
        self.losses, self.spent_s = state["losses"].tolist(), float(state["spent_s"])
        self.faces_seen = int(state.get("faces_seen", 0))
        return True


def _rate(done: float) -> float:
    """Share of the peak rate: up over a twentieth of the run, then a half cosine down."""
    return done / 0.05 if done < 0.05 else 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def _digest(config: TransferConfig) -> str:
    """Of all that the weights depend on: not of threads, nor of where files are."""
    own = config.model_dump_json(exclude={"threads", "run", "checkpoint_seconds", "cache"})
    return sha256(own.encode()).hexdigest()


def settle(net: FeatureNet, seen: SmallSet) -> None:
    """Take the trained batch-norms' statistics from the training part: in a run of a few steps
    their moving averages still hold the values of the untrained network."""
    trained = [net.head, *(m for m in net.trunk if any(p.requires_grad for p in m.parameters()))]
    norms = [n for part in trained for n in part.modules() if isinstance(n, nn.BatchNorm2d)]
    if not norms:
        return
    net.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average
        norm.train()
    order = np.random.default_rng(0).permutation(len(seen.faces))[:1024]
    with torch.no_grad():
        for rows in np.array_split(order, max(len(order) // 64, 1)):
            net(to_input(seen.faces[rows]))
    net.eval()
