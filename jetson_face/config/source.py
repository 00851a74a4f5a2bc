"""Where frames come from, and which of them are searched."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from jetson_face.capture.uri import check_uri
from jetson_face.config.section import NAME, Section


class SourceConfig(Section):
    """A camera, stream, video file or folder of pictures."""

    uri: str = Field(
        description="v4l2:///dev/video0, csi://0, rtsp://host/path, file path, folder, test://, "
        "gst:PIPELINE, or a camera's number; {credential:NAME} stands for a systemd credential"
    )
    name: str = Field("camera", pattern=NAME, description="what reports call it")
    backend: Literal["auto", "opencv", "gstreamer"] = "auto"
    open_timeout_s: float = Field(10, gt=0, le=300)
    read_timeout_s: float = Field(5, gt=0, le=300)
    reconnect_max_s: float = Field(
        5, ge=0.5, le=3600, description="longest wait between two tries to reach a lost camera"
    )
    max_age_ms: int = Field(2000, ge=10, description="a live frame older than this is dropped")

    @field_validator("uri")
    @classmethod
    def _can_be_a_source(cls, value: str) -> str:
        check_uri(value)
        return value

    @model_validator(mode="before")
    @classmethod
    def _number_is_camera(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("uri"), int):
            return {**value, "uri": str(value["uri"])}
        return value


class AutoSamplingConfig(Section):
    """What the governor keeps true while a live source runs, by searching more or less often."""

    decision_fps_min: float | None = Field(None, gt=0, description="frames decided per second")
    age_ms_max: float | None = Field(200, gt=0, description="capture to decision, p95")
    cpu_max: float | None = Field(None, gt=0, le=1, description="share of all cores")
    every_min: int = Field(1, ge=1, le=1000, description="never searches more often than this")
    every_max: int = Field(30, ge=1, le=1000, description="never searches more seldom than this")

    @model_validator(mode="after")
    def _has_a_goal(self) -> AutoSamplingConfig:
        if self.decision_fps_min is self.age_ms_max is self.cpu_max is None:
            raise ValueError("one of decision_fps_min, age_ms_max and cpu_max must be given")
        if self.every_min > self.every_max:
            raise ValueError(f"every_min {self.every_min} is above every_max {self.every_max}")
        return self


class SamplingConfig(Section):
    """How often a frame is searched for faces."""

    every: int = Field(5, ge=1, le=1000, description="one frame in `every` is searched")
    auto: AutoSamplingConfig | None = Field(None, description="adapt `every`; `sampling: auto`")
    refine: bool = Field(True, description="follow faces with O-Net on the frames between")
    on_loss: bool = Field(True, description="search at once when a face was lost")
