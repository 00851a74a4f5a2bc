"""A configuration from what a Python program says: a file, keywords, names and objects."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jetson_face.config import (
    Config,
    PluginDetectorConfig,
    PluginEmbedderConfig,
    load_config,
)
from jetson_face.core.errors import UsageError
from jetson_face.detection.detector import Detector, Refiner
from jetson_face.detection.guarded import GuardedDetector, GuardedRefiner
from jetson_face.embedding.embedder import Embedder
from jetson_face.embedding.guarded import GuardedEmbedder
from jetson_face.factory.parts import Parts, build_parts
from jetson_face.util.documents import check_values
from jetson_face.util.plugins import Kind, installed

DETECTORS = ("auto", "mtcnn", "haar", "dlib", "yunet")
_WHERE = "Recognizer"


def configure(
    config: Config | str | os.PathLike[str] | None, changes: Mapping[str, object]
) -> Config:
    """The configuration, or the file's, or this machine's defaults, with `changes` made.

    changes: a value by its key, `sampling.interval` or `sampling: {"interval": …}`: what a section
    does not name stays. Raises ConfigError with the key, InputMissingError.
    """
    base = config if isinstance(config, Config) else load_config(_path(config))
    if not changes:
        return base
    values = base.model_dump(exclude_unset=True)
    for key, part in values.items():
        if isinstance(part, dict) and hasattr(getattr(base, key), "type"):
            part.setdefault("type", getattr(base, key).type)
    for key, value in changes.items():
        *above, last = key.split(".")
        node: dict[str, Any] = values
        for name in above:
            below = node.get(name)
            node[name] = node = below if isinstance(below, dict) else {}
        node[last] = _merged(node.get(last), value)
    return check_values(values, _WHERE, Config)


def named(kind: Kind, given: str | Mapping[str, object]) -> Mapping[str, object]:
    """The section that a name means: what is built in, else a plug-in; a section is one already.

    An embedder that is no plug-in is a model card, or a path to one. Raises UsageError.
    """
    if not isinstance(given, str):
        return given
    brought = installed(kind)
    if kind == "detector" and given in DETECTORS:
        return {"type": given}
    if kind == "embedder" and given not in brought:
        return {"type": "network", "model": given}
    if given not in brought and kind == "detector":
        known = ", ".join(sorted(brought)) or "none"
        raise UsageError(
            f"no detector {given!r}: built in are {', '.join(DETECTORS)}; "
            f"plug-ins installed: {known}"
        )
    return {"type": "plugin", "name": given}


def parts_with(
    config: Config,
    *,
    detector: Detector | None = None,
    refiner: Refiner | None = None,
    embedder: Embedder | None = None,
) -> tuple[Config, Parts]:
    """The parts, with objects in place of what is configured, and the configuration that says so.

    Raises PluginError where an object is not what it should be, and what building raises.
    """
    changed: dict[str, object] = {}
    if detector is not None:
        detector = GuardedDetector(detector, f"detector {type(detector).__name__}")
        changed["detector"] = PluginDetectorConfig.model_construct(
            type="plugin", name=detector.name, options={}
        )
    if refiner is not None:
        refiner = GuardedRefiner(refiner, f"refiner {type(refiner).__name__}")
    if embedder is not None:
        embedder = GuardedEmbedder(embedder, f"embedder {type(embedder).__name__}")
        changed["embedder"] = PluginEmbedderConfig.model_construct(
            type="plugin", name=embedder.space.model, options={}
        )
    config = config.model_copy(update=changed)
    return config, build_parts(config, detector=detector, refiner=refiner, embedder=embedder)


def _path(config: str | os.PathLike[str] | None) -> Path | None:
    return None if config is None else Path(config)


def _merged(old: object, new: object) -> object:
    if not isinstance(new, Mapping):
        return new
    kept = old if isinstance(old, dict) else {}
    if "type" in new and new["type"] != kept.get("type"):
        kept = {}  # another kind has other keys
    return kept | {key: _merged(kept.get(key), value) for key, value in new.items()}
