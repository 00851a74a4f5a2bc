"""`jetson-face train -c RECIPE` with `networks`, or `--net all`: one table of all networks."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetson_face.cli.common import command_line, notes_of, say_text
from jetson_face.core.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    from jetson_face.training.compare import CompareConfig
    from jetson_face.training.small import SmallSet

_log = logging.getLogger(__name__)
PLOT = "networks.png"
RULES = (
    "Accuracy: share of held-out photos, one in four of everybody, that the softmax layer gives to "
    "the right person. As it came: share of them whose nearest photo of the training part is of "
    "the right person, before anything was learnt of these people.",
    "Seconds: of processor time (all threads together), training alone. All networks get the same "
    "number of batches of the same people.",
    "Last: the linear layer over the features. Block: the last block of the network as well.",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the table goes."""
    group = parser.add_argument_group("comparing networks (-c RECIPE with networks, or --net all)")
    group.add_argument("--markdown", type=Path, metavar="FILE", help="the table")
    group.add_argument("--notes", type=Path, metavar="FILE", help="text to put before the table")
    group.add_argument("--json", type=Path, metavar="FILE")
    group.add_argument("--plots", type=Path, metavar="DIR")


def run(
    config: CompareConfig, general: SmallSet | None, people: SmallSet, args: argparse.Namespace
) -> int:
    """Train every network, print the table, write what was asked for; the folder of `--export`
    keeps the networks, and rows that need not be done again."""
    from jetson_face.training.compare import compare_one

    if args.export is None:
        raise UsageError("comparing networks needs --export DIR: they and the rows are kept there")
    notes = notes_of(args.notes)
    rows: list[dict[str, Any]] = []
    for number, network in enumerate(config.networks, 1):
        _log.info("%s (%d of %d)", network, number, len(config.networks))
        rows.append(compare_one(config, network, general, people, args.export))
        _leave(args, rows, people, notes)
    say_text(table(rows, config.layers))
    return 0


def table(rows: list[dict[str, Any]], layers: tuple[str, ...]) -> str:
    """Markdown; a line a network."""
    from jetson_face.evaluation import report

    header = ["network", "picture, px", "parameters", "MiB", "began with", "as it came"]
    header += [f"{which}: s / accuracy" for which in layers]
    lines = []
    for row in rows:
        done = row["finetune"]
        began = row["start"]
        if row["pretrain"] is not None:
            from_what = row["pretrain"]["started_from"]
            faces = row["pretrain"]["faces_seen"]
            began = f"{from_what}, then {faces} faces in {row['pretrain']['seconds']:.0f} s"
        lines.append(
            [
                row["network"],
                done[0]["side"],
                f"{done[0]['parameters']:,}",
                f"{row['mib']:.1f}",
                began,
                report.percent(done[0]["accuracy_before"], 1),
                *(
                    f"{each['seconds']:.1f} / {report.percent(each['accuracy_softmax'], 1)}"
                    for each in done
                ),
            ]
        )
    return report.table(header, lines)


def _leave(
    args: argparse.Namespace, rows: list[dict[str, Any]], people: SmallSet, notes: str
) -> None:
    from jetson_face.evaluation import report
    from jetson_face.util.files import write_file
    from jetson_face.util.machine import machine_facts

    layers = tuple(each["layers"] for each in rows[0]["finetune"])
    image = ""
    if args.plots is not None:
        try:
            _plot(rows, args.plots / PLOT)
            image = f"![{PLOT}]({args.plots.name}/{PLOT})"
        except MissingDependencyError as error:
            _log.warning("%s", error)
    machine = machine_facts()
    if args.json is not None:
        report.write_json(args.json, {"kind": "networks", "rows": rows, "machine": machine})
    if args.markdown is None:
        return
    text = report.page(
        "Networks compared",
        "Transfer learning with the networks of the source material. Made by:",
        f"```\n{command_line(sys.argv[1:])}\n```",
        notes,
        f"People: {people.people} of {people.origin}, {len(people.labels)} photos. "
        f"Machine: {machine['cpu']}, {machine['cores_usable']} cores, no GPU used.",
        table(rows, layers),
        image,
        report.bullets(RULES),
    )
    write_file(args.markdown, text)


def _plot(rows: list[dict[str, Any]], path: Path) -> None:
    from jetson_face.evaluation.report import plot_points

    plot_points(
        path,
        {
            f"{row['network']} {each['layers']}": (
                max(each["seconds"], 0.01),
                100 * each["accuracy_softmax"],
                row["mib"],
            )
            for row in rows
            for each in row["finetune"]
        },
        title="Accuracy against training time (area: MiB)",
        x="processor seconds of training",
        y="held-out photos right, per cent",
    )
