"""Targets that lean to the middle of a person's pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the extra 'train' (PyTorch)")

import torch
from torch import Tensor
from torch.nn import functional as F

from jetson_face.core.types import I64
from jetson_face.training.campaign.people import PersonMiddles, vectors_of

LABELS = np.array([0, -1, 0, 1, 0, 1, 2, 0], np.int64)
"""Face 1 is unknown, person 2 has one picture; face 7 is not person 0."""
ROWS = np.array([0, 2, 3, 4, 5, 6, 7], np.int64)


def vectors() -> Tensor:
    """Of all eight faces, two units long: two people's in different corners, some noise."""
    draw = torch.Generator().manual_seed(5)
    out = 0.1 * torch.randn(8, 6, generator=draw)
    for face, corner in enumerate((0, 3, 0, 1, 0, 1, 2, 4)):
        out[face, corner] += 1
    return 2 * F.normalize(out, dim=1)


def people() -> PersonMiddles:
    return PersonMiddles(LABELS, ROWS, vectors()[ROWS], 0.35)


def test_a_known_face_leans_to_the_middle_and_keeps_its_length() -> None:
    all_ = vectors()
    rows = np.arange(8)
    there = people().lean(all_, rows, 1.0)
    middle = all_[[0, 2, 4]].mean(0)
    for face in (0, 2, 4):
        torch.testing.assert_close(F.normalize(there[face], dim=0), F.normalize(middle, dim=0))
    torch.testing.assert_close(there.norm(dim=1), torch.full((8,), 2.0))
    half = people().lean(all_, rows, 0.5)
    torch.testing.assert_close(half, (all_ + there) / 2)


@pytest.mark.parametrize("face", [1, 6, 7], ids=["unknown", "one picture", "wrong label"])
def test_who_has_no_middle_keeps_the_own_vector(face: int) -> None:
    told = people().lean(vectors()[[face]], np.array([face]), 1.0)
    torch.testing.assert_close(told, vectors()[[face]])


def test_wrong_labels_are_counted_out() -> None:
    assert people().faces == 5
    assert PersonMiddles(LABELS, ROWS, vectors()[ROWS], -1.0).faces == 6


def test_teachers_are_asked_once(tmp_path: Path) -> None:
    asked: list[int] = []

    def ask(rows: I64) -> Tensor:
        asked.extend(rows.tolist())
        return vectors()[rows]

    first = vectors_of(ROWS, ask, tmp_path / "cache", "a teacher", most=3)
    again = vectors_of(ROWS, ask, tmp_path / "cache", "a teacher", most=3)
    assert asked == ROWS.tolist()
    torch.testing.assert_close(first, again)
    torch.testing.assert_close(first, vectors()[ROWS], atol=2e-3, rtol=0)
    vectors_of(ROWS, ask, tmp_path / "cache", "another teacher")
    vectors_of(ROWS[1:], ask, tmp_path / "cache", "a teacher")
    assert len(asked) == 3 * len(ROWS) - 1
