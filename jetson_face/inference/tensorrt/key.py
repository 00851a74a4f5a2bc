"""What a plan was built from and for; a plan runs only where all of it is the same."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from jetson_face.core.errors import EngineError
from jetson_face.core.version import __version__
from jetson_face.inference.tensorrt.builder import ShapeRange

BUILD_COMMAND = "jetson-face engines build"
ANY_DEVICE = "any"


@dataclass(frozen=True, slots=True)
class Machine:
    """The GPU and the TensorRT that build or run a plan.

    compute_capability: as in `8.7`. device: what CUDA calls the GPU; `any` for a plan that was
    built where no GPU is, for every GPU of that compute capability.
    """

    flavour: str
    version: str
    compute_capability: str
    device: str = ANY_DEVICE


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """One network to be built.

    onnx: the file's bytes; for int8 a graph that already has Q/DQ, otherwise an fp32 graph that
    the build converts. profiles: a shape range for each input that varies. fp32_ops: operators
    and single nodes, by their first output, that stay in fp32 in an fp16 plan.
    """

    name: str
    onnx: bytes = field(repr=False)
    precision: str
    profiles: Mapping[str, ShapeRange]
    fp32_ops: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_]{1,40}", self.name):
            raise ValueError(f"a network's name is letters, digits and _, got {self.name!r}")


@dataclass(frozen=True, slots=True)
class EngineKey:
    """Everything that must agree before a plan is loaded."""

    network: str
    precision: str
    flavour: str
    version: str
    compute_capability: str
    device: str
    onnx_sha256: str
    profiles: Mapping[str, Mapping[str, tuple[int, ...]]]
    jetson_face: str = __version__

    @property
    def stem(self) -> str:
        """The file name without suffix: readable facts, then a hash over all of them."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(canonical.encode()).hexdigest()[:12]
        sm = "sm" + self.compute_capability.replace(".", "")
        device = re.sub(r"[^A-Za-z0-9]+", "-", self.device).strip("-").lower()[:24] or "gpu"
        flavour = {"tensorrt": "trt", "tensorrt_rtx": "rtx"}.get(self.flavour, self.flavour)
        return (
            f"{self.network}-{self.precision}-{flavour}{self.version}-{sm}-{device}"
            f"-onnx{self.onnx_sha256[:8]}-v{self.jetson_face}-{digest}"
        )

    def to_json(self) -> dict[str, Any]:
        """As the side-car holds it."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]

    @classmethod
    def from_json(cls, data: Any) -> EngineKey:
        """The key that a side-car holds. Raises EngineError."""
        try:
            profiles = {
                str(name): {kind: tuple(map(int, ranges[kind])) for kind in ("min", "opt", "max")}
                for name, ranges in data["profiles"].items()
            }
            fields = {n: data[n] for n in cls.__slots__ if n != "profiles"}
            if not all(isinstance(value, str) for value in fields.values()):
                raise TypeError("every fact but the profiles is text")
            return cls(**fields, profiles=profiles)
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise EngineError(f"the side-car is damaged ({exc!r}): run {BUILD_COMMAND}") from exc

    def differences(self, other: EngineKey) -> list[str]:
        """What differs, as `TensorRT version: built with X, here Y`; self is the plan's own."""
        found = []
        for name, label in _LABELS.items():
            mine, theirs = getattr(self, name), getattr(other, name)
            if name == "device" and ANY_DEVICE in (mine, theirs):
                continue
            if mine != theirs:
                if name in ("onnx_sha256", "profiles"):
                    found.append(f"{label} changed")
                else:
                    found.append(f"{label}: built for {mine}, here {theirs}")
        return found


_LABELS = {
    "network": "network",
    "precision": "precision",
    "flavour": "TensorRT flavour",
    "version": "TensorRT version",
    "compute_capability": "compute capability",
    "device": "device",
    "onnx_sha256": "the ONNX file",
    "profiles": "the shape ranges",
    "jetson_face": "jetson-face version",
}


def key_of(spec: NetworkSpec, machine: Machine) -> EngineKey:
    """The key of this network's plan on this machine."""
    return EngineKey(
        network=spec.name,
        precision=spec.precision,
        **asdict(machine),
        onnx_sha256=hashlib.sha256(spec.onnx + "|".join(spec.fp32_ops).encode()).hexdigest(),
        profiles={name: asdict(shapes) for name, shapes in spec.profiles.items()},
    )
