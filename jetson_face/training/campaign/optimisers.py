"""What takes a campaign's steps, and at which rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from jetson_face.training.campaign.muon import Muon
from jetson_face.training.loop import one_cycle

if TYPE_CHECKING:
    from jetson_face.training.campaign.settings import CampaignOptimSettings


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
