"""What a training run is told: one frozen, checked tree, written resolved into the run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class RecipePart(BaseModel):
    """Unknown keys and numbers that are not finite are refused; nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TeacherOnnx(RecipePart):
    """A stronger embedding: an ONNX network on aligned 112x112 faces, NCHW."""

    file: Path
    colour: Literal["RGB", "BGR"] = "RGB"
    mean: float = 127.5
    std: float = Field(127.5, gt=0)


class DataSettings(RecipePart):
    """Where the faces are.

    Relative paths are taken from the data folder (see ``data.data_folder``).
    """

    packed: Path | None = Field(None, description="zip of pictures with labels.csv (file, person)")
    folder: Path | None = Field(None, description="plain folder PERSON/PHOTO of aligned crops")
    teacher: Path | None = Field(
        None, description="npy (N, D) of teacher vectors in labels.csv order"
    )
    teacher_onnx: TeacherOnnx | None = Field(None, description="or the teacher itself")
    cache: Path = Field(Path("runs/cache"), description="decoded pictures are kept here")
    identity_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="part of each batch drawn person by person, photos_each of each",
    )
    photos_each: int = Field(4, ge=2)
    focus: Path | None = Field(None, description="npy of face numbers to be drawn more often")
    focus_share: float = Field(0.15, ge=0, le=1, description="part of each batch drawn from them")

    @model_validator(mode="after")
    def _one_source(self) -> DataSettings:
        if (self.packed is None) == (self.folder is None):
            raise ValueError("data: give exactly one of 'packed' and 'folder'")
        if self.teacher is not None and self.teacher_onnx is not None:
            raise ValueError("data: give 'teacher' or 'teacher_onnx', not both")
        return self


class NetSettings(RecipePart):
    """Arguments of ``net.SqueezeNetFace``."""

    dim: int = Field(128, ge=8)
    act: Literal["relu", "leaky", "prelu"] = "relu"
    stem: Literal["pool", "conv", "patch"] = "conv"
    pool_before: tuple[int, ...] = (4, 8)
    bypass: bool = True
    repeat: tuple[int, ...] = Field((), description="fires followed by one more of their shape")
    squeeze: dict[int, Annotated[int, Field(ge=1)]] = Field(
        {}, description="fire: channels of its squeeze, where they are not v1.1's"
    )


class LossSettings(RecipePart):
    """Weights of the losses that are added up; 0 leaves one out."""

    distill: float = Field(1.0, ge=0, description="1 - cosine to the teacher's vector")
    gram: float = Field(0.0, ge=0, description="squared difference of batch similarity matrices")
    bank: float = Field(0.0, ge=0, description="softmax against every teacher vector of the set")
    bank_tau: float = Field(0.07, gt=0, description="temperature of the bank's cosines")
    bank_margin: float = Field(0.0, ge=0, lt=1, description="cosine taken off the own vector")
    bank_same_min: float = Field(
        0.5, description="teacher cosine from which two faces may be one person"
    )
    bank_rows: int = Field(16384, ge=2, description="teacher vectors drawn as negatives each step")
    softmax: float = Field(0.0, ge=0)
    cosface: float = Field(0.0, ge=0)
    arcface: float = Field(0.0, ge=0)
    scale: float = Field(30.0, gt=0, description="s of ArcFace/CosFace")
    margin: float = Field(0.3, ge=0, description="m of ArcFace (radians) / CosFace (cosine)")
    triplet: float = Field(0.0, ge=0)
    triplet_margin: float = Field(0.2, gt=0, description="squared L2 between unit vectors")


class AugmentSettings(RecipePart):
    """Chances (0 to 1) and strengths of what cameras and detectors do to a face."""

    flip: float = Field(0.5, ge=0, le=1)
    shift_px: float = Field(3.0, ge=0, description="standard deviation of landmark jitter, pixels")
    scale: float = Field(0.05, ge=0, description="standard deviation of log scale")
    rotate_deg: float = Field(4.0, ge=0)
    colour: float = Field(0.8, ge=0, le=1)
    grey: float = Field(0.05, ge=0, le=1)
    lowres: float = Field(0.2, ge=0, le=1, description="chance of down-scaling or blur")
    jpeg: float = Field(0.1, ge=0, le=1)
    occlude: float = Field(0.15, ge=0, le=1)
    border: float = Field(0.0, ge=0, le=1, description="chance of black beyond a slanting edge")
    turn: float = Field(0.0, ge=0, le=1, description="chance of a view from the side (turning.py)")
    turn_deg: tuple[int, int] = Field((20, 70), description="smallest and largest such angle")

    @model_validator(mode="after")
    def _angles_in_order(self) -> AugmentSettings:
        low, high = self.turn_deg
        if not 0 <= low <= high <= 80:
            raise ValueError(f"augment.turn_deg: two angles from 0 to 80, got {low} and {high}")
        return self


class OptimSettings(RecipePart):
    """AdamW with a one-cycle rate (Smith, 2018), driven by compute time or by steps."""

    batch: int = Field(128, ge=2)
    rate: float = Field(4e-3, gt=0, description="peak learning rate")
    warmup: float = Field(0.05, ge=0, lt=1, description="part of the run spent rising to the peak")
    weight_decay: float = Field(0.05, ge=0)
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the averaged weights")
    minutes: float | None = Field(None, gt=0, description="length of the run in wall-clock minutes")
    steps: int | None = Field(None, gt=0, description="length of the run in batches")
    bf16: bool = True
    clip: float = Field(5.0, gt=0, description="largest gradient norm")

    @model_validator(mode="after")
    def _one_length(self) -> OptimSettings:
        if (self.minutes is None) == (self.steps is None):
            raise ValueError("optim: give exactly one of 'minutes' and 'steps'")
        return self


class CardSettings(RecipePart):
    """What the model card says that the run does not know."""

    licence: str = "not stated"
    source: str = Field("trained with jetson-face train", description="where the weights are from")
    similarity_min: float = Field(0.35, ge=-1, le=1, description="cosine, from an ROC at FAR 1e-3")
    notes: str = ""


class TrainConfig(RecipePart):
    """A whole training run."""

    name: str = "squeezenet_face"
    run: Path = Field(Path("runs/squeezenet_face"), description="run folder; made when absent")
    start: Path | None = Field(
        None, description="checkpoint.pt to begin with; repeated fires that it lacks are new"
    )
    seed: int = 0
    threads: int = Field(2, ge=1)
    device: Literal["cpu", "cuda"] = "cpu"
    checkpoint_minutes: float = Field(3.0, gt=0)
    log_steps: int = Field(50, ge=1)
    data: DataSettings
    net: NetSettings = NetSettings()
    loss: LossSettings = LossSettings()
    augment: AugmentSettings = AugmentSettings()
    optim: OptimSettings
    card: CardSettings = CardSettings()
