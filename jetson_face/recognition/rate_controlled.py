"""A recogniser whose sampling rate a governor adapts to what it measures."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

import numpy as np

from jetson_face.core.protocols import FrameProcessor
from jetson_face.core.types import Frame, Report
from jetson_face.recognition.rate_controller import Governor, RateMeasurement
from jetson_face.recognition.steps import Stepping, Steps, steps_of, without_others

log = logging.getLogger(__name__)

_WHOLE_KEPT = 9
"""Times of whole searches, of which the median is taken."""


class AdjustableInterval(Protocol):
    """What the governor turns."""

    @property
    def every_n(self) -> int: ...
    def set_every(self, every_n: int) -> None: ...


class GovernedRecognizer(Stepping):
    """Measures each frame of one live source and asks the governor every `period_s`.

    A search that was left out, or was of a part only, counts as if it had been of the whole frame:
    the sampling rate must fit the moment in which everybody moves.

    interval: the recogniser's own. clock_ns: the clock of the frames' `captured_ns`. cpu_share: CPU
    seconds of the process so far over the number of cores.
    """

    def __init__(
        self,
        recognizer: FrameProcessor,
        interval: AdjustableInterval,
        governor: Governor,
        *,
        period_s: float = 2.0,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        cpu_share: Callable[[], float] | None = None,
    ) -> None:
        self._recognizer = recognizer
        self._interval = interval
        self._governor = governor
        self._period_ns = round(period_s * 1e9)
        self._clock_ns = clock_ns
        self._cpu_share = cpu_share
        self._begun: tuple[int, int, float] | None = None
        self._ages_ms: list[float] = []
        self._worked_ns = self._spared_ns = 0
        self._would_take_ms: list[float] = []
        self._searched_ms = 0.0
        self._whole_ms: deque[float] | None = None
        interval.set_every(governor.every)

    def steps(self, frame: Frame) -> Steps[Report]:
        """As the recogniser's; now and then the sampling rate changes after it."""
        start = self._clock_ns()
        if self._begun is None:
            self._begun = self._begin(frame, start)
        report, others_ns = yield from without_others(steps_of(self._recognizer, frame))
        now = self._clock_ns()
        own_ns = now - start - others_ns
        searched_ms = report.stages_ms.get("detect", 0.0)
        spared_ms = self._spared_ms(report, searched_ms)
        self._spared_ns += round(1e6 * spared_ms)
        if spared_ms:
            self._would_take_ms.append(own_ns / 1e6 + spared_ms)
        self._worked_ns += own_ns
        self._searched_ms += searched_ms + spared_ms
        self._ages_ms.append((now - frame.captured_ns) / 1e6 + spared_ms)
        began, seq, cpu = self._begun
        if now - began >= self._period_ns:
            self._ask(frame, now, self._measured(now - began, frame.seq - seq + 1, cpu))
            self._begun = None
        return report

    def _begin(self, frame: Frame, now: int) -> tuple[int, int, float]:
        cpu = 0.0 if self._cpu_share is None else self._cpu_share()
        self._ages_ms.clear()
        self._would_take_ms.clear()
        self._worked_ns = self._spared_ns = 0
        self._searched_ms = 0.0
        return now, frame.seq, cpu

    def _measured(self, span_ns: int, captured: int, cpu: float) -> RateMeasurement:
        worked_ns = self._worked_ns + self._spared_ns
        more = worked_ns / max(self._worked_ns, 1)
        capture_fps = 1e9 * captured / span_ns
        # Frames that would have been replaced by newer ones while those searches ran.
        late = sum(max(0.0, capture_fps * ms / 1000 - 1) for ms in self._would_take_ms)
        seconds = span_ns / 1e9 * (1 + late / len(self._ages_ms))
        return RateMeasurement(
            decision_fps=len(self._ages_ms) / seconds,
            capture_fps=capture_fps,
            busy=min(1.0, worked_ns / 1e9 / seconds),
            search_share=min(1.0, 1e6 * self._searched_ms / max(worked_ns, 1)),
            age_ms=float(np.percentile(self._ages_ms, 95, method="inverted_cdf")),
            cpu=None if self._cpu_share is None else more * (self._cpu_share() - cpu) / seconds,
        )

    def _spared_ms(self, report: Report, searched_ms: float) -> float:
        """What a search of the whole frame would have taken more. The first one ever is not
        counted: it wakes the networks up."""
        if report.searched:
            if self._whole_ms is None:
                self._whole_ms = deque(maxlen=_WHOLE_KEPT)
            else:
                self._whole_ms.append(searched_ms)
        if not report.spared or not self._whole_ms:
            return 0.0
        return max(0.0, float(np.median(self._whole_ms)) - searched_ms)

    def _ask(self, frame: Frame, now: int, measured: RateMeasurement) -> None:
        change = self._governor.update(measured, now)
        if change is None:
            return
        if change.every is None:
            log.warning("%s: %s", frame.source, change.why)
            return
        self._interval.set_every(change.every)
        log.info("%s: %s", frame.source, change.why)
