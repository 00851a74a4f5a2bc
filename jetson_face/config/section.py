"""What every part of a configuration shares."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from jetson_face.core.errors import UsageError

Cosine = Annotated[float, Field(ge=-1, le=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
SHARE = "a share (0.01 is 1 %)"
NAME = r"^[\w.-]{1,40}$"


def check_name(name: str, given: str) -> None:
    """Raises UsageError where no camera may be called so; given: the option that gave the name."""
    if not re.fullmatch(NAME, name):
        raise UsageError(f"{given} {name!r}: a camera's name is up to 40 letters, digits, . _ -")


def _at_home(given: Any) -> Any:
    """A path with `~` replaced, which no shell does in a file, nor behind `--set KEY=`."""
    if given == "":
        raise ValueError("a path is not empty")
    if not isinstance(given, str | Path) or not str(given).startswith("~"):
        return given
    whole = os.path.expanduser(given)  # noqa: PTH111 (Path's raises where there is no such user)
    if str(whole).startswith("~"):
        raise ValueError(f"there is no home folder {Path(given).parts[0]}: write the whole path")
    return whole


HomePath = Annotated[Path, BeforeValidator(_at_home)]
"""A file or folder; `~` is a home folder, as in a shell."""


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
