"""What the API says about the last day, the log and the doctor."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


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
