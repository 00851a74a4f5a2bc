"""The form of what is sent to us."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """What is sent to us says nothing that we do not know."""

    model_config = ConfigDict(extra="forbid", strict=True)
