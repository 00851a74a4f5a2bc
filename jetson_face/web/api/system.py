"""Health, tuning, settings, audit log and receipts."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path
from starlette.responses import PlainTextResponse, Response

from jetson_face.web.api.common import METRICS, Cursor, Key, Limit, Up, change, listed
from jetson_face.web.callers import Admin, Operator, Viewer
from jetson_face.web.models import (
    Applied,
    AuditRow,
    Checked,
    ErasureReceipt,
    ListPage,
    SettingsIn,
    SettingsOut,
    ThresholdCurve,
    Tuning,
)
from jetson_face.web.system_models import (
    DoctorSays,
    HealthOfDay,
    LogLines,
    Measurement,
    MeasurementEnd,
    MeasurementIn,
)

router = APIRouter(tags=["system"])
RunId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]


@router.get("/health", response_model=dict[str, Any])
async def health(up: Up, caller: Viewer) -> Response:
    """Everything that the service says of itself: cameras, engines, canary, sinks, outbox, board,
    rates, stages, the last errors."""
    # As it came: every open page asks for it all the time, and taking it apart costs more.
    return Response((await up.status("/status")).body, media_type="application/json")


@router.get("/health/day", response_model=HealthOfDay)
async def day(up: Up, caller: Viewer) -> object:
    """The last day, minute by minute: decision rate, processor, temperature, waiting events."""
    return (await up.status("/health/day")).document()


@router.get("/health/log", response_model=LogLines)
async def log(up: Up, caller: Operator) -> object:
    """The last lines that the service logged, without secrets, oldest first."""
    return (await up.status("/health/log")).document()


@router.post("/health/doctor", response_model=DoctorSays)
async def doctor(up: Up, caller: Operator) -> object:
    """Ask `jetson-face doctor`, with the rights of the service; it takes some seconds."""
    return await change(up, caller, "POST", "/doctor")


@router.get("/metrics", response_class=Response, responses=METRICS)
async def metrics(up: Up, caller: Viewer) -> Response:
    """The service's metrics, as Prometheus reads them."""
    answer = await up.status("/metrics")
    return PlainTextResponse(answer.body, media_type=answer.content_type or "text/plain")


@router.get("/tuning", response_model=Tuning)
async def tuning(up: Up, caller: Viewer) -> object:
    """Sampling rate, image size and threshold in force, and what is measured now."""
    return (await up.control("GET", "/tuning")).document()


@router.get("/tuning/thresholds", response_model=ThresholdCurve)
async def thresholds(up: Up, caller: Viewer) -> object:
    """What each threshold would mean, measured on the gallery's own faces: each enrolled person
    counts as a stranger to the others."""
    return (await up.control("GET", "/tuning/thresholds")).document()


@router.get("/tuning/runs", response_model=ListPage[Measurement])
async def runs(up: Up, caller: Viewer, cursor: Cursor = None, limit: Limit = 100) -> object:
    """What is measured on this box now, and what was, newest first."""
    return await listed(up, "/tuning/runs", cursor, limit)


@router.post("/tuning/runs", response_model=Measurement, status_code=202)
async def start_run(up: Up, caller: Operator, wanted: MeasurementIn, key: Key = None) -> object:
    """Measure on this box, beside the recogniser and after it: one at a time."""
    return await change(up, caller, "POST", "/tuning/runs", wanted, key)


@router.delete("/tuning/runs/{run}", response_model=MeasurementEnd)
async def end_run(up: Up, caller: Operator, run: RunId, key: Key = None) -> object:
    """Cancel what runs, or forget a result."""
    return await change(up, caller, "DELETE", f"/tuning/runs/{run}", None, key)


@router.get("/settings", response_model=SettingsOut)
async def settings(up: Up, caller: Admin) -> object:
    """Every key with its value in force."""
    return (await up.control("GET", "/settings")).document()


@router.post("/settings/check", response_model=Checked)
async def check(up: Up, caller: Admin, wanted: SettingsIn) -> object:
    """Whether changes are valid, and what they would change."""
    return await change(up, caller, "POST", "/settings/check", wanted)


@router.post("/settings", response_model=Applied)
async def apply(up: Up, caller: Admin, wanted: SettingsIn, key: Key = None) -> object:
    """Keep changes and put them in force by a reload; refused ones leave all as it was."""
    return await change(up, caller, "POST", "/settings", wanted, key)


@router.get("/audit", response_model=ListPage[AuditRow])
async def audit(up: Up, caller: Admin, cursor: Cursor = None, limit: Limit = 100) -> object:
    """Who did what to whom, newest first."""
    return await listed(up, "/audit", cursor, limit)


@router.get("/receipts", response_model=ListPage[ErasureReceipt])
async def receipts(up: Up, caller: Admin, cursor: Cursor = None, limit: Limit = 100) -> object:
    """Of people who were erased, newest first."""
    return await listed(up, "/receipts", cursor, limit)
