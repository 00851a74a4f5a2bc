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
from jetson_face.factory.threshold import threshold_in_force
from jetson_face.gallery.live import LivePeople
from jetson_face.output.run_report import RunReport
from jetson_face.service.board import power_w, temperatures_c
from jetson_face.service.http import Page, Routes, problem
from jetson_face.service.notify import HealthVerdict
from jetson_face.service.swap import Deck
from jetson_face.util.metrics import CONTENT_TYPE, Metrics, Snapshot
from jetson_face.util.redact import redact_values

_STATES = ("starting", "running", "away", "ended")


def routes(
    document: Callable[[], dict[str, Any]],
    verdict: Callable[[], HealthVerdict],
    metrics: Callable[[], str],
    reload: Callable[[], int],
    read_gallery: Callable[[], Mapping[str, Any] | None],
) -> Routes:
    """The pages by method and path. read_gallery: reads the gallery now; None while it cannot."""

    def yes_or_no(good: bool, status: str) -> Page:
        return Page(200 if good else 503, f"{status}\n".encode(), "text/plain; charset=utf-8")

    def reread() -> Page:
        found = read_gallery()
        return problem(503, "starting: ask again") if found is None else json_page(found)

    return {
        ("GET", "/status"): lambda: json_page(document()),
        ("GET", "/healthz"): lambda: yes_or_no(verdict().alive, verdict().status),
        ("GET", "/readyz"): lambda: yes_or_no(verdict().ready, verdict().status),
        ("GET", "/metrics"): lambda: Page(200, metrics().encode(), CONTENT_TYPE),
        ("POST", "/reload"): lambda: json_page({"request": reload()}, 202),
        ("POST", "/gallery"): reread,
    }


def json_page(document: Mapping[str, Any], status: int = 200) -> Page:
    """A page of JSON; no text in it shows a secret."""
    return Page(status, json.dumps(redact_values(document), ensure_ascii=False).encode())


def cameras(report: RunReport) -> dict[str, Any]:
    """The state of each camera."""
    return {
        source.name: {
            "uri": source.uri,
            "state": source.state,
            "size": [source.width, source.height],
            "captured": source.captured,
            "processed": source.processed,
            "embedded": source.embedded,
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


def gallery(people: LivePeople) -> dict[str, Any]:
    """Who is enrolled, as last read. id, generation: of which gallery, after which change of it."""
    snapshot = people.snapshot
    return {
        "people": len(snapshot.people) - len(snapshot.withheld),
        "not_recognised": len(snapshot.withheld),
        "error": people.error,
        "id": people.gallery_id,
        "generation": snapshot.revision,
    }


def threshold(deck: Deck) -> dict[str, object]:
    """The cosine that a single face needs, where it comes from, and the expected FPIR."""
    least = deck.parts.embedder.similarity_min
    return threshold_in_force(deck.config, deck.deciding, deck.people.snapshot, least).as_json()


def engines(config: Config, parts: Parts) -> dict[str, str]:
    """What runs the networks, and which."""
    return {
        "backend": config.backend.type,
        "detector": parts.detector.name,
        "embedder": str(parts.embedder.space),
    }


def fleet(config: Config) -> str | None:
    """`SITE/BOX` in its fleet; None for a box of no fleet."""
    return None if config.fleet is None else f"{config.fleet.site}/{config.fleet.box}"


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


def health_metrics(verdict: HealthVerdict) -> Snapshot:
    """What there is to measure before the first frame."""
    return _health(verdict).snapshot()


def _health(verdict: HealthVerdict) -> Metrics:
    own = Metrics()
    own.gauge("ready", "1 when frames are decided as they should be").set(verdict.ready)
    own.gauge("alive", "0 when the watchdog will restart the service").set(verdict.alive)
    return own


def service_metrics(
    state: OutboxState,
    deliverers: list[Deliverer],
    report: RunReport,
    verdict: HealthVerdict,
    review: Mapping[str, Any],
) -> Snapshot:
    """What the run's own metrics do not hold."""
    own = _health(verdict)
    _add_cameras(own, report)
    _add_outbox(own, state)
    _add_sinks(own, state, deliverers)
    if review:
        _add_review(own, review)
    for zone, celsius in temperatures_c().items():
        own.gauge("temperature_celsius", "Of the board, where the kernel shows it", zone=zone).set(
            celsius
        )
    for rail, watts in power_w().items():
        own.gauge("power_watts", "Of the board, where the kernel shows it", rail=rail).set(watts)
    return own.snapshot()


def _add_cameras(own: Metrics, report: RunReport) -> None:
    for source in report.sources:
        for name in _STATES:
            own.gauge(
                "camera_state", "1 for the state it is in", source=source.name, state=name
            ).set(source.state == name)
        for fault, count in source.faults.items():
            own.counter(
                "camera_faults", "What went wrong with a camera", source=source.name, fault=fault
            ).add(count)


def _add_outbox(own: Metrics, state: OutboxState) -> None:
    own.gauge("outbox_rows", "Events kept on the disk").set(state.rows)
    own.gauge("outbox_bytes", "Of the disk that the outbox uses").set(state.used_bytes)
    own.gauge("outbox_memory_events", "Events that wait for the disk").set(state.memory)
    own.gauge("outbox_degraded", "1 while the disk takes no events").set(state.error is not None)
    for reason, count in state.counts.items():
        own.counter("outbox_given_up", "Events that are lost, by reason", reason=reason).add(count)


def _add_sinks(own: Metrics, state: OutboxState, deliverers: list[Deliverer]) -> None:
    for sink in deliverers:
        name = sink.name
        own.gauge("sink_queue", "Events that the sink has still to get", sink=name).set(
            state.lag.get(name, 0)
        )
        own.counter("sink_sent", "Events that the sink took", sink=name).add(sink.sent)
        own.counter("sink_refused", "Events that the receiver called malformed", sink=name).add(
            state.refused.get(name, 0)
        )
        own.gauge("sink_set_aside", "Of those, the ones that wait for a retry", sink=name).set(
            state.set_aside.get(name, 0)
        )
        if sink.down_since is not None:
            own.gauge(
                "sink_down_since_seconds",
                "When it stopped taking events, UTC seconds",
                sink=name,
                why=sink.last_error or "",
            ).set(sink.down_since)
        own.gauge("sink_up", "0 while the sink takes nothing", sink=name).set(sink.failures == 0)


def _add_review(own: Metrics, review: Mapping[str, Any]) -> None:
    own.gauge("review_waiting", "Doubtful faces that wait for a person").set(review["waiting"] or 0)
    own.gauge("review_up", "0 while the review queue cannot be used").set(review["error"] is None)
    for reason in ("repeats", "given_up", "not_kept"):
        own.counter(
            "review_dropped", "Doubtful faces that were not kept for review", reason=reason
        ).add(review[reason])
