"""The canary in the live loop: asked between frames on a clock that is played, told once."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from jetson_face.capture.opening import open_source
from jetson_face.core.types import Embeddings, EmbeddingSpace, Frame, ImageU8, Report
from jetson_face.inference.canary import Canary, CanaryEvent, CanaryWatch
from jetson_face.live import LivePipeline

SPACE = EmbeddingSpace("test", "0" * 64, 3)
CROP: ImageU8 = np.zeros((1, 8, 8, 3), np.uint8)
RIGHT, WRONG = np.array([[1, 0, 0]], np.float32), np.array([[0.6, 0.8, 0]], np.float32)
SECOND = 1_000_000_000


class Embedder:
    """Answers right until `drift_at` frames were decided, and right again from `fixed_at` on."""

    def __init__(self, drift_at: int = 10**9, fixed_at: int = 10**9) -> None:
        self.frames = 0
        self._drift_at, self._fixed_at = drift_at, fixed_at
        self.asked_after: list[int] = []
        self.threads: set[str] = set()

    def embed(self, crops: ImageU8) -> Embeddings:
        self.asked_after.append(self.frames)
        self.threads.add(threading.current_thread().name)
        wrong = self._drift_at <= self.frames < self._fixed_at
        return Embeddings(WRONG if wrong else RIGHT, SPACE)

    def process(self, frame: Frame) -> Report:
        self.frames += 1
        return Report(
            frame.source, frame.seq, frame.captured_ns, frame.wall, (64, 48), (), {}, False, 0
        )


class Clock:
    """A second for each frame that was decided."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def __call__(self) -> int:
        return self._embedder.frames * SECOND


def run(embedder: Embedder, *, every_s: float, frames: int = 40) -> CanaryWatch[Embedder]:
    events: list[CanaryEvent] = []

    def build(parts: Embedder, drifted: bool) -> Canary:
        return Canary(parts.embed, CROP, RIGHT[0], round(every_s * SECOND), drifted=drifted)

    watch: CanaryWatch[Embedder] = CanaryWatch(build, events.append)
    watch.events = events  # type: ignore[attr-defined]
    LivePipeline(
        [open_source(f"test://?width=64&height=48&fps=25&frames={frames}", "film")],
        lambda info: embedder,
        between_frames=lambda now_ns: watch.poll(embedder, now_ns),
        clock_ns=Clock(embedder),
    ).run()
    return watch


def events_of(watch: CanaryWatch[Embedder]) -> list[Any]:
    return watch.events  # type: ignore[attr-defined,no-any-return]


def test_it_asks_at_its_own_pace_in_the_recognisers_thread() -> None:
    embedder = Embedder()
    watch = run(embedder, every_s=10)
    assert embedder.asked_after == [1, 11, 21, 31]
    assert embedder.threads == {"recognise"}
    assert events_of(watch) == []
    assert watch.to_json() == {"state": "ok", "asked": 4, "cosine": 1.0, "last_event": None}


def test_drift_is_told_once_when_it_begins_and_once_when_it_ends() -> None:
    embedder = Embedder(drift_at=15, fixed_at=35)
    watch = run(embedder, every_s=5)
    assert embedder.asked_after == [1, 6, 11, 16, 21, 26, 31, 36]
    assert [(e.state, e.at_ns // SECOND) for e in events_of(watch)] == [
        ("drifted", 16),
        ("recovered", 36),
    ]
    assert events_of(watch)[0].cosine == pytest.approx(0.6)


def test_drift_until_the_end_stays_in_the_state() -> None:
    watch = run(Embedder(drift_at=15), every_s=5)
    assert watch.drifted
    assert watch.summary() == "drifted, asked 8 times, last cosine 0.60000"
    assert watch.to_json()["state"] == "drifted"
    assert "engines check" in watch.to_json()["last_event"]


def test_zero_asks_never() -> None:
    embedder = Embedder(drift_at=0)
    watch = run(embedder, every_s=0)
    assert embedder.asked_after == []
    assert (watch.drifted, watch.summary()) == (False, "not asked")


def test_exchanged_parts_are_asked_anew_and_a_good_answer_is_a_recovery() -> None:
    watch = run(Embedder(drift_at=0), every_s=5)
    assert watch.drifted
    fresh = Embedder()
    watch.poll(fresh, 99 * SECOND)
    assert fresh.asked_after == [0]
    assert [e.state for e in events_of(watch)] == ["drifted", "recovered"]
    assert watch.asked == 9


def test_an_embedder_that_fails_ends_the_run() -> None:
    class Broken(Embedder):
        def embed(self, crops: ImageU8) -> Embeddings:
            raise RuntimeError("the GPU is gone")

    with pytest.raises(RuntimeError, match="the GPU is gone"):
        run(Broken(), every_s=5)
