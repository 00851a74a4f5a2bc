"""The source material's comparison of networks: how large, how long to train, how often right.

Every network first learns faces in general (or begins with weights that it is given), then a group
of people that it has not seen, three times: its last layer alone, its last block too, all of it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from jetson_face.core.errors import UsageError
from jetson_face.training.settings import RecipePart
from jetson_face.training.small import SmallSet
from jetson_face.training.starting import Start, read_start
from jetson_face.training.transfer import train_network
from jetson_face.training.transfer_export import save
from jetson_face.training.transfer_settings import TransferConfig
from jetson_face.util.files import write_file

log = logging.getLogger(__name__)
NETWORKS = (
    "alexnet",
    "caffenet",
    "vgg16",
    "googlenet",
    "resnet10",
    "squeezenet",
    "mobilenet_v2",
    "densenet",
)


class CompareConfig(RecipePart):
    """A recipe with `networks`. pretrain, finetune: keys of the recipes of single networks, less
    `architecture`; own: those that differ, by network."""

    networks: tuple[str, ...] = NETWORKS
    starts: dict[str, str] = Field(default_factory=dict, description="weights to begin with")
    pretrain: dict[str, Any] | None = Field(None, description="on faces in general; null: not")
    finetune: dict[str, Any] = Field(default_factory=dict)
    own: dict[str, dict[str, Any]] = Field(default_factory=dict, description="of `pretrain`")
    layers: tuple[str, ...] = ("last", "block", "all")
    new_people: int = Field(60, ge=2, description="people who are kept out of `pretrain`")
    new_photos: int = Field(12, ge=2, description="at most so many photos of each")

    @model_validator(mode="after")
    def _single_recipes_are_valid(self) -> CompareConfig:
        for name in {*self.starts, *self.own} - set(self.networks):
            raise ValueError(f"{name!r} is not among the networks {', '.join(self.networks)}")
        for name in self.networks:
            self.first(name)
            self.second(name, "all")
        return self

    def first(self, network: str) -> TransferConfig | None:
        """The recipe by which a network learns faces in general."""
        if self.pretrain is None:
            return None
        own = {**self.pretrain, **self.own.get(network, {}), "architecture": network}
        return TransferConfig.model_validate(own)

    def second(self, network: str, layers: str) -> TransferConfig:
        """The recipe by which it learns the people. The network's picture stays as large."""
        side = self.own.get(network, {}).get("side", (self.pretrain or {}).get("side", 0))
        own = {"side": side, **self.finetune, "architecture": network, "layers": layers}
        return TransferConfig.model_validate(own)


def begun_in(folder: Path) -> dict[str, str]:
    """The networks whose weights an earlier comparison left in `folder`, by name.

    Raises UsageError where there are none.
    """
    held = {name: folder / f"transfer_{name}.weights.npz" for name in NETWORKS}
    found = {name: str(path) for name, path in held.items() if path.is_file()}
    if not found:
        raise UsageError(
            f"{folder}: no transfer_NAME.weights.npz in it; jetson-face train -c "
            "configs/train_networks.yaml --export DIR leaves them in DIR"
        )
    return found


def apart(given: SmallSet, people: int, photos: int) -> tuple[SmallSet, SmallSet]:
    """Everybody else, and the people with most photos, at most so many of each."""
    chosen = given.most(4, people)
    if len(chosen) < 2:
        raise UsageError(f"{given.origin}: two people with four photos each are needed")
    rows = [np.flatnonzero(given.labels == person)[:photos] for person in chosen]
    group = given.rows(np.concatenate(rows))
    labels = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
    rest = given.rows(~np.isin(given.labels, chosen)).renumbered()
    return rest, SmallSet(group.faces, labels, f"{given.origin}, people kept apart")


def compare_one(
    config: CompareConfig,
    network: str,
    general: SmallSet | None,
    people: SmallSet,
    folder: Path,
    train: Callable[..., Any] = train_network,
) -> dict[str, Any]:
    """One row, seconds of processor time; `folder` keeps the network's files, and the row: what is
    there is not done again.

    general: faces to learn from first, None where the recipe has no `pretrain`.
    """
    path = folder / f"{network}.row.json"
    key = _key(config, network, people)
    held = _held(path, key)
    if held is not None:
        return held
    start = read_start(config.starts[network]) if network in config.starts else None
    first = config.first(network)
    row: dict[str, Any] = {"network": network, "pretrain": None}
    if first is not None:
        assert general is not None
        first = _in_layout(first, start)
        net, outcome = train(first, general, start, time.process_time)
        card = save(net, outcome, first, folder)
        row["pretrain"] = asdict(outcome)
        start = read_start(str(card.with_suffix(".weights.npz")))
        start = Start(start.weights, f"its weights after {outcome.seconds:.0f} s", start.layout)
    row["start"] = "random weights" if start is None else start.name
    row["finetune"] = []
    for layers in config.layers:
        second = _in_layout(config.second(network, layers), start)
        net, outcome = train(second, people, start, time.process_time)
        row["finetune"].append(asdict(outcome))
        if first is None:
            save(net, outcome, second, folder)
    row["mib"] = (folder / f"transfer_{network}.onnx").stat().st_size / 2**20
    write_file(path, json.dumps({"key": key, "row": row}, indent=2) + "\n")
    return row


def _in_layout(config: TransferConfig, start: Start | None) -> TransferConfig:
    return config if start is None else config.model_copy(update={"layout": start.layout})


def _key(config: CompareConfig, network: str, people: SmallSet) -> str:
    own = [
        network,
        None if (first := config.first(network)) is None else first.model_dump_json(),
        [config.second(network, layers).model_dump_json() for layers in config.layers],
        config.starts.get(network),
        [people.origin, people.labels.tolist()],
    ]
    return sha256(json.dumps(own).encode()).hexdigest()


def _held(path: Path, key: str) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        held = json.loads(path.read_text("utf-8"))
    except ValueError:
        return None
    if not isinstance(held, Mapping) or held.get("key") != key:
        return None
    log.info("%s: kept from before", path)
    return dict(held["row"])
