"""Losses on unit vectors: distillation, whole-bank relations, class margins, triplets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from jetson_face.training.settings import LossSettings


def distill(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean of 1 - cosine; both (N, D) of unit length. In [0, 2]."""
    return (1 - (student * teacher).sum(1)).mean()


def gram(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the two batch similarity matrices.

    Tung and Mori, "Similarity-Preserving Knowledge Distillation", 2019, equation 4, on cosines.
    """
    return F.mse_loss(student @ student.T, teacher @ teacher.T)


def bank(
    student: Tensor,
    own: Tensor,
    negatives: Tensor,
    tau: float,
    margin: float = 0.0,
    same_min: float = 0.5,
) -> Tensor:
    """Cross-entropy of finding one's own teacher vector among many.

    Fixed class centres as in Shi et al., "ProxylessKD", 2020; the margin as in CosFace. A negative
    whose teacher cosine to the own vector is ``same_min`` or more may be the same person and is
    left out.

    Args:
        student: (N, D) unit vectors.
        own: (N, D) unit teacher vectors of the same faces.
        negatives: (M, D) unit teacher vectors of any faces, the own ones allowed.
    """
    away = (own @ negatives.T) >= same_min
    others = (student @ negatives.T / tau).masked_fill(away, float("-inf"))
    mine = (student * own).sum(1, keepdim=True) - margin
    # Equal to cross-entropy over [mine / tau, others] without joining the two.
    rest = torch.logsumexp(others, dim=1, keepdim=True) - mine / tau
    return F.softplus(rest).mean()


def margin_logits(
    cosine: Tensor, label: Tensor, kind: str, scale: float = 30.0, margin: float = 0.3
) -> Tensor:
    """Class cosines (N, C) to logits, the true class made harder by ``margin``.

    ``softmax``: none; ``cosface``: cos t - m (Wang et al., 2018, equation 4); ``arcface``: cos(t +
    m) (Deng et al., 2019, equation 3), continued by cos t - m sin m where t + m would pass pi.

    Raises:
        ValueError: unknown kind.
    """
    true = cosine.gather(1, label[:, None])
    if kind == "softmax":
        hard = true
    elif kind == "cosface":
        hard = true - margin
    elif kind == "arcface":
        angle = true.clamp(-1 + 1e-6, 1 - 1e-6).acos()
        late = true - margin * torch.sin(torch.tensor(margin))
        hard = torch.where(angle + margin < torch.pi, (angle + margin).cos(), late)
    else:
        raise ValueError(f"unknown margin {kind!r}: use softmax, cosface or arcface")
    return scale * cosine.scatter(1, label[:, None], hard)


def triplet_semi_hard(vectors: Tensor, label: Tensor, margin: float = 0.2) -> Tensor:
    """Triplet loss on squared L2 distances with semi-hard negatives mined in the batch.

    Schroff et al., "FaceNet", 2015, equation 2 and section 3.2: for every anchor and positive, the
    nearest negative that is further than the positive; the furthest negative of all where there is
    none. Unlabelled faces (label < 0) serve as nothing. Zero (with a gradient) if no pair exists.
    """
    distance = (2 - 2 * vectors @ vectors.T).clamp_min(0)
    known = label >= 0
    same = (label[:, None] == label[None]) & known[:, None] & known[None]
    differ = (label[:, None] != label[None]) & known[:, None] & known[None]
    same = same & ~torch.eye(len(label), dtype=torch.bool, device=label.device)
    anchor, positive = same.nonzero(as_tuple=True)
    usable = differ.any(1)[anchor]
    anchor, positive = anchor[usable], positive[usable]
    if len(anchor) == 0:
        return vectors.sum() * 0
    near = distance[anchor, positive]
    rows, allowed = distance[anchor], differ[anchor]
    further = allowed & (rows > near[:, None])
    semi = rows.masked_fill(~further, float("inf")).amin(1)
    furthest = rows.masked_fill(~allowed, float("-inf")).amax(1)
    negative = torch.where(further.any(1), semi, furthest)
    return F.relu(near - negative + margin).mean()


class Mix(nn.Module):
    """The weighted sum of the chosen losses; holds the class centres when a class loss is on."""

    def __init__(self, how: LossSettings, dim: int, classes: int, teacher: Tensor | None) -> None:
        """``teacher`` (N, dim) is the whole bank.

        Raises:
            ValueError: a loss needs labels or teacher vectors that there are not.
        """
        super().__init__()
        self.how = how
        needs_teacher = how.distill + how.gram + how.bank > 0
        if needs_teacher and teacher is None:
            raise ValueError("loss: distill, gram and bank need data.teacher vectors")
        if teacher is not None and needs_teacher and teacher.shape[1] != dim:
            raise ValueError(f"loss: teacher has {teacher.shape[1]} dimensions, the net {dim}")
        self.register_buffer("teacher", teacher, persistent=False)
        self.kinds = [k for k in ("softmax", "cosface", "arcface") if getattr(how, k) > 0]
        if (self.kinds or how.triplet > 0) and classes < 2:
            raise ValueError("loss: class and triplet losses need faces of two or more people")
        self.centres = nn.Parameter(torch.randn(classes, dim)) if self.kinds else None

    def forward(
        self, vectors: Tensor, index: Tensor, label: Tensor, draw: torch.Generator
    ) -> dict[str, Tensor]:
        """Parts already weighted, and ``total``; vectors (N, dim), index and label (N,) int64."""
        how = self.how
        parts: dict[str, Tensor] = {}
        if self.teacher is not None:
            parts |= self._teacher_parts(vectors, index, draw)
        known = label >= 0
        if self.centres is not None and bool(known.any()):
            cosine = vectors[known] @ F.normalize(self.centres, dim=1).T
            for kind in self.kinds:
                logits = margin_logits(cosine, label[known], kind, how.scale, how.margin)
                parts[kind] = getattr(how, kind) * F.cross_entropy(logits, label[known])
        if how.triplet > 0:
            parts["triplet"] = how.triplet * triplet_semi_hard(vectors, label, how.triplet_margin)
        parts["total"] = sum(parts.values(), start=vectors.sum() * 0)
        return parts

    def _teacher_parts(
        self, vectors: Tensor, index: Tensor, draw: torch.Generator
    ) -> dict[str, Tensor]:
        how, everyone = self.how, self.teacher
        own = everyone[index].float()
        parts: dict[str, Tensor] = {}
        if how.distill > 0:
            parts["distill"] = how.distill * distill(vectors, own)
        if how.gram > 0:
            parts["gram"] = how.gram * gram(vectors, own)
        if how.bank > 0:
            rows = torch.randint(
                len(everyone), (min(how.bank_rows, len(everyone)),), generator=draw
            )
            negatives = everyone[rows.to(everyone.device)].float()
            parts["bank"] = how.bank * bank(
                vectors, own, negatives, how.bank_tau, how.bank_margin, how.bank_same_min
            )
        return parts
