"""A network that is given more fire modules goes on from where the smaller one ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="training needs the extra 'train' (PyTorch)")

import torch

from jetson_face.core.errors import InputBrokenError, InputMissingError
from jetson_face.training import data, loop
from jetson_face.training.campaign.starting import start_from_kept
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


def test_wider_squeezes_begin_as_the_narrow_ones_and_learn() -> None:
    small = _settled()
    wide = SqueezeNetFace(16, squeeze={2: 32, 5: 64})
    with torch.no_grad():
        assert start_from_kept(wide, small.state_dict()) == "wider: trunk.fire2, trunk.fire5"
    faces = torch.rand(4, 3, 112, 112) * 2 - 1
    with torch.no_grad():
        assert (small(faces) * wide.eval()(faces)).sum(1).min() > 0.9999
    wide.train()(faces)[:, 0].sum().backward()
    fire = wide.get_submodule("trunk.fire5")
    weight = fire.get_submodule("expand3.0").weight
    assert isinstance(weight, torch.nn.Parameter)
    assert weight.grad is not None
    assert weight.grad[:, 32:].abs().sum() > 0, "the new channels get their say"


def test_kept_weights_lose_and_gain_repeated_fires() -> None:
    small = _settled()
    other = SqueezeNetFace(16, repeat=(5,)).eval()
    with torch.no_grad():
        assert start_from_kept(other, small.state_dict()) == "new: trunk.fire5_1"
        faces = torch.rand(4, 3, 112, 112) * 2 - 1
        assert (small(faces) * other(faces)).sum(1).mean() > 0.9
        assert start_from_kept(small, other.state_dict()) == "left out: trunk.fire5_1"


@pytest.mark.parametrize(
    ("mine", "said"),
    [
        ({"squeeze": {5: 16}}, "trunk.fire5.squeeze.0.weight"),
        ({"stem": "patch"}, "trunk.stem"),
        ({"dim": 8}, "head.linear"),
        ({"dim": 32}, "head.linear"),
    ],
)
def test_kept_weights_of_another_network(mine: dict[str, Any], said: str) -> None:
    net = SqueezeNetFace(**{"dim": 16} | mine)
    with torch.no_grad(), pytest.raises(InputBrokenError, match=said):
        start_from_kept(net, SqueezeNetFace(16).state_dict())
