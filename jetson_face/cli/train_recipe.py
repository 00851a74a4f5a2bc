"""`jetson-face train -c RECIPE`: the shipped embedding, from a recipe to a run folder."""

from __future__ import annotations

import argparse
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from jetson_face.cli.common import add_set
from jetson_face.cli.train_export import check_export, shipped_files
from jetson_face.training.machine import need_torch
from jetson_face.training.settings import TrainConfig
from jetson_face.util.documents import load_document
from jetson_face.util.interrupt import EXIT_INTERRUPTED, catching

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Recipe, changes to it, resuming, exporting."""
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help="recipe")
    add_set(parser, "change one key, as in --set optim.minutes=30")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the run folder's checkpoint"
    )
    parser.add_argument(
        "--export", type=Path, metavar="DIR", help="write ONNX files, golden and card when done"
    )


def run(args: argparse.Namespace) -> int:
    """Train as the recipe says; 0 when finished, 130 when stopped by SIGINT, SIGTERM or SIGHUP.

    Raises:
        ConfigError: the recipe is not valid.
        InputMissingError: recipe or faces are absent.
        MissingDependencyError: PyTorch is not installed.
        UsageError: the run folder is in use and ``--resume`` was not given, or a file of
            ``--export`` would take the place of the recipe.
        CollapseError: training has collapsed.
    """
    config = load_document(args.config, TrainConfig, overrides=args.overrides)
    check_export(args.export, shipped_files(config), args.config, [config.start])
    need_torch()
    from jetson_face.training.recipe import train_recipe

    with _stop_on_signal() as stop:
        done = train_recipe(config, stop, resume=args.resume, ship_to=args.export)
    if done < 1:
        log.warning("stopped at %.1f %%; go on with --resume", 100 * done)
        return EXIT_INTERRUPTED
    return 0


@contextmanager
def _stop_on_signal() -> Iterator[Callable[[], bool]]:
    """True once a signal came that ends it, so that the step in hand ends and a checkpoint is
    written."""
    came = threading.Event()
    main = threading.current_thread() is threading.main_thread()
    with catching(lambda *_: came.set()) if main else nullcontext():
        yield came.is_set
