"""Collapse is seen, said with the remedy, and not cried for healthy vectors."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="training needs the extra 'train' (PyTorch)")

import torch
from torch.nn import functional as F

from jetson_face.training.collapse import CollapseError, CollapseWatch
from jetson_face.training.settings import LossSettings

HOW = LossSettings(distill=0, triplet=1.0, triplet_margin=0.2)


def _spread_out() -> torch.Tensor:
    return F.normalize(torch.randn(64, 32, generator=torch.Generator().manual_seed(0)), dim=1)


def test_one_point_for_everybody_raises_with_the_remedy() -> None:
    watch = CollapseWatch(HOW, every=1, patience=3)
    point = _spread_out()[:1].expand(64, 32)
    for step in range(2):
        watch.see(step, point, {"triplet": 0.2})
    with pytest.raises(CollapseError, match=r"are equal.*rests at its margin.*Remedy"):
        watch.see(2, point, {"triplet": 0.2})


def test_a_bad_moment_that_passes_is_no_collapse() -> None:
    watch = CollapseWatch(HOW, every=1, patience=3)
    point, healthy = _spread_out()[:1].expand(64, 32), _spread_out()
    for step in range(20):
        watch.see(step, healthy if step % 3 == 2 else point, {"triplet": 0.2})
    assert watch.bad_checks == 2


def test_healthy_vectors_have_no_signs_even_with_the_loss_at_the_margin() -> None:
    assert CollapseWatch(HOW).signs(_spread_out(), {"triplet": 0.2}) == ""
