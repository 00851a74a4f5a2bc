"""What the service shows of itself: one document, two yes-or-no pages, and metrics."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from jetson_face.config import Config
from jetson_face.events.delivery import Deliverer
from jetson_face.events.making import utc
from jetson_face.events.outbox import OutboxState
from jetson_face.factory.parts import Parts
from jetson_face.output.run_report import RunReport
from jetson_face.service.board import power_w, temperatures_c
from jetson_face.service.http import Page, Routes
from jetson_face.service.notify import Verdict
from jetson_face.util.metrics import Metrics, Snapshot, to_prometheus

_STATES = ("starting", "running", "away", "ended")


def routes(
    document: Callable[[], dict[str, Any]],
    verdict: Callable[[], Verdict],
    metrics: Callable[[], str],
    reload: Callable[[], int],
) -> Routes:
    """The pages by method and path."""

    def yes_or_no(good: bool, status: str) -> Page:
        return Page(200 if good else 503, f"{status}\n".encode(), "text/plain; charset=utf-8")

    return {
        ("GET", "/status"): lambda: json_page(document()),
        ("GET", "/healthz"): lambda: yes_or_no(verdict().alive, verdict().status),
        ("GET", "/readyz"): lambda: yes_or_no(verdict().ready, verdict().status),
        ("GET", "/metrics"): lambda: Page(
            200, metrics().encode(), "text/plain; version=0.0.4; charset=utf-8"
        ),
        ("POST", "/reload"): lambda: json_page({"request": reload()}, 202),
    }


def json_page(document: Mapping[str, Any], status: int = 200) -> Page:
    """A page of JSON."""
    return Page(status, json.dumps(document, ensure_ascii=False).encode())


def cameras(report: RunReport) -> dict[str, Any]:
    """The state of each camera."""
    return {
        source.name: {
            "uri": source.uri,
            "state": source.state,
            "size": [source.width, source.height],
            "captured": source.captured,
            "processed": source.processed,
            "dropped": dict(source.dropped),
            "faults": dict(source.faults),
            "last_error": source.last_error,
            "age_p95_ms": source.age_p95_ms,
        }
        for source in report.sources
    }


def rates(snapshot: Snapshot) -> dict[str, float]:
    """Capture, decision and search rates of the last seconds, by source, never merged."""
    return {
        f"{row['labels'].get('source', '')} {row['name'].removeprefix('frames_')}": round(
            row["recent_per_s"], 2
        )
        for row in snapshot["rates"]
    }


def engines(config: Config, parts: Parts) -> dict[str, str]:
    """What runs the networks, and which."""
    return {
        "backend": config.backend.type,
        "detector": parts.detector.name,
        "embedder": str(parts.embedder.space),
    }


def board() -> dict[str, Any]:
    """Temperatures and power, where the kernel shows them."""
    return {"temperature_c": temperatures_c(), "power_w": power_w()}


def outbox(state: OutboxState) -> dict[str, Any]:
    """The durable queue."""
    return {
        "rows": state.rows,
        "used_bytes": state.used_bytes,
        "memory": state.memory,
        "lag": state.lag,
        "error": state.error,
        "given_up": state.counts,
        "set_aside": state.set_aside,
    }


def decisions(last: Iterable[dict[str, Any]], enrolled: Collection[str]) -> list[dict[str, Any]]:
    """The last decisions; who was removed since has no name any more."""
    shown = []
    for item in list(last):
        item = _unnamed(item, enrolled)
        if "before" in item:
            item = item | {"before": _unnamed(item["before"], enrolled)}
        shown.append(item)
    return shown


def _unnamed(item: dict[str, Any], enrolled: Collection[str]) -> dict[str, Any]:
    gone = item["person"] is not None and item["person"] not in enrolled
    return item | {"name": None} if gone else item


def sinks(deliverers: list[Deliverer], state: OutboxState) -> dict[str, Any]:
    """What each sink got since the start, what it ever refused, and since when and why it is
    down."""
    return {
        d.name: {
            "sent": d.sent,
            "refused": state.refused.get(d.name, 0),
            "failures": d.failures,
            "error": d.last_error,
            "down_since": None if d.down_since is None else utc(d.down_since),
        }
        for d in deliverers
    }


def health_metrics(verdict: Verdict) -> str:
    """What there is to measure before the first frame, as Prometheus text."""
    return to_prometheus(_health(verdict).snapshot())


def _health(verdict: Verdict) -> Metrics:
    own = Metrics()
    own.gauge("ready").set(verdict.ready)
    own.gauge("alive").set(verdict.alive)
    return own


def service_metrics(
    state: OutboxState,
    deliverers: list[Deliverer],
    report: RunReport,
    verdict: Verdict,
    review: Mapping[str, Any],
) -> str:
    """What the run's own metrics do not hold, as Prometheus text."""
    own = _health(verdict)
    for source in report.sources:
        for name in _STATES:
            own.gauge("camera_state", source=source.name, state=name).set(source.state == name)
        for fault, count in source.faults.items():
            own.counter("camera_faults", source=source.name, fault=fault).add(count)
    own.gauge("outbox_rows").set(state.rows)
    own.gauge("outbox_bytes").set(state.used_bytes)
    own.gauge("outbox_memory_events").set(state.memory)
    own.gauge("outbox_degraded").set(state.error is not None)
    for reason, count in state.counts.items():
        own.counter("outbox_given_up", reason=reason).add(count)
    if review:
        own.gauge("review_waiting").set(review["waiting"] or 0)
        own.gauge("review_up").set(review["error"] is None)
        for reason in ("repeats", "given_up", "not_kept"):
            own.counter("review_not_asked", reason=reason).add(review[reason])
    for deliverer in deliverers:
        own.gauge("sink_queue", sink=deliverer.name).set(state.lag.get(deliverer.name, 0))
        own.counter("sink_sent", sink=deliverer.name).add(deliverer.sent)
        own.counter("sink_refused", sink=deliverer.name).add(state.refused.get(deliverer.name, 0))
        own.gauge("sink_set_aside", sink=deliverer.name).set(state.set_aside.get(deliverer.name, 0))
        own.gauge("sink_up", sink=deliverer.name).set(deliverer.down_since is None)
        if deliverer.down_since is not None:
            own.gauge(
                "sink_down_since_seconds", sink=deliverer.name, why=deliverer.last_error or ""
            ).set(deliverer.down_since)
    for zone, celsius in temperatures_c().items():
        own.gauge("temperature_celsius", zone=zone).set(celsius)
    for rail, watts in power_w().items():
        own.gauge("power_watts", rail=rail).set(watts)
    return to_prometheus(own.snapshot())
