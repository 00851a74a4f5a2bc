"""Build one network's plan, let the gate judge it, and only then put it in place."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from jetson_face.core.errors import EngineError, OutputError
from jetson_face.inference.precision import prepare
from jetson_face.inference.tensorrt.bindings import TensorRT
from jetson_face.inference.tensorrt.builder import BuildOptions, Progress, compile_plan
from jetson_face.inference.tensorrt.cache import EngineCache, SideCar
from jetson_face.inference.tensorrt.key import EngineKey, Machine, NetworkSpec, key_of
from jetson_face.inference.tensorrt.parity import ParityReport

log = logging.getLogger(__name__)

Gate = Callable[[NetworkSpec, bytes], ParityReport]
"""Compares a plan's answers with ONNX Runtime's; needs the GPU that the plan is for."""


@dataclass(frozen=True, slots=True)
class BuildResult:
    """built: False where a fitting plan was there already. parity: None where no gate ran."""

    path: Path
    side_car: SideCar
    built: bool
    parity: ParityReport | None


@dataclass(frozen=True, slots=True)
class Clock:
    """seconds: monotonic, for intervals. now: UTC, for people."""

    seconds: Callable[[], float]
    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)


class EngineBuilder:
    """Builds plans into a cache. gate: None where there is no GPU to judge them on."""

    def __init__(
        self,
        trt: TensorRT,
        machine: Machine,
        cache: EngineCache,
        options: BuildOptions,
        clock: Clock,
        *,
        gate: Gate | None = None,
    ) -> None:
        self._trt, self._machine, self._cache = trt, machine, cache
        self._options, self._clock, self._gate = options, clock, gate

    def build(
        self, spec: NetworkSpec, *, force: bool = False, progress: Progress | None = None
    ) -> BuildResult:
        """Build what is missing; the caller holds the cache's lock.

        force: build although a fitting plan is there. Raises EngineError where the build or the
        gate fails, OutputError where it cannot be written; the plan that was there stays.
        """
        key = key_of(spec, self._machine)
        if not force:
            ready = self._ready(key)
            if ready is not None:
                return BuildResult(self._cache.path_of(ready.key), ready, False, None)
        began = self._clock.seconds()
        compiled = compile_plan(
            self._trt,
            prepare(spec.onnx, spec.name, spec.precision, fp32_ops=spec.fp32_ops),
            spec.name,
            spec.profiles,
            self._options,
            timing_cache=self._cache.read_timing(key),
            progress=progress,
        )
        report = self._judge(spec, compiled.plan)
        side_car = SideCar(
            key=key,
            plan_sha256=hashlib.sha256(compiled.plan).hexdigest(),
            plan_bytes=len(compiled.plan),
            built_at=self._clock.now().isoformat(timespec="seconds"),
            build_s=self._clock.seconds() - began,
            parity="unchecked" if report is None else "passed",
            parity_rows=() if report is None else tuple(report.to_json()),
        )
        path = self._cache.store(side_car, compiled.plan)
        self._keep_timing(key, compiled.timing_cache)
        return BuildResult(path, side_car, True, report)

    def check(self, spec: NetworkSpec) -> ParityReport:
        """Run the gate on the plan that is there and note its answer in the side-car.

        The caller holds the lock. Raises EngineError where there is no fitting plan or no gate.
        """
        if self._gate is None:
            raise EngineError(f"{spec.name}: no GPU here to run the plan on")
        key = key_of(spec, self._machine)
        plan = self._cache.load(key, unchecked=True)
        report = self._gate(spec, plan)
        side_car = self._cache.find(key)
        self._cache.mark(side_car.judged(report.passed, report.to_json()))
        return report

    def _ready(self, key: EngineKey) -> SideCar | None:
        """A plan that fits and, where it can be judged here, was found good."""
        try:
            side_car = self._cache.find(key)
            self._cache.load(key, unchecked=True)
        except EngineError as exc:
            log.debug("building: %s", exc)
            return None
        good = side_car.parity == "passed" or (self._gate is None and side_car.parity != "failed")
        return side_car if good else None

    def _judge(self, spec: NetworkSpec, plan: bytes) -> ParityReport | None:
        if self._gate is None:
            return None
        report = self._gate(spec, plan)
        if not report.passed:
            raise EngineError(
                f"{spec.name}: the new plan failed the parity gate and was thrown away "
                f"({report.first_failure()}): try backend.precision fp32"
            )
        return report

    def _keep_timing(self, key: EngineKey, timings: bytes) -> None:
        try:
            self._cache.write_timing(key, timings)
        except OutputError as exc:  # the plan is good; only the next build will take longer
            log.warning("timing cache not kept: %s", exc)
