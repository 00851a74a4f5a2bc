"""What takes a campaign's steps, and at which rate: AdamW, or Muon for the kernels.

Muon is momentum whose matrix is made orthogonal before the step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from jetson_face.training.loop import one_cycle

if TYPE_CHECKING:
    from jetson_face.training.campaign.settings import CampaignOptimSettings


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


def rate_part(done: float, how: CampaignOptimSettings) -> float:
    """Share of the highest rate at ``done`` of a cycle: see ``one_cycle``."""
    return one_cycle(done, how.warmup, first=0.02, last=how.floor)


def optimisers(parts: list[nn.Module], how: CampaignOptimSettings) -> list[torch.optim.Optimizer]:
    """AdamW; no decay on biases, norms and slopes. With ``muon`` the kernels have their own."""
    every = [p for part in parts for p in part.parameters()]
    kernels = [p for p in every if p.ndim > 1]
    out: list[torch.optim.Optimizer] = []
    if how.kind == "muon":
        turned = [p for p in kernels if p.shape[1] > 1]
        out.append(Muon(turned, how.muon_rate, how.weight_decay))
        kernels = [p for p in kernels if p.shape[1] == 1]
    groups = [
        {"params": kernels, "weight_decay": how.weight_decay},
        {"params": [p for p in every if p.ndim <= 1], "weight_decay": 0.0},
    ]
    out.append(torch.optim.AdamW([g for g in groups if g["params"]], lr=how.rate, fused=True))
    for optim in out:
        for group in optim.param_groups:
            group["peak"] = group["lr"]
    return out
