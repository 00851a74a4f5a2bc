"""Train or fine-tune one of the tables' networks on a small set, and say what it cost and gained.

One recipe serves OpenFace and FaceNet (triplets) and the comparison of networks (softmax over the
people of a folder): size, parameters, seconds, accuracy. The set is small and so is the time: the
report says on what the weights were trained, and the model card repeats it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jetson_face.core.errors import InputBrokenError, UsageError
from jetson_face.core.types import F32, ImageU8
from jetson_face.training.loop import CHECKPOINT
from jetson_face.training.net import count_parameters, to_input
from jetson_face.training.networks import FeatureNet
from jetson_face.training.published import take_over
from jetson_face.training.small import SmallSet
from jetson_face.training.starting import Start
from jetson_face.training.transfer_export import TransferOutcome
from jetson_face.training.transfer_loop import SmallTrainer, settle
from jetson_face.training.transfer_settings import TransferConfig


def train_network(
    config: TransferConfig,
    given: SmallSet,
    start: Start | None = None,
    clock: Callable[[], float] = time.monotonic,
    resume: bool = False,
) -> tuple[FeatureNet, TransferOutcome]:
    """Train until the time is over. start: None begins at random. resume: go on from the recipe's
    checkpoint, where there is one.

    Raises UsageError on an unknown network or layers, on weights of another network, and on a
    checkpoint that is in the way; InputBrokenError on a set too small; CollapseError.
    """
    _check(config, given, resume)
    torch.manual_seed(config.seed)
    torch.set_num_threads(config.threads)
    net = begin(config, start)
    seen, held = given.divided(config.seed)
    trainer = SmallTrainer(config, net, seen, clock)
    if trainer.mix.centres is not None:
        with torch.no_grad():  # of unit length, so that small steps turn them
            trainer.mix.centres.copy_(F.normalize(trainer.mix.centres, dim=1))
        if start is not None:
            imprint(trainer.mix.centres, net, seen)
    measured = seen.measured(held)
    before = nearest_accuracy(net, measured, held)
    if resume and config.run is not None:
        trainer.resume(config.run)
    trainer.train()
    settle(net, seen)
    losses = trainer.losses
    few = max(min(10, len(losses) // 3), 1)
    centres = trainer.mix.centres
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
    outcome = TransferOutcome(
        network=config.architecture,
        layers=config.layers,
        side=config.side or given.faces.shape[1],
        parameters=count_parameters(net),
        trained_parameters=trained,
        steps=len(losses),
        seconds=round(trainer.spent_s, 1),
        faces=len(given.labels),
        faces_seen=trainer.faces_seen,
        people=given.people,
        loss_first=round(float(np.mean(losses[:few])), 4),
        loss_last=round(float(np.mean(losses[-few:])), 4),
        accuracy_before=round(before, 4),
        accuracy_nearest=round(nearest_accuracy(net, measured, held), 4),
        accuracy_softmax=None if centres is None else round(_softmax(net, centres, held), 4),
        started_from="random weights" if start is None else start.name,
        trained_on=_told(config, seen, trainer, start),
    )
    return net, outcome


def _check(config: TransferConfig, given: SmallSet, resume: bool) -> None:
    counts = np.bincount(given.labels[given.labels >= 0], minlength=1)
    enough = (counts >= 2).sum() >= 2 if config.people == 0 else counts.min() >= 2 <= len(counts)
    if not enough:
        raise InputBrokenError(f"{given.origin}: needs two people or more, two photos of each")
    if config.run is not None and not resume and (config.run / CHECKPOINT).exists():
        raise UsageError(f"{config.run} has a checkpoint: give --resume, or another 'run' folder")


def begin(config: TransferConfig, start: Start | None) -> FeatureNet:
    """The network as training finds it. Raises UsageError on a wrong name, layers or weights."""
    try:
        net = FeatureNet(config.architecture, config.dim, config.side, config.layout)
        net.freeze(config.layers)
    except ValueError as exc:
        raise UsageError(str(exc)) from exc
    if start is None:
        return net
    try:
        if any(key.startswith("trunk.") for key in start.weights):
            _take_own(net, start.weights)
        else:
            take_over(net.trunk, start.weights)
    except (ValueError, RuntimeError) as exc:
        raise UsageError(f"{start.name}: of another network than {net.name}: {exc}") from exc
    return net


def _take_own(net: FeatureNet, weights: Mapping[str, Tensor]) -> None:
    """Of a network that was trained here: its trunk, and its head where that has the same shape.

    Raises ValueError where the trunk is another one.
    """
    own = {key: value for key, value in weights.items() if key.startswith("trunk.")}
    if set(own) != {key for key in net.state_dict() if key.startswith("trunk.")}:
        raise ValueError("it has other layers")
    head = {key: value for key, value in weights.items() if key.startswith("head.")}
    mine = net.head.state_dict()
    if {key: value.shape for key, value in head.items()} == {
        f"head.{key}": value.shape for key, value in mine.items()
    }:
        own |= head
    net.load_state_dict(own, strict=False)


def _told(
    config: TransferConfig, seen: SmallSet, trainer: SmallTrainer, start: Start | None
) -> str:
    what = f"{len(seen.labels)} faces of {seen.people} people of {seen.origin}"
    if seen.known < len(seen.labels):
        what = f"{len(seen.labels)} faces, {seen.known} of them of {seen.people} known people, of "
        what += seen.origin
    if config.teacher is not None:
        what += f" towards {config.teacher.name}"
    drawn = f"{trainer.faces_seen} in {len(trainer.losses)} batches"
    drawn += f", {trainer.spent_s:.0f} s on {config.threads} CPU threads"
    begun = "" if start is None else f", begun from {start.name}"
    return f"{what}, {drawn}{begun}"


def features(net: FeatureNet, faces: ImageU8) -> F32:
    """Unit vectors (N, dim)."""
    net.eval()
    with torch.no_grad():
        parts = [net(to_input(faces[i : i + 64])).numpy() for i in range(0, len(faces), 64)]
    return np.concatenate(parts)


def imprint(centres: nn.Parameter, net: FeatureNet, seen: SmallSet) -> None:
    """Let each person's centre begin at the mean vector of the person's photos, twenty at most:
    from random centres a short training finds little (Qi and others, "Low-Shot Learning with
    Imprinted Weights", 2018)."""
    with torch.no_grad():
        for person in range(seen.people):
            rows = np.flatnonzero(seen.labels == person)[:20]
            mean = torch.from_numpy(features(net, seen.faces[rows])).mean(0)
            centres[person] = F.normalize(mean, dim=0)


def nearest_accuracy(net: FeatureNet, seen: SmallSet, held: SmallSet) -> float:
    """Share of held-out photos whose nearest photo of the training part is of the same person."""
    cosines = features(net, held.faces) @ features(net, seen.faces).T
    return float((seen.labels[cosines.argmax(axis=1)] == held.labels).mean())


def _softmax(net: FeatureNet, centres: Tensor, held: SmallSet) -> float:
    unit = F.normalize(centres.detach(), dim=1).numpy()
    answers = (features(net, held.faces) @ unit.T).argmax(axis=1)
    return float((answers == held.labels).mean())
