"""What a configuration file may say: every key, its unit, its bounds and its default.

One file, read in one place. Leaf code never sees these objects: `jetson_face.factory` turns them
into plain arguments.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from jetson_face.config.archive import ArchiveConfig
from jetson_face.config.decision import (
    FusionConfig,
    GalleryConfig,
    MatchingConfig,
    QualityConfig,
    TrackingConfig,
    UnknownConfig,
)
from jetson_face.config.detector import (
    AutoDetectorConfig,
    DetectorConfig,
    DetectorSettings,
    DlibConfig,
    HaarConfig,
    MtcnnConfig,
    PluginDetectorConfig,
    YunetConfig,
)
from jetson_face.config.fleet import FLEET, FleetConfig
from jetson_face.config.machine import default_cache_dir, default_state_dir, is_jetson
from jetson_face.config.network import (
    EmbedderConfig,
    EmbedderSection,
    EnginesConfig,
    ModelsConfig,
    OnnxRuntimeConfig,
    PluginEmbedderConfig,
    TensorRTConfig,
)
from jetson_face.config.plugin import PluginRefinerConfig, PluginSinkConfig
from jetson_face.config.privacy import PrivacyConfig
from jetson_face.config.section import HomePath, Section, of_type
from jetson_face.config.service import (
    HomeAssistantConfig,
    JsonlConfig,
    MqttConfig,
    ReportConfig,
    ServiceConfig,
    SinkConfig,
    WebhookConfig,
)
from jetson_face.config.source import AutoSamplingConfig, SamplingConfig, SourceConfig
from jetson_face.core.errors import ConfigError
from jetson_face.models.card_files import Places
from jetson_face.util.documents import parse_document, read_text

__all__ = [
    "ArchiveConfig",
    "AutoDetectorConfig",
    "AutoSamplingConfig",
    "Config",
    "DlibConfig",
    "EmbedderConfig",
    "FleetConfig",
    "HaarConfig",
    "HomeAssistantConfig",
    "JsonlConfig",
    "MqttConfig",
    "MtcnnConfig",
    "OnnxRuntimeConfig",
    "PluginDetectorConfig",
    "PluginEmbedderConfig",
    "PluginRefinerConfig",
    "PluginSinkConfig",
    "SinkConfig",
    "SourceConfig",
    "TensorRTConfig",
    "WebhookConfig",
    "YunetConfig",
    "default_cache_dir",
    "default_state_dir",
    "load_config",
]


def _default_backend() -> OnnxRuntimeConfig | TensorRTConfig:
    return TensorRTConfig() if is_jetson() else OnnxRuntimeConfig()


def _default_camera() -> str:
    return "csi://0" if is_jetson() else "0"


def _with_backend_type(value: Any) -> Any:
    """`--set backend.threads=1` may leave out which back end: this machine's."""
    return of_type(value, _default_backend().type)


def _as_list(value: Any) -> Any:
    """One source may stand without a list; `--set sources.0.KEY` may change the built-in one."""
    if isinstance(value, dict) and isinstance(value.get("0"), dict):
        alone = {key: part for key, part in value.items() if key != "0"}
        return [{**(alone or {"uri": _default_camera()}), **value["0"]}]
    return [value] if isinstance(value, dict) else value


def _auto_sampling(value: Any) -> Any:
    return {"auto": {}} if value == "auto" else value


class Config(Section):
    """Everything a user may set."""

    model_config = ConfigDict(
        json_schema_extra={
            "elsewhere": {
                "mqtt": "unknown key; brokers are under service.sinks, as in `- type: mqtt`",
                "webhook": "unknown key; webhooks are under service.sinks, as in `- type: webhook`",
                "camera": "unknown key; cameras are under sources, as in `- uri: 0`",
            }
        }
    )

    state_dir: HomePath = Field(default_factory=default_state_dir)
    sources: Annotated[tuple[SourceConfig, ...], BeforeValidator(_as_list)] = Field(
        default_factory=lambda: (SourceConfig(uri=_default_camera()),),
        min_length=1,
    )
    detector: DetectorConfig = AutoDetectorConfig()
    sampling: Annotated[SamplingConfig, BeforeValidator(_auto_sampling)] = SamplingConfig()
    refiner: PluginRefinerConfig | None = Field(
        None, description="what follows faces between searches; null: the detector, where it can"
    )
    embedder: EmbedderSection = EmbedderConfig()
    backend: Annotated[
        OnnxRuntimeConfig | TensorRTConfig,
        Field(discriminator="type"),
        BeforeValidator(_with_backend_type),
    ] = Field(default_factory=_default_backend)
    engines: EnginesConfig = EnginesConfig()
    models: ModelsConfig = ModelsConfig()
    gallery: GalleryConfig = GalleryConfig()
    quality: QualityConfig = QualityConfig()
    matching: MatchingConfig = MatchingConfig()
    unknown: UnknownConfig = UnknownConfig()
    fusion: FusionConfig = FusionConfig()
    tracking: TrackingConfig = TrackingConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    report: ReportConfig = ReportConfig()
    service: ServiceConfig = ServiceConfig()
    archive: ArchiveConfig = ArchiveConfig()
    fleet: FleetConfig | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @model_validator(mode="after")
    def _names_differ(self) -> Config:
        names = [source.name for source in self.sources]
        if len(set(names)) != len(names):
            raise ValueError(f"two sources share a name: {names}; give each its own `name`")
        if self.fleet is not None and FLEET in {sink.name for sink in self.service.sinks}:
            raise ValueError(f"a sink cannot be called {FLEET}: `fleet` is")
        return self

    @property
    def mtcnn(self) -> MtcnnConfig:
        """MTCNN as the detector wants it; its networks also give landmarks to other detectors."""
        if isinstance(self.detector, MtcnnConfig):
            return self.detector
        if isinstance(self.detector, AutoDetectorConfig):
            shared = self.detector.model_dump(include=set(DetectorSettings.model_fields))
            return MtcnnConfig(**shared)
        return MtcnnConfig(min_face_px=self.detector.min_face_px)

    @property
    def gallery_path(self) -> Path:
        """Where the gallery is."""
        return self.gallery.path or self.state_dir / "gallery.db"

    @property
    def status_socket(self) -> Path:
        """Where a running service answers."""
        folder = os.environ.get("RUNTIME_DIRECTORY")
        base = Path(folder.split(":")[0]) if folder else self.state_dir
        return self.service.status_socket or base / "status.sock"

    @property
    def model_places(self) -> Places:
        """Where fetched networks are."""
        return Places(self.state_dir / "models", self.models.mirror)

    @property
    def control_socket(self) -> Path:
        """Where the operator's page asks: beside the status socket."""
        status = self.status_socket
        own = status.name == "status.sock"
        return status.with_name("control.sock" if own else f"{status.stem}-control.sock")

    @property
    def engine_cache(self) -> Path:
        """Where built networks are."""
        return self.engines.cache or default_cache_dir() / "engines"


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """The built-in defaults for this machine, then the file, then `--set key=value` overrides.

    Raises ConfigError with file:line and key; also for a file that says nothing, which is more
    often one that was cut off than a wish for the defaults.
    """
    if path is None:
        return parse_document("", "built-in defaults", Config, overrides=overrides)
    text = read_text(path)
    if not any(line.partition("#")[0].strip(" \t-.") for line in text.splitlines()):
        raise ConfigError(
            f"{path}:1: the file says nothing ({len(text)} characters, no key): write {{}} for the "
            "built-in defaults"
        )
    return parse_document(text, str(path), Config, overrides=overrides)
