"""Losses against values worked out by hand."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("torch", reason="training needs the extra 'train' (PyTorch)")

import torch

from jetson_face.training import losses
from jetson_face.training.settings import LossSettings

EYE = torch.eye(3)


def test_distill_is_zero_for_equal_one_for_orthogonal_two_for_opposite() -> None:
    assert losses.distill(EYE, EYE).item() == pytest.approx(0)
    assert losses.distill(EYE, EYE.roll(1, 0)).item() == pytest.approx(1)
    assert losses.distill(EYE, -EYE).item() == pytest.approx(2)


def test_gram_sees_relations_and_not_rotations() -> None:
    turned = EYE.roll(1, 0)
    assert losses.gram(turned, EYE).item() == pytest.approx(0)
    same_point = EYE[:1].expand(3, 3)
    assert losses.gram(same_point, EYE).item() == pytest.approx(6 / 9)  # six off-diagonal ones


def test_bank_is_the_cross_entropy_over_own_and_negatives() -> None:
    student, own = EYE[:1], EYE[:1]
    loss = losses.bank(student, own, EYE[1:], tau=0.5)
    assert loss.item() == pytest.approx(-math.log(math.e**2 / (math.e**2 + 2)), rel=1e-5)


def test_bank_leaves_out_what_may_be_the_same_person() -> None:
    near = torch.tensor([[0.8, 0.6, 0.0]])
    student, own = EYE[:1], EYE[:1]
    apart = losses.bank(student, own, torch.cat((near, EYE[1:])), tau=0.5, same_min=0.5)
    assert apart.item() == pytest.approx(losses.bank(student, own, EYE[1:], tau=0.5).item())
    counted = losses.bank(student, own, torch.cat((near, EYE[1:])), tau=0.5, same_min=0.9)
    assert counted.item() > apart.item()


def test_bank_margin_makes_the_own_vector_harder() -> None:
    easy = losses.bank(EYE, EYE, EYE, tau=0.1)
    hard = losses.bank(EYE, EYE, EYE, tau=0.1, margin=0.2)
    assert hard.item() > easy.item()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("softmax", 0.5), ("cosface", 0.2), ("arcface", math.cos(math.pi / 3 + 0.3))],
)
def test_margin_is_taken_from_the_true_class_only(kind: str, expected: float) -> None:
    cosine = torch.tensor([[0.5, 0.1]])
    logits = losses.margin_logits(cosine, torch.tensor([0]), kind, scale=10, margin=0.3)
    assert logits[0].tolist() == pytest.approx([10 * expected, 1.0], abs=1e-4)


def test_arcface_stays_monotonic_past_pi() -> None:
    cosine = torch.linspace(-0.9999, 0.9999, 400)[:, None]
    label = torch.zeros(400, dtype=torch.long)
    logits = losses.margin_logits(cosine, label, "arcface", scale=1, margin=0.5)
    assert bool((logits.diff(dim=0) > 0).all())


def test_unknown_margin_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="sphereface"):
        losses.margin_logits(EYE, torch.tensor([0, 1, 2]), "sphereface")


def _at(*degrees: float) -> torch.Tensor:
    angle = torch.tensor(degrees) * math.pi / 180
    return torch.stack((angle.cos(), angle.sin()), 1)


def _squared(degrees: float) -> float:
    return 2 - 2 * math.cos(math.radians(degrees))


def test_triplet_takes_the_nearest_negative_beyond_the_positive() -> None:
    # Anchors 0 and 20 degrees are one person; negatives at 10 (too near for both), 50 and 120.
    vectors, label = _at(0, 20, 10, 50, 120), torch.tensor([0, 0, 1, 2, 3])
    wanted = [max(_squared(20) - _squared(d) + 1.0, 0) for d in (50, 30)]
    loss = losses.triplet_semi_hard(vectors, label, margin=1.0)
    assert loss.item() == pytest.approx(sum(wanted) / 2, abs=1e-5)


def test_triplet_falls_back_to_the_furthest_negative() -> None:
    vectors, label = _at(0, 90, 10, 20), torch.tensor([0, 0, 1, 2])
    wanted = [_squared(90) - _squared(20) + 0.2, _squared(90) - _squared(80) + 0.2]
    loss = losses.triplet_semi_hard(vectors, label, margin=0.2)
    assert loss.item() == pytest.approx(sum(wanted) / 2, abs=1e-5)


def test_triplet_of_one_point_rests_at_the_margin() -> None:
    vectors = _at(30, 30, 30, 30)
    loss = losses.triplet_semi_hard(vectors, torch.tensor([0, 0, 1, 1]), margin=0.2)
    assert loss.item() == pytest.approx(0.2)


def test_triplet_without_pairs_is_zero_and_differentiable() -> None:
    vectors = _at(0, 30, 60).requires_grad_()
    loss = losses.triplet_semi_hard(vectors, torch.tensor([-1, -1, 2]))
    loss.backward()
    assert loss.item() == 0


def test_unlabelled_faces_are_no_class_and_no_triplet() -> None:
    how = LossSettings(distill=0, softmax=1.0, triplet=1.0)
    mix = losses.Mix(how, 2, 2, None)
    parts = mix(_at(0, 90, 45), torch.arange(3), torch.tensor([-1, -1, -1]), torch.Generator())
    assert parts["total"].item() == 0
    assert "softmax" not in parts


def test_mix_adds_the_weighted_parts() -> None:
    how = LossSettings(distill=2.0, gram=3.0, bank=0.5, bank_tau=0.5)
    mix = losses.Mix(how, 3, 0, EYE)
    parts = mix(EYE.roll(1, 0), torch.arange(3), torch.full((3,), -1), torch.Generator())
    assert parts["distill"].item() == pytest.approx(2.0)
    assert parts["gram"].item() == pytest.approx(0.0)
    total = parts["distill"] + parts["gram"] + parts["bank"]
    assert parts["total"].item() == pytest.approx(total.item())


@pytest.mark.parametrize(
    ("how", "classes", "message"),
    [
        (LossSettings(distill=1.0), 5, "teacher"),
        (LossSettings(distill=0, arcface=1.0), 1, "two or more people"),
    ],
)
def test_a_loss_without_its_data_is_refused(how: LossSettings, classes: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        losses.Mix(how, 3, classes, None)
