"""``jetson-face train``: from a recipe to a run folder, and with ``--export`` to shipped files."""

from __future__ import annotations

import argparse
import ctypes
import logging
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from jetson_face.core.errors import UsageError
from jetson_face.training.settings import TrainConfig
from jetson_face.util.documents import load_document
from jetson_face.util.optional import needs

if TYPE_CHECKING:
    from jetson_face.training.data import FaceSet
    from jetson_face.training.loop import Trainer

log = logging.getLogger(__name__)
EXIT_STOPPED = 130
CALIBRATION_FACES = 500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Recipe, changes to it, resuming, exporting."""
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help="recipe")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change one key, as in --set optim.minutes=30 (may be repeated)",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the run folder's checkpoint"
    )
    parser.add_argument(
        "--export", type=Path, metavar="DIR", help="write ONNX files, golden and card when done"
    )


def run(args: argparse.Namespace) -> int:
    """Train as the recipe says; 0 when finished, 130 when stopped by SIGINT or SIGTERM.

    Raises:
        ConfigError: the recipe is not valid.
        InputMissingError: recipe or faces are absent.
        MissingDependencyError: PyTorch is not installed.
        UsageError: the run folder is in use and ``--resume`` was not given.
        CollapseError: training has collapsed.
    """
    config = load_document(args.config, TrainConfig, overrides=args.overrides)
    need_torch()
    from jetson_face.training import data, loop, report

    if args.resume:
        _check_same_recipe(config)
    elif (config.run / loop.CHECKPOINT).exists():
        raise UsageError(f"{config.run} has a checkpoint: give --resume, or --set run=OTHER_FOLDER")
    _keep_freed_memory()
    faces = data.load(config.data, config.net.dim)
    log.info("%d faces, %d people", len(faces), len(faces.people))
    trainer = loop.Trainer(config, faces)
    if args.resume and trainer.resume():
        log.info("resumed at step %d", trainer.step)
    report.write_config(config)
    with _StopOnSignal() as stop:
        trainer.train(stop)
    if trainer.done < 1:
        log.warning("stopped at %.1f %%; go on with --resume", 100 * trainer.done)
        return EXIT_STOPPED
    report.write_report(trainer)
    if args.export is not None:
        _export(trainer, faces, args.export)
    return 0


def _export(trainer: Trainer, faces: FaceSet, folder: Path) -> None:
    from jetson_face.training import export, loop

    config = trainer.config
    chosen = export.spread(len(faces), CALIBRATION_FACES, config.seed)
    pictures = loop.to_input(faces.faces[chosen]).contiguous().numpy()
    card = export.export_run(trainer.ema, folder, config.name, pictures, config.card)
    log.info("wrote %s", card)


def _check_same_recipe(config: TrainConfig) -> None:
    """Refuse to go on with another network or other faces than the run folder's own."""
    from jetson_face.training import report

    path = config.run / report.CONFIG
    if not path.exists():
        return
    before = load_document(path, TrainConfig)
    if before.net != config.net:
        raise UsageError(f"{path}: the run was started with another 'net' section")
    for key in ("packed", "folder"):
        if getattr(before.data, key) != getattr(config.data, key):
            raise UsageError(f"{path}: the run was started with another 'data.{key}'")


def need_torch() -> None:
    """Raises MissingDependencyError."""
    with needs("training needs PyTorch: pip install 'jetson-face[train]'"):
        import torch  # noqa: F401


def _keep_freed_memory() -> None:
    """Ask glibc to keep what is freed: every batch takes the same blocks again.

    Without it each step maps and unmaps its activations and the kernel clears the pages: 25,000
    page faults and 0.35 s of CPU time for 64 faces, against none and 0.28 s. No effect where there
    is no glibc.
    """
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, (1 << 31) - 1)
        mallopt(top_pad, 1 << 28)


class _StopOnSignal:
    """True once SIGINT or SIGTERM came.

    So that the step in hand ends and a checkpoint is written.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> _StopOnSignal:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, lambda *_: self._event.set())
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def __call__(self) -> bool:
        return self._event.is_set()
