"""What a campaign is told: one frozen, checked tree."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from jetson_face.training.settings import CardSettings, NetSettings, RecipePart

SIZES = (16, 24, 32, 40, 56, 80)
"""Sides, in pixels, that a face may be brought down to: whole blocks of eight."""


class PackSettings(RecipePart):
    """A zip of aligned faces with labels.csv; relative paths are of the data folder."""

    packed: Path
    vectors: dict[str, Path] = Field({}, description="teacher's name: npy of its vectors")


class TeacherSettings(RecipePart):
    """A stronger embedding: an ONNX network on aligned 112x112 faces, NCHW."""

    file: Path | None = Field(None, description="absent: its stored vectors of the clean crops")
    colour: Literal["RGB", "BGR"] = "RGB"
    mean: float = 127.5
    std: float = Field(127.5, gt=0)
    dim: int = Field(ge=8)
    weight: float = Field(1.0, ge=0, description="share in the target; 0: hints alone")
    taps: dict[int, str] = Field({}, description="side of a feature map: its name in the graph")


class ViewSettings(RecipePart):
    """Chances and strengths of what cameras, light and detectors do to a face."""

    flip: float = Field(0.5, ge=0, le=1)
    shift_px: float = Field(2.0, ge=0)
    scale: float = Field(0.04, ge=0, description="standard deviation of log scale")
    rotate_deg: float = Field(3.0, ge=0)
    shear: float = Field(0.02, ge=0)
    colour: float = Field(0.5, ge=0, le=1)
    grey: float = Field(0.04, ge=0, le=1)
    small: float = Field(0.3, ge=0, le=1, description="chance of a face of few pixels")
    blur: float = Field(0.15, ge=0, le=1)
    noise: float = Field(0.2, ge=0, le=1)
    jpeg: float = Field(0.3, ge=0, le=1, description="chance of 8x8 block coding")
    occlude: float = Field(0.05, ge=0, le=1)
    border: float = Field(0.08, ge=0, le=1)
    mix: float = Field(
        0.0, ge=0, le=1, description="chance of a view with a second face in it, for live teachers"
    )


class PeopleSettings(RecipePart):
    """How far the target of a labelled face leans to the middle of that person's pictures."""

    share: float = Field(0.0, ge=0, le=1, description="0: each picture's own vector; 1: the middle")
    least_cosine: float = Field(
        0.35, ge=-1, le=1, description="of a picture to the person's others; below: a wrong label"
    )


class CampaignLossSettings(RecipePart):
    """Weights of the losses that are added up; 0 leaves one out."""

    distill: float = Field(1.0, ge=0)
    gram: float = Field(5.0, ge=0)
    bank: float = Field(0.15, ge=0)
    bank_tau: float = Field(0.07, gt=0)
    bank_margin: float = Field(0.15, ge=0, lt=1)
    bank_same_min: float = 0.5
    hints: dict[int, float] = Field({}, description="side of a feature map: weight")


class CampaignOptimSettings(RecipePart):
    """One cycle of the rate: a rise, half a cosine to almost zero; then the next cycle begins."""

    batch: int = Field(64, ge=2)
    kind: Literal["adamw", "muon"] = "adamw"
    rate: float = Field(1.5e-3, gt=0)
    muon_rate: float = Field(0.01, gt=0, description="of the matrices, where kind is muon")
    warmup: float = Field(0.03, ge=0, lt=1)
    floor: float = Field(0.01, gt=0, le=1, description="last rate of a cycle over its highest")
    weight_decay: float = Field(0.02, ge=0)
    ema: float = Field(0.998, ge=0, lt=1)
    clip: float = Field(5.0, gt=0)
    minutes: float = Field(gt=0, description="length of a cycle, of the clock while it trains")
    samples: int | None = Field(None, gt=0, description="length of a cycle in faces instead")
    bf16: bool = False
    freeze_norms: bool = Field(
        False, description="keep the norms' statistics: steadier where few faces are to be seen"
    )


class CampaignConfig(RecipePart):
    """A whole campaign."""

    name: str = "squeezenet_face"
    run: Path = Path("runs/campaign")
    start: Path | None = Field(
        None, description="to begin with: a shipped network's .onnx, or a campaign's kept .npz"
    )
    seed: int = 0
    threads: int = Field(1, ge=1)
    device: Literal["cpu", "cuda"] = "cpu"
    cache: Path = Path("runs/cache")
    dim: int = Field(128, ge=8)
    checkpoint_minutes: float = Field(3.0, gt=0)
    log_steps: int = Field(50, ge=1)
    prepare_faces: int = Field(
        4096, ge=256, description="faces that target and hints are fitted on"
    )
    prepare_rows: int = Field(64, ge=1)
    held_out: int = Field(512, ge=0, description="faces never trained on, to watch the cosine")
    ring: int = Field(16384, ge=2, description="views that are kept to be seen again")
    replay: int = Field(4, ge=1, description="times that a view is seen, on average")
    replay_flip: float = Field(
        0.0, ge=0, le=1, description="chance that a view seen again is mirrored; its target stays"
    )
    packs: tuple[PackSettings, ...] = Field(min_length=1)
    teachers: dict[str, TeacherSettings] = Field(min_length=1)
    net: NetSettings = NetSettings()
    view: ViewSettings = ViewSettings()
    loss: CampaignLossSettings = CampaignLossSettings()
    people: PeopleSettings = PeopleSettings()
    optim: CampaignOptimSettings
    card: CardSettings = CardSettings()

    @model_validator(mode="after")
    def _mixed_views_have_live_teachers(self) -> CampaignConfig:
        stored = [name for name, t in self.teachers.items() if t.file is None and t.weight > 0]
        if self.view.mix and stored:
            raise ValueError(f"view.mix: the stored vectors of {stored} are of one face each")
        return self

    @model_validator(mode="after")
    def _hints_have_taps(self) -> CampaignConfig:
        taps = {side for t in self.teachers.values() if t.file for side in t.taps}
        lacking = sorted(set(self.loss.hints) - taps)
        if lacking:
            raise ValueError(f"loss.hints: no teacher has taps at {lacking}")
        return self
