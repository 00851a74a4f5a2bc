"""The loop learns, a kill changes nothing, time drives the rate, the command leaves files."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("torch", reason="training needs the extra 'train' (PyTorch)")

import torch

from jetson_face.cli import train_recipe
from jetson_face.cli.train_export import shipped_files
from jetson_face.core.errors import ConfigError, UsageError
from jetson_face.training import data, loop
from jetson_face.training.collapse import CollapseError
from jetson_face.training.curves import CurveLog
from jetson_face.training.settings import OptimSettings, TrainConfig


def _trainer(config: TrainConfig, **more: Any) -> loop.Trainer:
    return loop.Trainer(config, data.load(config.data, config.net.dim), **more)


def test_the_loss_falls(config: TrainConfig) -> None:
    trainer = _trainer(config)
    trainer.train()
    losses = [row["total"] for row in trainer.curves.rows()]
    assert len(losses) == 20
    assert np.mean(losses[-3:]) < 0.6 * np.mean(losses[:3])


def test_class_and_triplet_losses_train_without_a_teacher(recipe: dict[str, Any]) -> None:
    del recipe["data"]["teacher"]
    recipe["data"]["identity_share"] = 1.0
    recipe["loss"] = {"distill": 0, "cosface": 1.0, "triplet": 1.0, "scale": 8.0, "margin": 0.1}
    trainer = _trainer(TrainConfig.model_validate(recipe))
    trainer.train()
    rows = trainer.curves.rows()
    assert np.mean([r["cosface"] for r in rows[-3:]]) < np.mean([r["cosface"] for r in rows[:3]])


def test_a_killed_run_goes_on_to_the_very_same_weights(recipe: dict[str, Any]) -> None:
    recipe["optim"]["steps"] = 6
    whole = _trainer(TrainConfig.model_validate(recipe | {"run": recipe["run"] + "_whole"}))
    whole.train()
    first = _trainer(TrainConfig.model_validate(recipe))
    first.train(stop=lambda: first.step >= 3)
    first.curves.add({"step": 4, "epoch": 0, "spent_s": 0, "rate": 0, "total": 9} | _zero(first))
    second = _trainer(TrainConfig.model_validate(recipe))
    assert second.resume()
    assert second.step == 3
    second.train()
    for name, value in whole.net.state_dict().items():
        assert torch.equal(value, second.net.state_dict()[name]), name
    for name, value in whole.ema.state_dict().items():
        assert torch.equal(value, second.ema.state_dict()[name]), name
    assert [r["step"] for r in second.curves.rows()] == [1, 2, 3, 4, 5, 6]
    assert [r["total"] for r in second.curves.rows()] == [r["total"] for r in whole.curves.rows()]


def _zero(trainer: loop.Trainer) -> dict[str, float]:
    return dict.fromkeys(trainer.curves.rows()[0].keys() - {"step", "epoch", "spent_s", "rate"}, 0)


def test_a_checkpoint_of_another_network_is_refused(recipe: dict[str, Any]) -> None:
    recipe["optim"]["steps"] = 1
    _trainer(TrainConfig.model_validate(recipe)).train()
    recipe["net"]["stem"] = "conv"
    with pytest.raises(ValueError, match="not the one configured"):
        _trainer(TrainConfig.model_validate(recipe)).resume()


def test_a_half_written_checkpoint_is_never_seen(config: TrainConfig) -> None:
    trainer = _trainer(config)
    trainer.save()
    before = (config.run / loop.CHECKPOINT).read_bytes()
    trainer.net.state_dict = _broken
    with pytest.raises(RuntimeError, match="killed"):
        trainer.save()
    assert (config.run / loop.CHECKPOINT).read_bytes() == before


def _broken(*_: Any, **__: Any) -> dict[str, Any]:
    raise RuntimeError("killed")


def test_collapse_ends_the_run_with_the_remedy(recipe: dict[str, Any]) -> None:
    trainer = _trainer(TrainConfig.model_validate(recipe))
    torch.nn.init.zeros_(trainer.net.head.norm.weight)
    torch.nn.init.ones_(trainer.net.head.norm.bias)
    for parameter in trainer.net.parameters():
        parameter.requires_grad_(False)
    trainer.net.head.norm.bias.requires_grad_(True)
    trainer.watch._every, trainer.watch._patience = 1, 4
    with pytest.raises(CollapseError, match="Remedy"):
        trainer.train()


def test_time_drives_the_schedule_and_ends_the_run(
    recipe: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    del recipe["optim"]["steps"]
    recipe["optim"]["minutes"] = 1.0
    ticks = iter(range(0, 10_000, 10))  # ten seconds a look: a step takes ten seconds
    trainer = _trainer(TrainConfig.model_validate(recipe), clock=lambda: next(ticks))
    with caplog.at_level(logging.INFO, loop.__name__):
        trainer.train()
    assert trainer.step == 6
    told: list[Any] = [record.args for record in caplog.records]
    assert [60 * minutes for *_, minutes in told] == pytest.approx([50, 40, 30, 20, 10, 0])
    assert told[0][-2] == pytest.approx(0.8)


def test_the_rate_rises_then_falls_to_almost_nothing() -> None:
    how = OptimSettings(steps=100, rate=1.0, warmup=0.1)
    rates = [loop.rate_at(done, how) for done in (0.0, 0.05, 0.1, 0.55, 1.0, 1.2)]
    assert rates == pytest.approx([0.01, 0.5, 1.0, 0.5, 0.001, 0.001])


def _arguments(recipe: dict[str, Any], path: Path, *more: str) -> argparse.Namespace:
    path.write_text(yaml.safe_dump(recipe))
    parser = argparse.ArgumentParser()
    train_recipe.add_arguments(parser)
    return parser.parse_args(["-c", str(path), *more])


def test_the_command_leaves_recipe_curves_report_and_model(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    recipe["optim"]["steps"] = 3
    path, out = tmp_path / "r.yaml", tmp_path / "out"
    assert train_recipe.run(_arguments(recipe, path, "--export", str(out))) == 0
    run = Path(recipe["run"])
    told = json.loads((run / "report.json").read_text())
    assert told["steps"] == 3
    assert told["faces"] == 24
    assert -1 <= told["teacher_cosine_training_faces"] <= 1
    assert TrainConfig.model_validate(yaml.safe_load((run / "config.yaml").read_text()))
    assert (run / "curves.csv").exists()
    assert (out / "squeezenet_face.yaml").exists()
    left = shipped_files(TrainConfig.model_validate(recipe))
    assert sorted(path.name for path in out.iterdir()) == sorted(left)
    with pytest.raises(UsageError, match="--resume"):
        train_recipe.run(_arguments(recipe, path))
    with pytest.raises(UsageError, match="'net'"):
        train_recipe.run(_arguments(recipe, path, "--resume", "--set", "net.stem=conv"))


def test_a_misspelt_key_is_named(recipe: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"optim\.batches"):
        train_recipe.run(_arguments(recipe, tmp_path / "r.yaml", "--set", "optim.batches=3"))


def test_curves_survive_a_cut(tmp_path: Path) -> None:
    curves = CurveLog(tmp_path / "c.csv")
    for step in range(1, 6):
        curves.add({"step": step, "total": 1 / step})
    curves.cut_after(3)
    assert [row["step"] for row in curves.rows()] == [1, 2, 3]
