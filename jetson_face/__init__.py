"""Real-time face recognition for NVIDIA Jetson, and for any PC through ONNX Runtime.

    import jetson_face

    with jetson_face.Recognizer() as recognizer:
        recognizer.enroll("Ada Lovelace", ["1.jpg", "2.jpg"])
        for face in recognizer.identify("party.jpg"):
            print(face.name, face.similarity, face.box)
        for frame, faces in recognizer.watch("rtsp://camera/stream"):
            ...

`help(jetson_face.Recognizer)` says the rest. `Detector`, `Refiner`, `Embedder`, `Source` and `Sink`
are what own parts must offer. Every error is a `JetsonFaceError`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from jetson_face.core.version import __version__

if TYPE_CHECKING:
    from jetson_face.api import (
        EnrollmentResult,
        Face,
        Recognizer,
        Refusal,
        Watch,
    )
    from jetson_face.capture.source import (
        EndOfSource,
        FrameBroken,
        Source,
        SourceHealth,
        SourceInfo,
    )
    from jetson_face.config import Config, load_config
    from jetson_face.core.errors import (
        CalibrationError,
        ConfigError,
        EmbeddingSpaceError,
        EngineError,
        EnrollmentError,
        GalleryCorruptError,
        GalleryError,
        GalleryLockedError,
        InputBrokenError,
        InputMissingError,
        JetsonFaceError,
        MissingDependencyError,
        ModelError,
        NameInvalidError,
        OutputError,
        PluginError,
        SecretMissingError,
        SourceError,
        StateLockedError,
        UsageError,
    )
    from jetson_face.core.types import (
        Candidate,
        Detections,
        Embeddings,
        EmbeddingSpace,
        Frame,
        Person,
        Report,
        Sighting,
    )
    from jetson_face.detection.detector import Detector, Refiner
    from jetson_face.embedding.embedder import Embedder
    from jetson_face.gallery.records import PersonInfo
    from jetson_face.output.sink import Sink

# Loaded when first asked for: a program that wants the version needs no OpenCV.
_HOMES = {
    "api": ("EnrollmentResult", "Face", "Recognizer", "Refusal", "Watch"),
    "capture.source": ("EndOfSource", "FrameBroken", "Source", "SourceHealth", "SourceInfo"),
    "config": ("Config", "load_config"),
    "core.errors": (
        "CalibrationError",
        "ConfigError",
        "EmbeddingSpaceError",
        "EngineError",
        "EnrollmentError",
        "GalleryCorruptError",
        "GalleryError",
        "GalleryLockedError",
        "InputBrokenError",
        "InputMissingError",
        "JetsonFaceError",
        "MissingDependencyError",
        "ModelError",
        "NameInvalidError",
        "OutputError",
        "PluginError",
        "SecretMissingError",
        "SourceError",
        "StateLockedError",
        "UsageError",
    ),
    "core.types": (
        "Candidate",
        "Detections",
        "EmbeddingSpace",
        "Embeddings",
        "Frame",
        "Person",
        "Report",
        "Sighting",
    ),
    "detection.detector": ("Detector", "Refiner"),
    "embedding.embedder": ("Embedder",),
    "gallery.records": ("PersonInfo",),
    "output.sink": ("Sink",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "CalibrationError",
    "Candidate",
    "Config",
    "ConfigError",
    "Detections",
    "Detector",
    "Embedder",
    "EmbeddingSpace",
    "EmbeddingSpaceError",
    "Embeddings",
    "EndOfSource",
    "EngineError",
    "EnrollmentError",
    "EnrollmentResult",
    "Face",
    "Frame",
    "FrameBroken",
    "GalleryCorruptError",
    "GalleryError",
    "GalleryLockedError",
    "InputBrokenError",
    "InputMissingError",
    "JetsonFaceError",
    "MissingDependencyError",
    "ModelError",
    "NameInvalidError",
    "OutputError",
    "Person",
    "PersonInfo",
    "PluginError",
    "Recognizer",
    "Refiner",
    "Refusal",
    "Report",
    "SecretMissingError",
    "Sighting",
    "Sink",
    "Source",
    "SourceError",
    "SourceHealth",
    "SourceInfo",
    "StateLockedError",
    "UsageError",
    "Watch",
    "__version__",
    "load_config",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'jetson_face' has no attribute {name!r}")
    value = getattr(import_module(f"jetson_face.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
