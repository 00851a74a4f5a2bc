"""A network that is given more fire modules goes on from where the smaller one ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="training needs the extra 'train' (PyTorch)")

import torch

from jetson_face.core.errors import InputBrokenError, InputMissingError
from jetson_face.training import data, loop
from jetson_face.training.net import SqueezeNetFace, start_from
from jetson_face.training.settings import TrainConfig


def _settled() -> SqueezeNetFace:
    """A network whose running statistics fit what it sees, as after training."""
    torch.manual_seed(0)
    net = SqueezeNetFace(16)
    with torch.no_grad():
        for _ in range(20):
            net.train()(torch.rand(8, 3, 112, 112) * 2 - 1)
    net.eval()
    return net


def test_repeated_fires_begin_near_the_identity() -> None:
    small = _settled()
    grown = SqueezeNetFace(16, repeat=(5, 7)).eval()
    faces = torch.rand(8, 3, 112, 112) * 2 - 1
    with torch.no_grad():
        before = (small(faces) * grown(faces)).sum(1).mean()
        assert start_from(grown, small.state_dict()) == ("trunk.fire5_1", "trunk.fire7_1")
        after = (small(faces) * grown(faces)).sum(1).mean()
    assert before < 0.5 < 0.9 < after


def test_new_fires_learn_from_the_first_step() -> None:
    grown = SqueezeNetFace(16, repeat=(7,))
    start_from(grown, SqueezeNetFace(16).state_dict())
    grown(torch.rand(8, 3, 112, 112))[:, 0].sum().backward()
    fresh = grown.get_submodule("trunk.fire7_1")
    assert all(float(p.grad.abs().sum()) > 0 for p in fresh.parameters() if p.grad is not None)
    assert all(p.grad is not None for p in fresh.parameters())


@pytest.mark.parametrize(
    "other", [SqueezeNetFace(16, stem="patch"), SqueezeNetFace(16, repeat=(3,))]
)
def test_other_differences_are_refused(other: SqueezeNetFace) -> None:
    with pytest.raises(ValueError, match="other layers"):
        start_from(SqueezeNetFace(16, repeat=(7,)), other.state_dict())


def test_a_run_starts_from_the_averaged_weights_of_another(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    first = loop.Trainer(TrainConfig.model_validate(recipe), _faces(recipe))
    first.train(stop=lambda: first.step >= 2)
    first.save()
    start = first.config.run / loop.CHECKPOINT
    more = recipe | {"run": str(tmp_path / "second"), "start": str(start)}
    more["net"] = recipe.get("net", {}) | {"repeat": [5]}
    second = loop.Trainer(TrainConfig.model_validate(more), _faces(recipe))
    for name, value in first.ema.state_dict().items():
        assert torch.equal(value, second.net.state_dict()[name]), name


def test_a_start_of_another_size_is_named(recipe: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save({"ema": SqueezeNetFace(8).state_dict()}, path)
    with pytest.raises(InputBrokenError, match=r"other\.pt is of another network"):
        loop.Trainer(TrainConfig.model_validate(recipe | {"start": str(path)}), _faces(recipe))


def test_an_absent_start_is_named(recipe: dict[str, Any]) -> None:
    with pytest.raises(InputMissingError, match=r"nowhere/checkpoint\.pt is absent"):
        loop.Trainer(
            TrainConfig.model_validate(recipe | {"start": "nowhere/checkpoint.pt"}), _faces(recipe)
        )


def _faces(recipe: dict[str, Any]) -> data.FaceSet:
    config = TrainConfig.model_validate(recipe)
    return data.load(config.data, config.net.dim)
