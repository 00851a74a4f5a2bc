"""Parts of other packages: by the configuration's name, or as objects that a program hands over."""

from __future__ import annotations

from jetson_face.config import (
    Config,
    PluginDetectorConfig,
    PluginEmbedderConfig,
    PluginRefinerConfig,
)
from jetson_face.detection.guarded import GuardedDetector, GuardedRefiner
from jetson_face.embedding.guarded import GuardedEmbedder
from jetson_face.output.guarded import GuardedSink
from jetson_face.output.sink import Sink
from jetson_face.util.plugins import find


def plugin_detector(wanted: PluginDetectorConfig) -> GuardedDetector:
    """Raises UsageError where it is not installed, PluginError where it fails."""
    plugin = find("detector", wanted.name)
    return GuardedDetector(
        plugin.make(**wanted.options),
        str(plugin),
        min_face_px=wanted.min_face_px,
        max_faces=wanted.max_faces,
        max_side_px=wanted.max_side_px,
    )


def plugin_embedder(wanted: PluginEmbedderConfig) -> GuardedEmbedder:
    """Raises UsageError where it is not installed, PluginError where it fails."""
    plugin = find("embedder", wanted.name)
    return GuardedEmbedder(plugin.make(**wanted.options), str(plugin), max_batch=wanted.max_batch)


def plugin_refiner(wanted: PluginRefinerConfig) -> GuardedRefiner:
    """Raises UsageError where it is not installed, PluginError where it fails."""
    plugin = find("refiner", wanted.name)
    return GuardedRefiner(plugin.make(**wanted.options), str(plugin))


def build_sinks(config: Config) -> list[Sink]:
    """The sinks of other packages, not yet open. Raises UsageError, PluginError."""
    sinks: list[Sink] = []
    for wanted in config.report.sinks:
        plugin = find("sink", wanted.name)
        sinks.append(GuardedSink(plugin.make(**wanted.options), str(plugin)))
    return sinks
