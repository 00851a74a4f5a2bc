"""Where frames come from, and which of them are searched."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from jetson_face.capture.keys import KEYS, Flip, check_keys
from jetson_face.capture.uri import check_uri, parse_uri
from jetson_face.config.section import NAME, SHARE, Section
from jetson_face.core.errors import UsageError

_FILES = ("path", "file", "sequence")


class SourceConfig(Section):
    """A camera, stream, video file or folder of pictures."""

    model_config = ConfigDict(json_schema_extra={"short": "uri"})

    uri: str = Field(
        description="v4l2:///dev/video0, csi://0, rtsp://host/path, file path, folder of pictures "
        "(each stands alone), sequence:FOLDER?fps=25 (they are a video's frames), test://, "
        "gst:PIPELINE, or a camera's number; {credential:NAME} stands for a systemd credential"
    )
    name: str = Field(
        "camera", pattern=NAME, description="what reports call it; of a file or folder its own name"
    )
    backend: Literal["auto", "opencv", "gstreamer"] = "auto"
    width: int | None = Field(None, ge=16, le=16384, description="asked of a csi or v4l2 camera")
    height: int | None = Field(None, ge=16, le=16384, description="given together with width")
    fps: float | None = Field(
        None, gt=0, le=1000, description="frames a second asked of a csi or v4l2 camera"
    )
    flip: Flip = Field("none", description="done to each frame; rotations are clockwise")
    latency_ms: int | None = Field(
        None, ge=0, le=60_000, description="rtsp: what the stream is held back against jitter"
    )
    sensor_mode: int | None = Field(
        None, ge=0, le=255, description="csi: mode of the sensor by its number; null: by the size"
    )
    zero_copy: Literal["auto", "off"] = Field(
        "off",
        description="auto: a Jetson's GPU reads the frames of csi, rtsp and v4l2 where the camera "
        "left them; where it cannot, the CPU copies them, and the log says so once",
    )
    open_timeout_s: float = Field(10, gt=0, le=300)
    read_timeout_s: float = Field(5, gt=0, le=300)
    reconnect_max_s: float = Field(
        5, ge=0.5, le=3600, description="longest wait between two tries to reach a lost camera"
    )
    max_age_ms: int = Field(
        2000, ge=10, le=3_600_000, description="a live frame older than this is dropped"
    )

    @field_validator("name", mode="before")
    @classmethod
    def _one_spelling(cls, value: Any) -> Any:
        """é as one character and as two are one name, whatever wrote the file."""
        return unicodedata.normalize("NFC", value) if isinstance(value, str) else value

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

    @model_validator(mode="before")
    @classmethod
    def _file_has_a_name(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "name" in value or not isinstance(value.get("uri"), str):
            return value
        try:
            uri = parse_uri(value["uri"])
        except UsageError:  # said by the key's own check
            return value
        stem = unicodedata.normalize("NFC", Path(uri.target).stem if uri.scheme in _FILES else "")
        # What NAME takes, which is not what Python calls a letter or digit: 10m² has three.
        plain = (c if c in "_.-" or c.isalpha() or c.isdecimal() else " " for c in stem)
        name = re.sub(" +", "_", "".join(plain))[:40]
        return {**value, "name": name} if name else value

    @model_validator(mode="after")
    def _keys_fit_the_kind(self) -> SourceConfig:
        given = {key for key in KEYS if getattr(self, key) not in (None, "none")}
        check_keys(parse_uri(self.uri), given, backend=self.backend)
        return self


class AutoSamplingConfig(Section):
    """What the governor keeps true while a live source runs, by searching more or less often."""

    model_config = ConfigDict(
        json_schema_extra={"renamed": {"every_min": "interval_min", "every_max": "interval_max"}}
    )

    decision_fps_min: float | None = Field(
        None, gt=0, le=1000, description="frames decided per second"
    )
    age_ms_max: float | None = Field(
        200, gt=0, le=3_600_000, description="capture to decision, p95"
    )
    cpu_max: float | None = Field(
        None, gt=0, le=1, json_schema_extra={"unit": SHARE}, description="share of all cores"
    )
    interval_min: int = Field(1, ge=1, le=1000, description="never searches more often than this")
    interval_max: int = Field(30, ge=1, le=1000, description="never searches more seldom than this")

    @model_validator(mode="after")
    def _has_a_goal(self) -> AutoSamplingConfig:
        if self.decision_fps_min is self.age_ms_max is self.cpu_max is None:
            raise ValueError("one of decision_fps_min, age_ms_max and cpu_max must be given")
        if self.interval_min > self.interval_max:
            raise ValueError(
                f"interval_min {self.interval_min} is above interval_max {self.interval_max}"
            )
        return self


class SamplingConfig(Section):
    """How often a frame is searched for faces."""

    model_config = ConfigDict(
        json_schema_extra={"renamed": {"every": "interval"}, "short": "interval"}
    )

    interval: int = Field(5, ge=1, le=1000, description="one frame in so many is searched")
    small_every: int = Field(
        2,
        ge=1,
        le=100,
        description="one search in so many looks for the smallest faces, too; 1: all do",
    )
    auto: AutoSamplingConfig | None = Field(None, description="adapt `interval`; `sampling: auto`")
    refine: bool = Field(True, description="follow faces with O-Net on the frames between")
    on_loss: bool = Field(
        True,
        description="a face that stays lost brings a search forward, on average at most one in "
        "`interval` frames",
    )
    together: int = Field(
        1,
        ge=1,
        le=16,
        description="YuNet searches the waiting frames of so many cameras of one size in one run",
    )
    motion: bool = Field(
        True,
        description="leave a search out where nothing moved, and search only what moved; pictures "
        "of a folder are searched whole",
    )
    full_search_s: float = Field(
        2.0,
        gt=0,
        le=3600,
        description="with `motion` the whole frame is searched at least so often",
    )
