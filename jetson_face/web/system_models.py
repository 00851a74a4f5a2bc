"""What the API sends and takes about this box: the last day, the log, the doctor, measurements."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import BaseModel, Field

from jetson_face.web.strict import Strict

Kind: TypeAlias = Literal["interval", "size", "tune"]


class MinuteOfDay(BaseModel):
    """time: UTC seconds. decided: frames a second. cpu: share of all cores. temperature: °C, null
    where the kernel shows none. queue: events that wait for the disk or the slowest sink."""

    time: float
    decided: float
    cpu: float
    temperature: float | None
    queue: int


class HealthOfDay(BaseModel):
    """Oldest first; a gap is a time without a service."""

    every_s: float
    samples: list[MinuteOfDay]


class LogLine(BaseModel):
    """level: info, warning, error."""

    time: str
    level: str
    message: str


class LogLines(BaseModel):
    """Oldest first."""

    lines: list[LogLine]


class DoctorFinding(BaseModel):
    """What was found about one thing. fix: what to do, null for nothing."""

    topic: str
    state: Literal["ok", "info", "missing", "problem"]
    text: str
    fix: str | None = None


class DoctorSays(BaseModel):
    """took_s: seconds."""

    findings: list[DoctorFinding]
    took_s: float


class MeasurementIn(Strict):
    """kind: `interval` and `size` vary the detection interval and the searched image on a made clip
    of the first camera's size; `tune` looks for what decides `decision_fps` frames a second."""

    kind: Kind
    frames: int = Field(120, ge=20, le=500)
    decision_fps: float | None = Field(None, ge=0.1, le=1000)


class MeasuredPoint(BaseModel):
    """Medians of one setting. search_max_side_px: null: as configured. age_ms_p95: of a frame in
    the recogniser."""

    detection_interval: int
    search_max_side_px: int | None
    decision_fps: float
    decision_fps_spread: float
    age_ms_p95: float | None
    cpu_ms_per_frame: float
    time_to_name_s: float | None


class TunedChoice(BaseModel):
    """What `tune` would set."""

    detection_interval: int | None
    search_max_side_px: int | None
    min_face_px: int | None


class Measurement(BaseModel):
    """One measurement. load: of the machine when it began. text: what `tune` said. choice: null:
    nothing meets the goal."""

    id: str
    kind: Kind
    state: Literal["running", "done", "failed"]
    started: str
    by: str
    frame_size: list[int]
    decision_fps: float | None = None
    took_s: float | None = None
    error: str | None = None
    load: float | None = None
    power_mode: str | None = None
    points: list[MeasuredPoint] | None = None
    text: str | None = None
    choice: TunedChoice | None = None


class MeasurementEnd(BaseModel):
    """What became of it."""

    id: str
    state: Literal["cancelled", "removed"]
