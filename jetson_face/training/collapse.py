"""Watches for collapse: every face mapped to one point, the triplet loss resting at its margin."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from jetson_face.core.errors import JetsonFaceError

if TYPE_CHECKING:
    from jetson_face.training.settings import LossSettings

log = logging.getLogger(__name__)

REMEDY = (
    "Remedy: lower the learning rate (optim.rate) by 3 to 10, add loss.distill or loss.cosface "
    "beside the triplet loss, use semi-hard negatives only after some epochs of it, and check "
    "the labels."
)


class CollapseError(JetsonFaceError, RuntimeError):
    """The vectors have become one point; the message says what to change."""


class CollapseWatch:
    """Checks every ``every``-th step; raises after ``patience`` bad checks in a row.

    Two signs: the vectors' spread (mean squared L2 distance between different faces of a batch, 2
    for unrelated unit vectors) is under ``spread_min``; or the triplet loss stays within ``rest``
    of its margin, which is what it is when all distances are equal.
    """

    def __init__(
        self,
        how: LossSettings,
        every: int = 20,
        patience: int = 10,
        spread_min: float = 0.02,
        rest: float = 0.02,
    ) -> None:
        self._how, self._every, self._patience = how, every, patience
        self._spread_min, self._rest = spread_min, rest
        self.bad_checks = 0

    def see(self, step: int, vectors: torch.Tensor, parts: dict[str, float]) -> None:
        """Check unit vectors (N, D) and the weighted losses of a step.

        Raises:
            CollapseError: ``patience`` bad checks in a row.
        """
        if step % self._every:
            return
        signs = self.signs(vectors, parts)
        self.bad_checks = self.bad_checks + 1 if signs else 0
        if not signs:
            return
        log.warning("step %d: %s (check %d of %d)", step, signs, self.bad_checks, self._patience)
        if self.bad_checks >= self._patience:
            raise CollapseError(f"training has collapsed at step {step}: {signs}. {REMEDY}")

    def signs(self, vectors: torch.Tensor, parts: dict[str, float]) -> str:
        """What is wrong, in words; empty when nothing is."""
        found: list[str] = []
        count = len(vectors)
        mean = vectors.float().mean(0)
        # Mean squared distance over ordered pairs i != j of unit vectors: 2 (1 - |mean|^2) N / (N -
        # 1).
        spread = 2 * (1 - float(mean @ mean)) * count / max(count - 1, 1)
        if spread < self._spread_min:
            found.append(f"all distances are equal: mean squared distance {spread:.4f}")
        margin = self._how.triplet_margin
        if "triplet" in parts and spread < 0.5:
            loss = parts["triplet"] / self._how.triplet
            if abs(loss - margin) < self._rest * margin:
                found.append(f"triplet loss {loss:.4f} rests at its margin {margin}")
        return "; ".join(found)
