"""Train or fine-tune one of the tables' networks on a small set, and say what it cost and gained.

One recipe serves OpenFace and FaceNet (triplets) and the comparison of networks (softmax over the
people of a folder): size, parameters, seconds, accuracy. The set is small and so is the time: the
report says on what the weights were trained, and the model card repeats it.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from jetson_face.errors import InputBrokenError, UsageError
from jetson_face.files import write_file
from jetson_face.training.losses import triplet_semi_hard
from jetson_face.training.net import count_parameters
from jetson_face.training.networks import TRUNKS, FeatureNet
from jetson_face.types import F32, I64, ImageU8

log = logging.getLogger(__name__)


class TransferConfig(BaseModel):
    """A recipe: `architecture` is what tells it from the recipe of the shipped embedding."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    architecture: str = Field(description=f"one of {', '.join(TRUNKS)}")
    name: str | None = Field(None, description="of the model card; null: the architecture's")
    loss: Literal["triplet", "softmax"] = "softmax"
    layers: str = Field("all", description="all, last, or how many modules from the end")
    dim: int = Field(128, ge=0, description="of the vectors; 0: the last map's channels")
    packed: Path | None = Field(None, description="zip of aligned 112 px crops with labels.csv")
    people: int = Field(400, ge=2, description="at most so many people, those with most photos")
    photos: int = Field(10, ge=2, description="at most so many photos of each")
    alignment: str = "arcface112"
    seconds: float = Field(300, gt=0)
    people_each: int = Field(12, ge=2, description="people in a batch")
    photos_each: int = Field(4, ge=2, description="photos of each in a batch")
    rate: float = Field(1e-3, gt=0)
    margin: float = Field(0.2, gt=0, description="of the triplet loss, squared L2")
    seed: int = 1
    threads: int = Field(2, ge=1)
    licence: str = "that of the pictures it was trained on"


@dataclass(frozen=True, slots=True, eq=False)
class SmallSet:
    """Aligned faces (N, S, S, 3) uint8 RGB, labels (N,) and what the set is called."""

    faces: ImageU8
    labels: I64
    origin: str

    @property
    def people(self) -> int:
        """How many."""
        return int(self.labels.max()) + 1

    def divided(self, seed: int) -> tuple[SmallSet, SmallSet]:
        """For training, and one photo in four of everybody for testing. At least one each."""
        rng = np.random.default_rng(seed)
        tested = np.zeros(len(self.labels), np.bool_)
        for person in range(self.people):
            rows = rng.permutation(np.flatnonzero(self.labels == person))
            tested[rows[: max(len(rows) // 4, 1)]] = True
        return (
            SmallSet(self.faces[~tested], self.labels[~tested], self.origin),
            SmallSet(self.faces[tested], self.labels[tested], self.origin),
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run reached. accuracy_*: share of held-out photos whose nearest photo (before and
    after training), or whose class by the softmax layer, is the right person."""

    network: str
    parameters: int
    trained_parameters: int
    steps: int
    seconds: float
    faces: int
    people: int
    loss_first: float
    loss_last: float
    accuracy_before: float
    accuracy_nearest: float
    accuracy_softmax: float | None
    trained_on: str


def train_network(
    config: TransferConfig,
    given: SmallSet,
    start: dict[str, Any] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[FeatureNet, Outcome]:
    """Train until the time is over. start: a state dict to begin from; None: random.

    Raises UsageError on an unknown network or layers, InputBrokenError on a set too small.
    """
    if given.people < 2 or np.bincount(given.labels).min() < 2:
        raise InputBrokenError(f"{given.origin}: needs two people or more, two photos of each")
    torch.manual_seed(config.seed)
    torch.set_num_threads(config.threads)
    try:
        net = FeatureNet(config.architecture, config.dim)
        net.freeze(config.layers)
    except ValueError as exc:
        raise UsageError(str(exc)) from exc
    if start is not None:
        # The head belongs to the dimension; a trunk of another training fits any.
        own = {k: v for k, v in start.items() if not k.startswith("head.")}
        net.load_state_dict(own, strict=False)
    seen, held = given.divided(config.seed)
    before = nearest_accuracy(net, seen, held)
    classes = nn.Linear(net.dim, given.people, bias=False) if config.loss == "softmax" else None
    losses, spent = _loop(config, net, classes, seen, clock)
    _settle(net, seen)
    few = max(min(10, len(losses) // 3), 1)
    outcome = Outcome(
        network=config.architecture,
        parameters=count_parameters(net),
        trained_parameters=sum(p.numel() for p in net.parameters() if p.requires_grad),
        steps=len(losses),
        seconds=round(spent, 1),
        faces=len(given.labels),
        people=given.people,
        loss_first=round(float(np.mean(losses[:few])), 4),
        loss_last=round(float(np.mean(losses[-few:])), 4),
        accuracy_before=round(before, 4),
        accuracy_nearest=round(nearest_accuracy(net, seen, held), 4),
        accuracy_softmax=None if classes is None else round(_softmax(net, classes, held), 4),
        trained_on=f"{len(seen.labels)} faces of {given.people} people of {given.origin}, "
        f"{spent:.0f} s on {config.threads} CPU threads",
    )
    return net, outcome


def _loop(
    config: TransferConfig,
    net: FeatureNet,
    classes: nn.Linear | None,
    seen: SmallSet,
    clock: Callable[[], float],
) -> tuple[list[float], float]:
    learnt = [p for p in net.parameters() if p.requires_grad]
    learnt += [] if classes is None else list(classes.parameters())
    optim = torch.optim.AdamW(learnt, lr=config.rate, weight_decay=0.01)
    groups = [np.flatnonzero(seen.labels == person) for person in range(seen.people)]
    rng = np.random.default_rng((config.seed, 1))
    losses: list[float] = []
    begun = clock()
    while (done := (clock() - begun) / config.seconds) < 1 or not losses:
        for group in optim.param_groups:
            rise = min(done / 0.05, 1.0) if done < 0.05 else 1.0
            group["lr"] = config.rate * max(rise * 0.5 * (1 + math.cos(math.pi * done)), 0.01)
        count = min(config.people_each, len(groups))
        chosen = rng.choice(len(groups), count, replace=False)
        each = config.photos_each
        rows = np.concatenate(
            [rng.choice(groups[p], each, replace=len(groups[p]) < each) for p in chosen]
        )
        faces = seen.faces[rows]
        flip = rng.random(len(rows)) < 0.5
        faces = np.where(flip[:, None, None, None], faces[:, :, ::-1], faces)
        net.train()
        vectors = net(to_input(faces))
        label = torch.from_numpy(seen.labels[rows])
        if classes is None:
            loss = triplet_semi_hard(vectors, label, config.margin)
        else:
            cosine = vectors @ F.normalize(classes.weight, dim=1).T
            loss = F.cross_entropy(16 * cosine, label)
        optim.zero_grad(set_to_none=True)
        loss.backward()
        optim.step()
        losses.append(float(loss.detach()))
        if len(losses) % 50 == 0:
            log.info("%s: step %d loss %.4f", config.architecture, len(losses), losses[-1])
    return losses, clock() - begun


def _settle(net: FeatureNet, seen: SmallSet) -> None:
    """Take the batch-norms' statistics from the whole training part: in a run of a few steps their
    moving averages still hold the values of the untrained network."""
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average
    net.train()
    order = np.random.default_rng(0).permutation(len(seen.faces))[:1024]
    with torch.no_grad():
        for rows in np.array_split(order, max(len(order) // 64, 1)):
            net(to_input(seen.faces[rows]))
    net.eval()


def to_input(faces: ImageU8) -> Tensor:
    """uint8 RGB (N, S, S, 3) to float (N, 3, S, S) in [-1, 1]."""
    pixels = torch.from_numpy(np.ascontiguousarray(faces.transpose(0, 3, 1, 2)))
    return (pixels.float() - 127.5) / 127.5


def features(net: FeatureNet, faces: ImageU8) -> F32:
    """Unit vectors (N, dim)."""
    net.eval()
    with torch.no_grad():
        parts = [net(to_input(faces[i : i + 64])).numpy() for i in range(0, len(faces), 64)]
    return np.concatenate(parts)


def nearest_accuracy(net: FeatureNet, seen: SmallSet, held: SmallSet) -> float:
    """Share of held-out photos whose nearest photo of the training part is of the same person."""
    cosines = features(net, held.faces) @ features(net, seen.faces).T
    return float((seen.labels[cosines.argmax(axis=1)] == held.labels).mean())


def _softmax(net: FeatureNet, classes: nn.Linear, held: SmallSet) -> float:
    centres = F.normalize(classes.weight.detach(), dim=1).numpy()
    answers = (features(net, held.faces) @ centres.T).argmax(axis=1)
    return float((answers == held.labels).mean())


def read_packed(path: Path, people: int, photos: int) -> SmallSet:
    """The people with most photos of a zip with labels.csv; only theirs are decoded.

    Raises InputBrokenError where it has no labelled people.
    """
    from jetson_face.training.data import _from_zip

    names, owners, read = _from_zip(path)
    by_person: dict[str, list[str]] = {}
    for name, owner in zip(names, owners, strict=True):
        if owner:
            by_person.setdefault(owner, []).append(name)
    order = sorted(by_person, key=lambda who: (-len(by_person[who]), who))[:people]
    order = [who for who in order if len(by_person[who]) >= 2]
    if len(order) < 2:
        raise InputBrokenError(f"{path}: no two people with two photos each in labels.csv")
    faces, labels = [], []
    for number, who in enumerate(order):
        for name in by_person[who][:photos]:
            image = cv2.imdecode(np.frombuffer(read(name), np.uint8), cv2.IMREAD_COLOR)
            if image is None:
                raise InputBrokenError(f"{path}: {name}: not a picture")
            image = cv2.resize(image, (112, 112), interpolation=cv2.INTER_AREA)
            faces.append(image[:, :, ::-1])
            labels.append(number)
    return SmallSet(np.array(faces, np.uint8), np.array(labels, np.int64), path.name)


def save(net: FeatureNet, outcome: Outcome, config: TransferConfig, folder: Path) -> Path:
    """ONNX, weights (npz), report and model card; returns the card's path."""
    import io

    import yaml

    from jetson_face.training.transfer_export import card_of, to_onnx

    default = config.architecture
    default = default if config.loss == "triplet" else f"transfer_{default}"
    name = config.name or default
    side = 96 if config.alignment == "openface96" else 112
    content = to_onnx(net, side)
    write_file(folder / f"{name}.onnx", content)
    digest = sha256(content).hexdigest()
    buffer = io.BytesIO()
    np.savez(buffer, **{key: value.numpy() for key, value in net.state_dict().items()})
    write_file(folder / f"{name}.weights.npz", buffer.getvalue())
    told = {**vars_of(outcome), "mib": (folder / f"{name}.onnx").stat().st_size / 2**20}
    write_file(folder / f"{name}.report.json", json.dumps(told, indent=2) + "\n")
    card = card_of(name, digest, net.dim, side, config, outcome)
    text = yaml.safe_dump(card, sort_keys=False, allow_unicode=True, width=100)
    write_file(folder / f"{name}.yaml", text)
    return folder / f"{name}.yaml"


def vars_of(outcome: Outcome) -> dict[str, Any]:
    """The figures by name."""
    from dataclasses import asdict

    return asdict(outcome)
