"""The mean of several runs' weights."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="training needs the extra 'train' (PyTorch)")

import torch
import train_average

from jetson_face.core.errors import InputBrokenError


def test_weights_are_averaged_and_the_rest_is_the_last_runs() -> None:
    one = {"shape": 1, "target": "sface", "axes": torch.eye(2)}
    first = one | {"ema": {"w": torch.tensor([0.0, 2.0]), "n": torch.tensor(3)}, "step": 5}
    last = one | {"ema": {"w": torch.tensor([1.0, 4.0]), "n": torch.tensor(7)}, "step": 9}
    made = train_average.mean_of([first, last])
    assert made["ema"]["w"].tolist() == [0.5, 3.0]
    assert (int(made["ema"]["n"]), made["step"]) == (7, 9)
    assert last["ema"]["w"].tolist() == [1.0, 4.0]
    with pytest.raises(InputBrokenError, match="different shapes"):
        train_average.mean_of([first, last | {"shape": 2}])
    for other in ({"target": "openface"}, {"axes": -torch.eye(2)}):
        with pytest.raises(InputBrokenError, match="different targets"):
            train_average.mean_of([first | other, last])
