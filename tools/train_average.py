"""The mean of the averaged weights of several runs of one campaign, as a run of its own.

    python tools/train_average.py RUN RUN... --out RUN

All the rest of the new checkpoint is the last run's. Runs that began at one place lie close enough
together that what is between them is a network, too (Izmailov et al., "Averaging weights leads to
wider optima and better generalization", 2018).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))

from jetson_face.core.errors import InputBrokenError  # noqa: E402
from jetson_face.training.campaign.state import read_checkpoint  # noqa: E402
from jetson_face.training.loop import CHECKPOINT, write_checkpoint  # noqa: E402


def mean_of(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The last state with the mean of all averaged weights. Raises InputBrokenError."""
    last = states[-1]
    if any(state["shape"] != last["shape"] for state in states):
        raise InputBrokenError("the runs are of networks of different shapes")
    for state in states:
        same = state["target"] == last["target"] and torch.equal(state["axes"], last["axes"])
        if not same:
            raise InputBrokenError(
                f"the runs learn different targets: {state['target']} and {last['target']}, or "
                "turned otherwise: their weights have no mean"
            )
    ema = {
        key: torch.stack([state["ema"][key] for state in states]).mean(0)
        if value.is_floating_point()
        else value
        for key, value in last["ema"].items()
    }
    return last | {"ema": ema}


def main() -> None:
    """Read, average, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN")
    args = parser.parse_args()
    made = mean_of([read_checkpoint(run) for run in args.runs])
    args.out.mkdir(parents=True, exist_ok=True)
    write_checkpoint(args.out / CHECKPOINT, made)
    print(args.out / CHECKPOINT)


if __name__ == "__main__":
    main()
