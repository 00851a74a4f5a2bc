"""Prints what was predicted for a board beside what was measured on it.

python tools/board_table.py --predicted roofline.json --measured gpu_check.json [--board NAME]
    [--run csi=report.json ...]

predicted: `tools/roofline.py --json`. measured: of `tools/gpu_check.sh`. run: a report of
`jetson-face run --report`, by the camera path that it was of.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MODEL = Path("/proc/device-tree/model")
NAMES = (
    ("Thor", "AGX Thor (T5000)"),
    ("AGX Orin", "AGX Orin 64GB"),
    ("Orin NX", "Orin NX 16GB (25 W)"),
    ("Orin Nano", "Orin Nano 8GB (25 W)"),
)
"""Part of what the board calls itself, and the prediction's board."""
STAGES = (
    ("P-Net,", "pnet", 1),
    ("The same with its pyramid", "search", 1),
    ("R-Net, 64", "rnet", 64),
    ("O-Net, 16", "onet", 16),
    ("O-Net, 4 ", "onet", 4),
    ("YuNet from", "yunet_frame", 1),
    ("YuNet, 4 ", "yunet_tiles", 4),
    ("Embedding, 1 ", "embed", 1),
    ("Embedding, 4 ", "embed", 4),
    ("Embedding, 16 ", "embed", 16),
)
"""How a predicted stage begins, and the network and batch that is measured for it."""
PATHS = {"csi": (0.1, 0.4), "rtsp": (0.1, 0.4), "usb": (5.0, 13.0)}
"""Milliseconds of the CPU for a frame, by camera path: engines/JETSON.md."""
SAME_PER_LEVEL = "pnet"
"""Measured for one level, predicted for all of a frame: not put beside each other."""


def board_name(model: str) -> str:
    """The prediction's board for what a board calls itself. Raises ValueError."""
    for part, name in NAMES:
        if part in model:
            return name
    raise ValueError(f"no prediction for {model.strip() or 'this machine'}: --board NAME")


def verdict(low: float, high: float, measured: float) -> str:
    """What the measured figure says of the predicted range."""
    if measured > high:
        return f"slower, {measured / high:.1f} x the high end"
    if measured < low:
        return f"faster, {measured / low:.2f} of the low end"
    return "as expected"


def stage_rows(
    predicted: Sequence[Mapping[str, Any]], measured: Sequence[Mapping[str, Any]], board: str
) -> list[list[str]]:
    """A row for each stage and precision that was measured on TensorRT."""
    rows = []
    for begins, network, batch in STAGES:
        if network == SAME_PER_LEVEL:
            continue
        stage = next((row for row in predicted if row["stage"].startswith(begins)), None)
        for found in measured:
            asked = (found["network"], found["batch"]) == (network, batch)
            if stage is None or not asked or found["runner"] == "onnxruntime":
                continue
            low, high = stage[f"{found['precision']}_ms"][board]
            kernels = found.get("bare_ms", found["median_ms"])
            rows.append(
                [
                    stage["stage"],
                    found["precision"],
                    f"{low:.2f}–{high:.2f}",
                    f"{kernels:.2f}",
                    f"{found['median_ms']:.2f}",
                    verdict(low, high, kernels),
                ]
            )
    return rows


def path_rows(reports: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """A row for each camera path: how old a frame is when it is decided, and how fast all of it
    runs; a camera that gave no frame to search has no time of the detector."""
    rows = []
    for path, report in reports.items():
        stages = {stage["name"]: stage for stage in report["stages"]}
        source = report["sources"][0]
        low, high = PATHS.get(path, (float("nan"), float("nan")))
        rows.append(
            [
                path,
                f"{low:.1f}–{high:.1f}",
                f"{source['age_p50_ms']:.1f}" if source["age_p50_ms"] is not None else "-",
                f"{stages['detect']['p50_ms']:.1f}" if "detect" in stages else "-",
                f"{source['decision_fps'] or 0:.1f}",
                str(sum(source["dropped"].values())),
            ]
        )
    return rows


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """As Markdown."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def main(argv: Sequence[str] | None = None) -> int:
    """0, or 1 where nothing was measured that was predicted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predicted", type=Path, required=True)
    parser.add_argument("--measured", type=Path, required=True)
    parser.add_argument("--board", choices=[name for _, name in NAMES])
    parser.add_argument("--run", action="append", default=[], metavar="PATH=FILE")
    args = parser.parse_args(argv)
    board = args.board or board_name(MODEL.read_text() if MODEL.exists() else "")
    measured = json.loads(args.measured.read_text("utf-8"))
    rows = stage_rows(json.loads(args.predicted.read_text("utf-8")), measured["timings"], board)
    if measured.get("dry_run"):
        print("DRY RUN: a simulated GPU; the figures mean nothing\n")
    print(f"{board}, milliseconds\n")
    head = ["stage", "precision", "predicted", "kernels", "with copies and waiting", ""]
    print(table(head, rows))
    reports = {}
    for given in args.run:
        path, _, file = given.partition("=")
        reports[path] = json.loads(Path(file).read_text("utf-8"))
    if reports:
        head = ["camera", "CPU for a frame, predicted ms", "age when decided, p50 ms",
                "detect, ms", "decided frames/s", "dropped"]  # fmt: skip
        print("\n" + table(head, path_rows(reports)))
    return 0 if rows else 1


if __name__ == "__main__":
    sys.exit(main())
