"""The TensorRT plans that a configuration needs: built, judged, found and opened."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from time import monotonic

from jetson_face.config import Config
from jetson_face.core.errors import EngineError, UsageError
from jetson_face.embedding.onnx import OnnxEmbedder
from jetson_face.factory import gpu as gpus
from jetson_face.factory.golden import golden_pictures
from jetson_face.factory.gpu import Gpu, open_plan
from jetson_face.factory.mtcnn import assemble_mtcnn
from jetson_face.factory.parity_gate import MakeDetector, ParityGate
from jetson_face.factory.plan_networks import (
    embedder_card,
    needs_mtcnn,
    networks_of,
    tensorrt_config,
)
from jetson_face.factory.yunet import assemble_yunet, yunet_config
from jetson_face.inference.backend import Backend
from jetson_face.inference.tensorrt.bindings import TensorRT
from jetson_face.inference.tensorrt.build import BuildResult, Clock, EngineBuilder
from jetson_face.inference.tensorrt.builder import BuildOptions, Progress
from jetson_face.inference.tensorrt.cache import EngineCache, SideCar
from jetson_face.inference.tensorrt.key import Machine, NetworkSpec, key_of
from jetson_face.inference.tensorrt.parity import ParityReport

log = logging.getLogger(__name__)


class Plans:
    """Builds, checks and opens the plans of one configuration.

    gpu: None where plans are only built, for `compute_capability`, and cannot be judged.
    """

    def __init__(
        self,
        config: Config,
        trt: TensorRT,
        gpu: Gpu | None,
        *,
        compute_capability: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        if gpu is None and compute_capability is None:
            raise UsageError("without a GPU say which one to build for, as 8.7")
        self.config = config
        self.cache = EngineCache(config.engine_cache)
        self._gpu = gpu if compute_capability is None else None
        self.networks = networks_of(config)
        if self._gpu is not None:
            self.machine = self._gpu.machine
        else:
            self.machine = Machine(trt.flavour, trt.version, str(compute_capability))
        self._builder = EngineBuilder(
            trt,
            self.machine,
            self.cache,
            BuildOptions(tensorrt_config(config).workspace_mib, compute_capability),
            clock or Clock(monotonic),
            gate=None if self._gpu is None else lambda spec, plan: self._gate(spec, plan),
        )

    def specs(self, names: Sequence[str] = ()) -> list[NetworkSpec]:
        """Those named, or all. Raises UsageError on a name that there is not."""
        unknown = sorted(set(names) - self.networks.keys())
        if unknown:
            raise UsageError(f"no network {unknown}; there are {', '.join(self.networks)}")
        return [n.spec for name, n in self.networks.items() if not names or name in names]

    def build(
        self, spec: NetworkSpec, *, force: bool = False, progress: Progress | None = None
    ) -> BuildResult:
        """As `EngineBuilder.build`; the caller holds `cache.lock()`."""
        return self._builder.build(spec, force=force, progress=progress)

    def check(self, spec: NetworkSpec) -> ParityReport:
        """As `EngineBuilder.check`; the caller holds `cache.lock()`."""
        return self._builder.check(spec)

    def fitting(self) -> list[Path]:
        """Plans of the cache that this configuration and machine would load."""
        found = []
        for spec in self.specs():
            try:
                side_car = self.cache.find(key_of(spec, self.machine))
            except EngineError:
                continue
            found.append(self.cache.path_of(side_car.key))
        return found

    def export(self, specs: Sequence[NetworkSpec]) -> list[tuple[SideCar, bytes]]:
        """The plans of these networks as this machine would load them. Raises EngineError."""
        found = []
        for spec in specs:
            key = key_of(spec, self.machine)
            plan = self.cache.load(key)
            found.append((self.cache.find(key), plan))
        return found

    def take_in(self, side_car: SideCar, plan: bytes) -> ParityReport | None:
        """Put a plan that another box built into the cache, judged by this box's own gate.

        The caller holds `cache.lock()`. None: this configuration has no use for it, or has one that
        is as good already. Raises EngineError where it was built for something else, or fails the
        gate: then it is not kept, and what was there stays.
        """
        network = self.networks.get(side_car.key.network)
        if network is None:
            return None
        key = key_of(network.spec, self.machine)
        differences = side_car.key.differences(key)
        if differences:
            raise EngineError(
                f"{side_car.key.network}: built for another box: {'; '.join(differences)}"
            )
        if self.cache.path_of(side_car.key) in self.fitting():
            with suppress(EngineError):
                self.cache.load(key)  # whole, and passed the gate
                return None
        report = self._gate(network.spec, plan)
        if not report.passed:
            raise EngineError(
                f"{side_car.key.network}: failed the parity gate here and was not taken "
                f"({report.first_failure()}): jetson-face engines build"
            )
        self.cache.store(side_car.judged(True, report.to_json()), plan)
        return report

    def open(self, name: str, *, autobuild: bool, progress: Progress | None = None) -> Backend:
        """The network's plan, running; built first where it is missing and `autobuild` is set.

        Raises EngineError, saying why and what to run.
        """
        if self._gpu is None:
            raise EngineError("no GPU here to run a plan on")
        spec = self.specs([name])[0]
        key = key_of(spec, self.machine)
        try:
            plan = self.cache.load(key)
        except EngineError as exc:
            if not autobuild:
                raise
            log.info("engine_build network=%s reason=%s (minutes, once)", name, exc)
            with self.cache.lock():
                self.build(spec, progress=progress)
            plan = self.cache.load(key)
        return open_plan(self._gpu, spec, plan)

    @cached_property
    def _gate(self) -> ParityGate:
        gpu, card = self._gpu, embedder_card(self.config)
        if gpu is None:
            raise EngineError("no GPU here to judge a plan on")
        batch = self.config.embedder.max_batch
        return ParityGate(
            {name: network.reference for name, network in self.networks.items()},
            golden_pictures(),
            frame_size=self.config.engines.frame_size,
            open_plan=partial(open_plan, gpu),
            make_detector=_detector_maker(self.config),
            make_embedder=None
            if card is None
            else lambda backend: OnnxEmbedder(card, backend, max_batch=batch),
        )


def _detector_maker(config: Config) -> MakeDetector | None:
    """What puts the configured detector together; None where it runs no network of ours."""
    if yunet_config(config) is not None:
        return partial(assemble_yunet, config)
    return partial(assemble_mtcnn, config) if needs_mtcnn(config) else None


def plans_here(config: Config) -> Plans:
    """The plans of this configuration on this machine's GPU. Raises as `gpu.this_gpu`."""
    gpu = gpus.this_gpu()
    return Plans(config, gpu.trt, gpu)


def open_network(config: Config, name: str) -> Backend:
    """What runs one network of a configuration whose back end is TensorRT.

    Raises EngineError, MissingDependencyError.
    """
    return plans_here(config).open(name, autobuild=config.engines.autobuild)
