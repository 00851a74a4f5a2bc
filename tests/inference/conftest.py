"""The real TensorRT for RTX, whose builder needs no GPU, and builders on it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from itertools import count
from pathlib import Path

import pytest

from jetson_face.core.errors import MissingDependencyError
from jetson_face.inference.tensorrt.bindings import TensorRT, load_tensorrt
from jetson_face.inference.tensorrt.build import Clock, EngineBuilder, Gate
from jetson_face.inference.tensorrt.builder import BuildOptions
from jetson_face.inference.tensorrt.cache import EngineCache
from jetson_face.inference.tensorrt.key import Machine

MakeBuilder = Callable[..., EngineBuilder]


@pytest.fixture(scope="session")
def trt() -> TensorRT:
    """`tensorrt_rtx`, or a skip with the reason."""
    try:
        return load_tensorrt("tensorrt_rtx")
    except MissingDependencyError:
        pytest.skip("tensorrt_rtx is not installed: pip install 'jetson-face[rtx]'")


@pytest.fixture
def machine(trt: TensorRT) -> Machine:
    """A GPU of compute capability 8.6 that is not here."""
    return Machine(trt.flavour, trt.version, "8.6")


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    """An empty cache."""
    return EngineCache(tmp_path / "engines")


@pytest.fixture
def clock() -> Clock:
    """One second a reading; a fixed day."""
    ticks = count()
    return Clock(lambda: float(next(ticks)), lambda: datetime(2026, 1, 2, tzinfo=timezone.utc))


@pytest.fixture
def make_builder(trt: TensorRT, machine: Machine, cache: EngineCache, clock: Clock) -> MakeBuilder:
    """Builders for that GPU."""

    def make(gate: Gate | None = None, workspace_mib: int = 512) -> EngineBuilder:
        options = BuildOptions(workspace_mib, machine.compute_capability)
        return EngineBuilder(trt, machine, cache, options, clock, gate=gate)

    return make
