"""What a run of one of the tables' networks is told (`jetson_face.training.transfer`)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from jetson_face.training.settings import AugmentSettings, LossSettings, RecipePart

FLIP_ONLY = AugmentSettings(
    flip=0.5, shift_px=0, scale=0, rotate_deg=0, colour=0, grey=0, lowres=0, jpeg=0, occlude=0
)
_TEACHER = {"distill": 1.0, "gram": 5.0, "bank": 0.15, "bank_margin": 0.15}


class TransferConfig(RecipePart):
    """A recipe: `architecture` is what tells it from the recipe of the shipped embedding.

    A run may begin with `warm`, a part of it in which the network only follows stored vectors of
    a teacher; the loss itself joins afterwards. From a random start a triplet loss alone finds
    little in minutes; from a network that knows faces it refines.
    """

    architecture: str = Field(description="a name of `networks.TRUNKS`")
    layout: Literal["small", "published"] = Field(
        "small", description="for small pictures, or as published: what downloaded weights fit"
    )
    name: str | None = Field(None, description="of the model card; null: the architecture's")
    loss: Literal["triplet", "softmax", "teacher"] = "softmax"
    layers: str = Field("all", description="all, last, block, or how many modules from the end")
    dim: int = Field(128, ge=0, description="of the vectors; 0: the last map's channels")
    side: int = Field(0, ge=0, description="the network's picture, pixels; 0: as it was cut")
    packed: Path | None = Field(None, description="zip of aligned 112 px crops with labels.csv")
    people: int = Field(
        400, ge=0, description="at most so many, those with most photos; 0: every face of the zip"
    )
    photos: int = Field(10, ge=2, description="at most so many photos of each")
    faces: int | None = Field(
        None, ge=2, description="of people: 0, at most so many, those of people with most first"
    )
    teacher: Path | None = Field(None, description="npy of vectors in the order of labels.csv")
    warm: float = Field(
        0.0, ge=0, le=1, description="part of the run that follows only the teacher"
    )
    teacher_weight: float = Field(1.0, ge=0, description="the teacher's, once the loss has joined")
    cache: Path = Field(Path("runs/cache"), description="decoded pictures of `people: 0`")
    alignment: str = "arcface112"
    seconds: float = Field(300, gt=0)
    steps: int | None = Field(None, gt=0, description="length in batches, instead of seconds")
    batch: int = Field(96, ge=2, description="faces in a batch while only the teacher is followed")
    people_each: int = Field(12, ge=2, description="people in a batch")
    photos_each: int = Field(4, ge=2, description="photos of each in a batch")
    rate: float = Field(1e-3, gt=0)
    margin: float = Field(0.2, gt=0, description="of the triplet loss, squared L2")
    augment: AugmentSettings = FLIP_ONLY
    bf16: bool = False
    seed: int = 1
    threads: int = Field(2, ge=1)
    run: Path | None = Field(None, description="folder of the checkpoint; null: none is written")
    checkpoint_seconds: float = Field(60, gt=0)
    licence: str = "that of the pictures it was trained on"

    @model_validator(mode="after")
    def _teacher_is_there(self) -> TransferConfig:
        if (self.warm > 0 or self.loss == "teacher") and self.teacher is None:
            raise ValueError("warm and loss: teacher need 'teacher', a file of vectors")
        if self.teacher is not None and self.people:
            raise ValueError("teacher needs people: 0, which keeps the order of labels.csv")
        return self

    @property
    def warming(self) -> LossSettings:
        """Losses while only the teacher is followed."""
        return LossSettings.model_validate(_TEACHER)

    @property
    def joined(self) -> LossSettings:
        """Losses of the run itself."""
        weight = 0.0 if self.teacher is None else self.teacher_weight
        weight = 1.0 if self.loss == "teacher" else weight
        return LossSettings(
            distill=weight * _TEACHER["distill"],
            gram=weight * _TEACHER["gram"],
            bank=weight * _TEACHER["bank"],
            bank_margin=_TEACHER["bank_margin"],
            softmax=1.0 if self.loss == "softmax" else 0.0,
            scale=16.0,
            triplet=1.0 if self.loss == "triplet" else 0.0,
            triplet_margin=self.margin,
        )
