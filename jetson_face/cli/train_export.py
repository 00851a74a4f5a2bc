"""What `jetson-face train --export DIR` leaves there: never in the place of what it begins with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from jetson_face.cli.results import check_results

if TYPE_CHECKING:
    from jetson_face.training.settings import TrainConfig
    from jetson_face.training.transfer_settings import TransferConfig

_CARD = (".onnx", ".weights.npz", ".report.json", ".yaml")
_SHIPPED = (".onnx", "_fp16.onnx", "_int8.onnx", "_u8s8.onnx", ".golden.npz", ".yaml")


def card_files(config: TransferConfig) -> list[str]:
    """What `training.transfer_export.save` writes."""
    from jetson_face.training.transfer_export import name_of

    return [name_of(config) + end for end in _CARD]


def shipped_files(config: TrainConfig) -> list[str]:
    """What `training.export.export_run` writes."""
    return [config.name + end for end in _SHIPPED]


def check_export(
    folder: Path | None,
    files: Iterable[str],
    recipe: Path | None,
    inputs: Iterable[str | Path | None] = (),
) -> None:
    """Raises UsageError where one of `files` in the folder is the recipe or an input; nothing
    without a folder."""
    if folder is None:
        return
    given = [Path(one) for one in inputs if one is not None]
    check_results({name: folder / name for name in files}, inputs=given, config_files=[recipe])
