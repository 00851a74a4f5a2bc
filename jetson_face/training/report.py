"""What a run leaves for people: the resolved recipe, and a report as JSON and Markdown."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml

from jetson_face.training.curves import NOT_LOSSES
from jetson_face.training.export import spread
from jetson_face.training.net import count_parameters, to_input
from jetson_face.util.files import write_file

if TYPE_CHECKING:
    from jetson_face.training.loop import Trainer
    from jetson_face.training.settings import TrainConfig

CONFIG = "config.yaml"


def write_config(config: TrainConfig) -> Path:
    """The resolved recipe, every default written out, as ``config.yaml`` of the run folder."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    write_file(config.run / CONFIG, text)
    return config.run / CONFIG


def write_report(trainer: Trainer) -> Path:
    """``report.json`` and ``report.md`` of a finished run; returns the JSON's path."""
    run = trainer.config.run
    facts = gather(trainer)
    write_file(run / "report.json", json.dumps(facts, indent=2) + "\n")
    lines = [f"# Training of {trainer.config.name}", "", "| figure | value |", "| --- | --- |"]
    lines += [f"| {name.replace('_', ' ')} | {value} |" for name, value in facts.items()]
    lines += ["", "Recipe: `config.yaml`. Curves: `curves.csv`, `curves.png`.", ""]
    write_file(run / "report.md", "\n".join(lines))
    return run / "report.json"


def gather(trainer: Trainer) -> dict[str, Any]:
    """The figures of a run, by name; the name carries the unit."""
    rows = trainer.curves.rows()
    last = rows[-1] if rows else {}
    spent = max(trainer.spent_s, 1e-9)
    facts: dict[str, Any] = {
        "parameters": count_parameters(trainer.ema),
        "faces": len(trainer.faces),
        "people": len(trainer.faces.people),
        "steps": trainer.step,
        "epochs": round(trainer.sampler.epoch(trainer.step), 2),
        "minutes": round(spent / 60, 2),
        "faces_per_second": round(trainer.step * trainer.config.optim.batch / spent, 1),
        "torch": str(torch.__version__),
        "machine": platform.machine(),
    }
    facts |= {f"loss_{k}": v for k, v in last.items() if k not in NOT_LOSSES}
    cosine = teacher_cosine(trainer)
    if cosine is not None:
        facts["teacher_cosine_training_faces"] = round(cosine, 4)
    return facts


def teacher_cosine(trainer: Trainer, count: int = 2000) -> float | None:
    """Mean cosine of the averaged net to the teacher over unchanged training faces.

    None without one.
    """
    faces = trainer.faces
    if faces.teacher is None or faces.teacher.shape[1] != trainer.config.net.dim:
        return None
    total = 0.0
    chosen = spread(len(faces), count, trainer.config.seed)
    for part in np.array_split(chosen, max(len(chosen) // 100, 1)):
        with torch.no_grad():
            vectors = trainer.ema(to_input(faces.faces[part], trainer.config.device)).cpu().numpy()
        total += float((vectors * faces.teacher[part].astype(np.float32)).sum())
    return total / len(chosen)
