"""ONNX bytes in, TensorRT plan bytes out. Needs no GPU with `tensorrt_rtx`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from jetson_face.core.errors import EngineError
from jetson_face.inference.tensorrt.bindings import TensorRT

log = logging.getLogger(__name__)

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ShapeRange:
    """What one input may look like: smallest, the one to be fast for, largest.

    Raises ValueError unless all have one rank and min <= opt <= max >= 1 in each dimension.
    """

    min: Shape
    opt: Shape
    max: Shape

    def __post_init__(self) -> None:
        ranks = {len(self.min), len(self.opt), len(self.max)}
        ordered = len(ranks) == 1 and all(
            1 <= low <= mid <= high
            for low, mid, high in zip(self.min, self.opt, self.max, strict=True)
        )
        if not ordered:
            raise ValueError(
                f"a shape range needs 1 <= min <= opt <= max, got {self.min} {self.opt} {self.max}"
            )

    @classmethod
    def fixed(cls, shape: Shape) -> ShapeRange:
        """One shape only: the plan may then be captured into a CUDA graph."""
        return cls(shape, shape, shape)

    @classmethod
    def batch(cls, each: Shape, largest: int, usual: int | None = None) -> ShapeRange:
        """1 to `largest` items of shape `each`."""
        return cls((1, *each), (usual or max(1, largest // 2), *each), (largest, *each))


class Progress(Protocol):
    """Told how far a build is, from whatever thread TensorRT builds in.

    False from either call ends the build. Phases nest; the outermost has parent None.
    """

    def phase(self, name: str, parent: str | None, steps: int) -> bool: ...
    def step(self, name: str, index: int) -> bool: ...


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """workspace_mib: memory a layer may take while it runs. compute_capability: as in `8.7`, to
    build for another GPU than the one here (`tensorrt_rtx` only); None builds for this one.
    """

    workspace_mib: int = 1024
    compute_capability: str | None = None


@dataclass(frozen=True, slots=True)
class CompiledPlan:
    """timing_cache: what to hand to the next build, empty where the flavour has none."""

    plan: bytes
    timing_cache: bytes


class BuildInterruptedError(EngineError):
    """The build ended because its progress listener asked for it; nothing was kept."""


def compile_plan(
    trt: TensorRT,
    onnx: bytes,
    what: str,
    profiles: Mapping[str, ShapeRange],
    options: BuildOptions,
    *,
    timing_cache: bytes = b"",
    progress: Progress | None = None,
) -> CompiledPlan:
    """Build one plan, strongly typed: the precision is that of the ONNX file.

    what: the network's name, for messages. profiles: a range for every input with a dynamic
    dimension. Raises EngineError with TensorRT's own words, BuildInterruptedError.
    """
    with trt.journal.watch() as errors:
        builder = _make_builder(trt, what, errors)
        network = builder.create_network(_network_flags(trt.module))
        if network is None:
            raise EngineError(f"{what}: TensorRT cannot make a network: {errors()}")
        # The parser owns the weights that the network points to: it must outlive the build.
        parser = trt.module.OnnxParser(network, trt.logger)
        if not parser.parse(onnx):
            raise EngineError(f"{what}: TensorRT cannot read this ONNX: {_parser_errors(parser)}")
        check_profiles(what, _inputs_of(network), profiles)
        config = _make_config(trt, builder, what, profiles, options)
        cache = _attach_timing_cache(trt, config, timing_cache)
        monitor = None if progress is None else _make_monitor(trt.module, progress)
        if monitor is not None:
            config.progress_monitor = monitor
        plan = builder.build_serialized_network(network, config)
        if monitor is not None:
            monitor.raise_if_ended(what)
        if plan is None:
            raise EngineError(f"{what}: TensorRT cannot build it: {_explain(errors(), options)}")
        timings = None if cache is None else cache.serialize()
        return CompiledPlan(bytes(plan), b"" if timings is None else bytes(timings))


def _make_builder(trt: TensorRT, what: str, errors: Callable[[], str]) -> Any:
    try:
        return trt.module.Builder(trt.logger)
    except TypeError as exc:  # what pybind11 makes of a null pointer
        raise EngineError(
            f"{what}: TensorRT cannot start its builder ({errors() or exc}): is a GPU free, and "
            "the NVIDIA driver new enough for this TensorRT?"
        ) from exc


def check_profiles(
    what: str, inputs: Mapping[str, Sequence[int]], profiles: Mapping[str, ShapeRange]
) -> None:
    """Refuse ranges that do not fit the network's inputs (-1: dynamic). Raises EngineError."""
    unknown = sorted(profiles.keys() - inputs.keys())
    if unknown:
        raise EngineError(
            f"{what}: a shape range for {unknown}, but the inputs are {sorted(inputs)}"
        )
    for name, shape in inputs.items():
        ranges = profiles.get(name)
        if ranges is None:
            if -1 in shape:
                raise EngineError(f"{what}: input {name!r} {tuple(shape)} needs a shape range")
            continue
        fits = len(ranges.min) == len(shape) and all(
            dim in (-1, low) and (dim == -1 or low == high)
            for dim, low, high in zip(shape, ranges.min, ranges.max, strict=True)
        )
        if not fits:
            raise EngineError(
                f"{what}: input {name!r} is {tuple(shape)} (-1: may vary), the shape range "
                f"{ranges.min} to {ranges.max} does not fit it"
            )


def _network_flags(module: Any) -> int:
    """Strong typing is a flag in TensorRT 10 and the only way from 11 on."""
    flag = getattr(module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _inputs_of(network: Any) -> dict[str, tuple[int, ...]]:
    tensors = [network.get_input(i) for i in range(network.num_inputs)]
    return {tensor.name: tuple(tensor.shape) for tensor in tensors}


def _make_config(
    trt: TensorRT,
    builder: Any,
    what: str,
    profiles: Mapping[str, ShapeRange],
    options: BuildOptions,
) -> Any:
    config = builder.create_builder_config()
    if config is None:
        raise EngineError(f"{what}: TensorRT cannot make a builder's configuration")
    config.set_memory_pool_limit(
        trt.module.MemoryPoolType.WORKSPACE, options.workspace_mib * (1 << 20)
    )
    rounding = getattr(trt.module.BuilderFlag, "TF32", None)
    if rounding is not None:  # on by default; "fp32" shall mean it, not the 10 bits of fp16
        config.clear_flag(rounding)
    if options.compute_capability is not None:
        config.num_compute_capabilities = 1
        if not config.set_compute_capability(_capability(trt, options.compute_capability), 0):
            raise EngineError(
                f"{what}: {trt.flavour} refuses compute capability {options.compute_capability}"
            )
    if profiles:
        profile = builder.create_optimization_profile()
        try:
            for name, ranges in profiles.items():
                profile.set_shape(name, ranges.min, ranges.opt, ranges.max)
            index = config.add_optimization_profile(profile)
        except (RuntimeError, ValueError) as exc:
            raise EngineError(f"{what}: TensorRT refuses the shape ranges: {exc}") from exc
        if index < 0:
            raise EngineError(f"{what}: TensorRT refuses the shape ranges {dict(profiles)}")
    return config


def _capability(trt: TensorRT, text: str) -> Any:
    known = getattr(trt.module, "ComputeCapability", None)
    if known is None:
        raise EngineError(
            f"{trt.flavour} {trt.version} builds only for the GPU it runs on: leave the compute "
            "capability out, and build on the machine that will run the plan"
        )
    name = "SM" + text.replace(".", "")
    if name not in known.__members__:
        names = ", ".join(n[2:-1] + "." + n[-1] for n in known.__members__ if n.startswith("SM"))
        raise EngineError(
            f"{trt.flavour} {trt.version} cannot build for {text}; it can for {names}"
        )
    return known.__members__[name]


def _attach_timing_cache(trt: TensorRT, config: Any, content: bytes) -> Any | None:
    if not trt.has_timing_cache:
        return None
    # One of another driver or GPU is not taken: measuring again costs minutes, a wrong measurement
    # costs more.
    for start in (content, b""):
        cache = config.create_timing_cache(start)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return cache
    log.warning("TensorRT takes no timing cache: the next build measures again")
    return None


def _parser_errors(parser: Any) -> str:
    texts = []
    for i in range(parser.num_errors):
        error = parser.get_error(i)
        node = error.node_name()
        text = " ".join(error.desc().split())
        texts.append(f"node {node!r}: {text}" if node else text)
    return "; ".join(texts)[:600] or "it gives no reason"


def _explain(errors: str, options: BuildOptions) -> str:
    if "workspace" not in errors.lower():
        return errors or "it gives no reason"
    return f"{errors} (workspace_mib is {options.workspace_mib}: raise backend.workspace_mib)"


def _make_monitor(module: Any, progress: Progress) -> Any:
    base: Any = module.IProgressMonitor

    class Monitor(base):  # type: ignore[misc]
        """Passes progress on; whatever the listener raises is kept until the build has ended."""

        def __init__(self) -> None:
            base.__init__(self)
            self._ended = False
            self._error: BaseException | None = None

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._tell(lambda: progress.phase(phase_name, parent_phase, num_steps))

        def step_complete(self, phase_name: str, step: int) -> bool:
            return self._tell(lambda: progress.step(phase_name, step))

        def phase_finish(self, phase_name: str) -> None:
            pass

        def _tell(self, call: Callable[[], bool]) -> bool:
            try:
                self._ended = self._ended or not call()
            except BaseException as exc:
                self._error, self._ended = self._error or exc, True
            return not self._ended

        def raise_if_ended(self, what: str) -> None:
            if self._error is not None:
                raise self._error
            if self._ended:
                raise BuildInterruptedError(f"{what}: the build was interrupted")

    return Monitor()
