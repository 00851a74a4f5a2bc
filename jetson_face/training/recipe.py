"""From a recipe to a run folder, and from there to the files that are shipped."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from jetson_face.core.errors import UsageError
from jetson_face.training import data, export, loop, report
from jetson_face.training.machine import keep_freed_memory
from jetson_face.training.net import to_input
from jetson_face.training.settings import TrainConfig
from jetson_face.util.documents import load_document

log = logging.getLogger(__name__)
CALIBRATION_FACES = 500
"""Of the training set: the INT8 network's scales are set on them."""


def train_recipe(
    config: TrainConfig,
    stop: Callable[[], bool],
    *,
    resume: bool = False,
    ship_to: Path | None = None,
) -> float:
    """Train until the recipe's end or until `stop` says so; returns the share done, in [0, 1].

    resume: go on from the run folder's checkpoint. ship_to: where ONNX files, golden vectors and
    card are written when done. Raises InputMissingError without faces, UsageError where the run
    folder is in use or of another recipe, CollapseError.
    """
    if resume:
        _check_same_recipe(config)
    elif (config.run / loop.CHECKPOINT).exists():
        raise UsageError(f"{config.run} has a checkpoint: give --resume, or --set run=OTHER_FOLDER")
    keep_freed_memory()
    faces = data.load(config.data, config.net.dim)
    log.info("%d faces, %d people", len(faces), len(faces.people))
    trainer = loop.Trainer(config, faces)
    if resume and trainer.resume():
        log.info("resumed at step %d", trainer.step)
    report.write_config(config)
    trainer.train(stop)
    if trainer.done < 1:
        return trainer.done
    report.write_report(trainer)
    if ship_to is not None:
        chosen = export.spread(len(faces), CALIBRATION_FACES, config.seed)
        pictures = to_input(faces.faces[chosen]).contiguous().numpy()
        card = export.export_run(trainer.ema, ship_to, config.name, pictures, config.card)
        log.info("wrote %s", card)
    return trainer.done


def _check_same_recipe(config: TrainConfig) -> None:
    """Refuse to go on with another network or other faces than the run folder's own."""
    path = config.run / report.CONFIG
    if not path.exists():
        return
    before = load_document(path, TrainConfig)
    if before.net != config.net:
        raise UsageError(f"{path}: the run was started with another 'net' section")
    for key in ("packed", "folder"):
        if getattr(before.data, key) != getattr(config.data, key):
            raise UsageError(f"{path}: the run was started with another 'data.{key}'")
