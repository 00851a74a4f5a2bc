"""A service whose embedder drifts: event, audit log, error, not ready, and back."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jetson_face.core.types import Embeddings, EmbeddingSpace, ImageU8
from jetson_face.events.older import document
from jetson_face.events.outbox import Outbox
from jetson_face.events.recorder import EventRecorder
from jetson_face.inference.canary import Canary
from jetson_face.privacy.audit import AuditLog
from jetson_face.service.canary import ServiceCanary
from jetson_face.service.notify import HealthVerdict
from jetson_face.util.metrics import to_prometheus
from tests.events.event_help import read_event

SPACE = EmbeddingSpace("test", "0" * 64, 2)
GOOD = HealthVerdict(True, True, "12 frames decided")


class Swap:
    """What the canary needs of the hot swap."""

    def __init__(self) -> None:
        self.answer = np.array([[1, 0]], np.float32)
        embedder = SimpleNamespace(space=SPACE, embed=self.embed)
        self.deck: Any = SimpleNamespace(parts=SimpleNamespace(embedder=embedder), config=None)

    def embed(self, crops: ImageU8) -> Embeddings:
        return Embeddings(self.answer, SPACE)

    def use(self, call: Any) -> None:
        call(self.deck)


def test_drift_is_an_event_and_the_service_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def build(config: None, parts: Any, *, drifted: bool) -> Canary:
        crop = np.zeros((1, 8, 8, 3), np.uint8)
        wanted = np.array([1, 0], np.float32)
        return Canary(parts.embedder.embed, crop, wanted, 10, drifted=drifted)

    monkeypatch.setattr("jetson_face.service.canary.build_canary", build)
    swap: Any = Swap()
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.subscribe("test")
    audit = AuditLog(tmp_path / "audit.jsonl")
    canary = ServiceCanary(swap, EventRecorder(outbox), audit)
    assert canary.document()["state"] == "not asked"
    canary(0)
    assert canary.judge(GOOD) is GOOD
    assert "jetson_face_canary_drifted 0.0" in to_prometheus(canary.metrics())

    swap.answer = np.array([[0, 1]], np.float32)
    canary(5)  # not due yet
    assert canary.judge(GOOD).ready
    with caplog.at_level(logging.ERROR, "jetson_face"):
        canary(10)
    verdict = canary.judge(GOOD)
    assert (verdict.ready, verdict.alive) == (False, True)
    assert verdict.status.startswith("answers wrong: the golden face is answered wrong: cosine 0.0")
    assert "12 frames decided" in verdict.status
    assert "canary_drifted embedder=test" in caplog.text
    assert canary.document()["state"] == "drifted"
    text = to_prometheus(canary.metrics())
    for line in ("canary_drifted 1.0", "canary_asked_total 2.0", "canary_cosine 0.0"):
        assert f"jetson_face_{line}\n" in text

    swap.answer = np.array([[1, 0]], np.float32)
    canary(20)
    assert canary.judge(GOOD) is GOOD
    events = outbox.read("test", 10)
    assert [e.kind for e in events] == ["canary", "canary"]
    bodies = [read_event(document(e)) for e in events]
    assert [(b["state"], b["cosine"]) for b in bodies] == [("drifted", 0.0), ("recovered", 1.0)]
    assert bodies[0]["embedder"].startswith("test")
    assert [entry.action for entry in audit.read()] == ["canary_drifted", "canary_recovered"]
    outbox.close()


def test_a_cosine_that_is_no_number_is_drift_and_valid_json(tmp_path: Path) -> None:
    crop = np.zeros((1, 8, 8, 3), np.uint8)
    nan = Embeddings(np.array([[np.nan, 0]], np.float32), SPACE)
    event = Canary(lambda crops: nan, crop, np.array([1, 0], np.float32), 1).poll(1)
    assert event is not None
    assert json.loads(json.dumps(event.to_json(), allow_nan=False))["cosine"] is None
