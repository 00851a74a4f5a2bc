"""Answers that a network gave once, to compare its answers with on this machine.

A file of answers (.npz) has `output` for the `input` that is in it, or `output.NAME` for a picture
that is drawn by a formula: then `drawn` is its shape, and of every output only each `step`-th
number is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from jetson_face.core.errors import ModelError
from jetson_face.core.types import F32


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """input: what the network is fed. outputs: what it must answer, flat, by name; `` for the one
    output of a network. step: of the answer each such number counts."""

    input: F32
    outputs: Mapping[str, F32]
    step: int = 1

    def difference(self, answers: Mapping[str, F32]) -> float:
        """The largest distance from the answers by name, as a share of the output's largest number,
        or of 0.1 where that is larger.

        Raises ModelError where an output is missing or has another size.
        """
        worst = 0.0
        for name, wanted in self.outputs.items():
            have = answers.get(name) if name else next(iter(answers.values()))
            flat = None if have is None else have.ravel()[:: self.step]
            if flat is None or flat.shape != wanted.shape:
                raise ModelError(f"there is no output {name!r} of {wanted.size} numbers")
            largest = max(float(np.abs(wanted).max()), 0.1)
            apart = float(np.abs(flat.astype(np.float64) - wanted).max()) / largest
            worst = max(worst, apart if np.isfinite(apart) else np.inf)
        return worst


def drawn(shape: tuple[int, int, int, int]) -> F32:
    """(N, 3, H, W) whole numbers 0 to 255, the same on every machine: slopes, waves and edges."""
    n, channel, row, column = np.indices(shape)
    slope = 3 * row + 5 * column + 67 * channel + 29 * n
    blocks = ((row // 7 + column // 11 + channel) % 3) * 60
    return np.asarray((slope + (row * column) // 16 + blocks) % 256, np.float32)


def read_golden(path: Path) -> Golden:
    """Raises ModelError for a file that is missing or is none of answers."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            if "drawn" not in kept.files:
                given = np.asarray(kept["input"], np.float32)
                return Golden(given, {"": np.asarray(kept["output"], np.float32).ravel()})
            n, channels, height, width = (int(side) for side in kept["drawn"])
            outputs = {
                name.removeprefix("output."): np.asarray(kept[name], np.float32)
                for name in kept.files
                if name.startswith("output.")
            }
            return Golden(drawn((n, channels, height, width)), outputs, int(kept["step"]))
    except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
        raise ModelError(f"{path}: no answers to compare with: {error}") from error
