"""Muon: momentum whose matrix is made orthogonal before the step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


def orthogonal(matrix: Tensor, rounds: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrix, roughly: singular values between 0.7 and 1.2.

    Newton-Schulz with the coefficients of Jordan et al., "Muon", 2024.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(rounds):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """For kernels of two or more axes, taken as matrices (outputs, the rest)."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One step; ``closure`` is not used."""
        with torch.no_grad():
            for group in self.param_groups:
                for param in group["params"]:
                    if param.grad is not None:
                        self._move(param, group)
        return None

    def _move(self, param: Tensor, group: dict[str, Any]) -> None:
        state = self.state[param]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(param)
        held = state["momentum"]
        held.lerp_(param.grad, 1 - group["momentum"])
        ahead = param.grad.lerp(held, group["momentum"]).flatten(1)
        turned = orthogonal(ahead)
        scale = max(1.0, ahead.shape[0] / ahead.shape[1]) ** 0.5
        param.mul_(1 - group["lr"] * group["weight_decay"])
        param.add_(turned.view_as(param), alpha=-group["lr"] * scale)
