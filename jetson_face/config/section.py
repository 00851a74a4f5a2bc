"""What every part of a configuration shares."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from jetson_face.core.errors import UsageError

Cosine = Annotated[float, Field(ge=-1, le=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
SHARE = "a share (0.01 is 1 %)"
NAME = r"^[\w.-]{1,40}$"


def check_name(name: str, given: str) -> None:
    """Raises UsageError where no camera may be called so; given: the option that gave the name."""
    if not re.fullmatch(NAME, name):
        raise UsageError(f"{given} {name!r}: a camera's name is up to 40 letters, digits, . _ -")


def of_type(value: Any, meant: str) -> Any:
    """The values of a section; where they leave out their `type`, with the one that is meant."""
    return {"type": meant, **value} if isinstance(value, dict) and "type" not in value else value


class Section(BaseModel):
    """A part of the configuration: unknown keys and numbers that are not finite are refused,
    nothing changes after loading.

    A part whose keys were called otherwise before says so in its schema's `renamed` (old name to
    new), so that the error for the old one names the new one; for what else messages take from a
    schema see `jetson_face.util.faults`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
