"""Targets that lean to the middle of what the teachers say of all pictures of a person."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from jetson_face.core.types import I64
from jetson_face.util.files import write_file

log = logging.getLogger(__name__)


class PersonMiddles:
    """Middles of people with two or more pictures that agree.

    A teacher's vector is of a picture; what two pictures of a person differ in is nothing that a
    small network should spend itself on. A picture whose cosine to the middle of the person's
    others is below ``least`` is taken for somebody else's: labels are noisy.

    labels: (N,) a person's number, -1 unknown. rows: (M,) the labelled faces among the N.
    joined: (M, numbers) the teachers' joined vectors of their clean crops.
    """

    def __init__(self, labels: I64, rows: I64, joined: Tensor, least: float) -> None:
        people = torch.from_numpy(labels[rows]).to(joined.device)
        count = int(labels.max(initial=-1)) + 1
        apart = joined - joined.mean(0)
        others = _summed(apart, people, count)[people] - apart
        agree = F.cosine_similarity(apart, others, dim=1) >= least  # alone: others are 0, no
        number = _summed(agree[:, None].float(), people, count)[:, 0]
        self._middle = _summed(joined * agree[:, None], people, count)
        self._middle /= number.clamp_min(1)[:, None]
        member = agree & (number[people] >= 2)
        self._person = torch.full((len(labels),), -1, device=joined.device)
        self._person[torch.from_numpy(rows).to(joined.device)] = torch.where(member, people, -1)
        self.faces = int(member.sum())

    def lean(self, joined: Tensor, rows: I64, share: float) -> Tensor:
        """Joined vectors (B, numbers) of faces at ``rows``, ``share`` of the way to the middle."""
        person = self._person[torch.from_numpy(rows).to(joined.device)]
        middle = self._middle[person.clamp_min(0)]
        middle = middle * (joined.norm(dim=1) / middle.norm(dim=1).clamp_min(1e-6))[:, None]
        known = (person >= 0)[:, None]
        return torch.where(known, joined + share * (middle - joined), joined)


def _summed(values: Tensor, people: Tensor, count: int) -> Tensor:
    out = torch.zeros(count, values.shape[1], device=values.device, dtype=values.dtype)
    return out.index_add_(0, people, values)


def vectors_of(
    rows: I64, ask: Callable[[I64], Tensor], cache: Path, told: str, most: int = 64
) -> Tensor:
    """``ask`` for the joined vectors of faces at ``rows``, or what an earlier run was told.

    ``told`` says which teachers and faces these are: other ones have a file of their own.
    """
    digest = hashlib.sha256(told.encode() + rows.tobytes()).hexdigest()[:16]
    path = cache / f"people_{digest}.npy"
    if path.exists():
        return torch.from_numpy(np.load(path, allow_pickle=False)).float()
    out: list[Tensor] = []
    for start in range(0, len(rows), most):
        out.append(ask(rows[start : start + most]).half().cpu())
        if start // most % 50 == 0:
            log.info("asking the teachers of people: %d of %d faces", start, len(rows))
    joined = torch.cat(out)
    cache.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.save(buffer, joined.numpy(), allow_pickle=False)
    write_file(path, buffer.getvalue())
    return joined.float()
