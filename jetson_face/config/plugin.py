"""Parts that other packages bring, by the name of their entry point."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from jetson_face.config.section import Section
from jetson_face.util.plugins import Kind, find


def _installed(kind: Kind, name: str) -> str:
    """Looked up here, so that a wrong name is said with the file's line."""
    find(kind, name)
    return name


DetectorName = Annotated[str, AfterValidator(partial(_installed, "detector"))]
RefinerName = Annotated[str, AfterValidator(partial(_installed, "refiner"))]
EmbedderName = Annotated[str, AfterValidator(partial(_installed, "embedder"))]
SinkName = Annotated[str, AfterValidator(partial(_installed, "sink"))]
Options = Annotated[
    dict[str, Any], Field(default_factory=dict, description="what the plug-in takes")
]


class PluginRefinerConfig(Section):
    """What follows faces between searches, from another package."""

    type: Literal["plugin"] = "plugin"
    name: RefinerName
    options: Options


class PluginSinkConfig(Section):
    """Takes every report, from another package."""

    type: Literal["plugin"] = "plugin"
    name: SinkName
    options: Options
