"""What a configuration file may say: every key, its unit, its bounds and its default.

One file, read in one place. Leaf code never sees these objects: `jetson_face.compose` turns them
into plain arguments.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from jetson_face.documents import load_document, parse_document

Cosine = Annotated[float, Field(ge=-1, le=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
NAME = r"^[\w.-]{1,40}$"


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceConfig(Section):
    """A camera, stream, video file or folder of pictures."""

    uri: str = Field(
        description="v4l2:///dev/video0, csi://0, rtsp://host/path, file path, folder, test://, "
        "gst:PIPELINE, or a camera's number; {credential:NAME} stands for a systemd credential"
    )
    name: str = Field("camera", pattern=NAME, description="what reports call it")
    backend: Literal["auto", "opencv", "gstreamer"] = "auto"
    open_timeout_s: float = Field(10, gt=0, le=300)
    read_timeout_s: float = Field(5, gt=0, le=300)
    max_age_ms: int = Field(2000, ge=10, description="a live frame older than this is dropped")

    @model_validator(mode="before")
    @classmethod
    def _number_is_camera(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("uri"), int):
            return {**value, "uri": str(value["uri"])}
        return value


class DetectorSettings(Section):
    """What every detector has."""

    min_face_px: int = Field(40, ge=12, le=2000, description="smallest face looked for, pixels")
    max_faces: int = Field(32, ge=1, le=1000)
    max_side_px: int | None = Field(
        None, ge=64, description="search on a picture shrunk to this longer side; null: full size"
    )


class MtcnnConfig(DetectorSettings):
    """MTCNN: P-, R- and O-Net, five landmarks."""

    type: Literal["mtcnn"] = "mtcnn"
    pyramid_factor: float = Field(0.709, gt=0.3, lt=0.95)
    thresholds: tuple[Fraction, Fraction, Fraction] = (0.6, 0.7, 0.7)
    face_px_min: float = Field(
        0, ge=0, le=4000, description="a found face whose longer side is below is dropped, pixels"
    )


class HaarConfig(DetectorSettings):
    """OpenCV's Haar cascade on the picture turned by steps, results merged."""

    type: Literal["haar"]
    points: Literal["onet", "dlib68", "dlib5", "eyes"] = Field(
        "onet", description="what finds the landmarks: MTCNN's O-Net, dlib, or the eye cascade"
    )
    turn_max_deg: float = Field(60, ge=0, le=180, description="0: upright faces only")
    turn_step_deg: float = Field(20, ge=5, le=90)
    scale_factor: float = Field(1.1, gt=1, le=2)
    min_neighbours: int = Field(4, ge=0, le=50, description="hits that a face needs")


class DlibConfig(DetectorSettings):
    """dlib: HOG (upright faces), or its detection network (slow without CUDA)."""

    type: Literal["dlib"]
    min_face_px: int = Field(80, ge=12, le=2000, description="below 72 the picture is doubled")
    method: Literal["hog", "cnn"] = "hog"
    points: Literal["dlib68", "dlib5"] = "dlib68"
    threshold: float = Field(0.0, ge=-2, le=2, description="below 0 HOG finds more")


class YunetConfig(DetectorSettings):
    """YuNet; its file is fetched by the user."""

    type: Literal["yunet"]
    model: str = Field("yunet", description="a model card's name, or a path to one")
    score_min: Fraction = 0.7


def _mtcnn_is_meant(value: Any) -> Any:
    return {"type": "mtcnn", **value} if isinstance(value, dict) and "type" not in value else value


DetectorConfig = Annotated[
    MtcnnConfig | HaarConfig | DlibConfig | YunetConfig,
    Field(discriminator="type"),
    BeforeValidator(_mtcnn_is_meant),
]


class AutoSamplingConfig(Section):
    """What the governor keeps true while a live source runs, by searching more or less often."""

    decision_fps_min: float | None = Field(None, gt=0, description="frames decided per second")
    age_ms_max: float | None = Field(200, gt=0, description="capture to decision, p95")
    cpu_max: float | None = Field(None, gt=0, le=1, description="share of all cores")
    every_min: int = Field(1, ge=1, le=1000, description="never searches more often than this")
    every_max: int = Field(30, ge=1, le=1000, description="never searches more seldom than this")

    @model_validator(mode="after")
    def _has_a_goal(self) -> AutoSamplingConfig:
        if self.decision_fps_min is self.age_ms_max is self.cpu_max is None:
            raise ValueError("one of decision_fps_min, age_ms_max and cpu_max must be given")
        if self.every_min > self.every_max:
            raise ValueError(f"every_min {self.every_min} is above every_max {self.every_max}")
        return self


class SamplingConfig(Section):
    """How often a frame is searched for faces."""

    every: int = Field(5, ge=1, le=1000, description="one frame in `every` is searched")
    auto: AutoSamplingConfig | None = Field(None, description="adapt `every`; `sampling: auto`")
    refine: bool = Field(True, description="follow faces with O-Net on the frames between")
    on_loss: bool = Field(True, description="search at once when a face was lost")


class EmbedderConfig(Section):
    """The network that turns a face into a vector."""

    model: str = Field("squeezenet_face", description="a model card's name, or a path to one")
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    max_batch: int = Field(16, ge=1, le=256)


class OnnxRuntimeConfig(Section):
    """ONNX Runtime."""

    type: Literal["onnxruntime"] = "onnxruntime"
    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    threads: int | None = Field(None, ge=1, le=256, description="per network; null: all cores")


class TensorRTConfig(Section):
    """TensorRT plans, built on this machine from the same ONNX files."""

    type: Literal["tensorrt"] = "tensorrt"
    precision: Literal["fp32", "fp16", "int8"] = "fp16"
    workspace_mib: int = Field(1024, ge=64)


class EnginesConfig(Section):
    """Where built networks are kept."""

    cache: Path | None = Field(None, description="null: $XDG_CACHE_HOME/jetson-face/engines")
    autobuild: bool = Field(True, description="`run` builds what is missing first")
    canary_every_s: float = Field(600, ge=0, description="0: no canary")


class GalleryConfig(Section):
    """Enrolled people."""

    path: Path | None = Field(None, description="null: STATE_DIR/gallery.db")
    encrypt: bool = Field(True, description="seal vectors and portraits; key in STATE_DIR")
    lock_timeout_s: float = Field(5, ge=0, le=600)
    refresh_s: float = Field(1, ge=0, description="how often a running program looks for changes")


class QualityConfig(Section):
    """What a face must have, to be enrolled; and to count at all."""

    min_face_px: int = Field(48, ge=12, description="shorter side of the box, to be enrolled")
    enroll_min: Fraction = Field(0.25, description="least quality of an enrolment photo")
    embed_min: Fraction = Field(0.05, description="least quality of a face worth embedding")


class MatchingConfig(Section):
    """When two faces are the same person."""

    method: Literal["cosine", "knn", "svm", "softmax", "siamese"] = Field(
        "cosine", description="how a face is compared with the people of the gallery"
    )
    neighbours: int = Field(5, ge=1, le=1000, description="knn: templates that vote")
    pair_weights: Path | None = Field(
        None, description="siamese: file of trained weights; null: engines/siamese_MODEL.json"
    )
    similarity_min: Cosine | None = Field(
        None, description="higher is more alike; null: what model card or method says"
    )
    hysteresis: float = Field(
        0.05,
        ge=0,
        le=1,
        description="a known face keeps its name down to similarity_min minus this",
    )
    margin_min: float = Field(0.03, ge=0, le=2, description="cosine lead over the second person")
    frames_min: int = Field(2, ge=1, le=1000, description="embeddings before a name is given")
    unknown_after: int = Field(5, ge=1, le=1000, description="embeddings before `unknown`")
    top_k: int = Field(3, ge=1, le=100, description="templates of a person that are averaged")


class FusionConfig(Section):
    """How the frames of a track are averaged."""

    strategy: Literal["embedding_mean", "score_mean", "vote"] = "embedding_mean"
    embed_known_every: int = Field(
        5, ge=1, le=1000, description="a surely known face is embedded one frame in this many"
    )
    max_per_frame: int = Field(8, ge=1, le=256, description="faces embedded on one frame")


class TrackingConfig(Section):
    """How boxes become tracks."""

    iou_min: Fraction = 0.3
    max_gap_ms: int = Field(1000, ge=0, description="a face unseen for longer is a new one")


class ReportConfig(Section):
    """The frame-rate / sampling-rate report and the result files."""

    every_s: float = Field(5, gt=0)
    events: Path | None = Field(None, description="JSONL of events")
    json_file: Path | None = Field(None, description="the final report as JSON")
    video: Path | None = Field(None, description="annotated video, mp4")
    still: Path | None = Field(None, description="annotated picture of the fullest frame")


class WebhookConfig(Section):
    """POSTs events as JSON."""

    type: Literal["webhook"]
    name: str = Field("webhook", pattern=NAME)
    url: str = Field(pattern=r"^https?://")
    token_credential: str | None = Field(
        None, pattern=NAME, description="systemd credential that holds the bearer token"
    )
    timeout_s: float = Field(5, gt=0, le=60)


class MqttConfig(Section):
    """Publishes events to an MQTT broker, QoS 1."""

    type: Literal["mqtt"]
    name: str = Field("mqtt", pattern=NAME)
    host: str
    port: int = Field(1883, ge=1, le=65535)
    topic: str = Field("jetson-face/events", min_length=1, max_length=200)
    tls: bool = False
    username: str | None = None
    password_credential: str | None = Field(
        None, pattern=NAME, description="systemd credential that holds the password"
    )
    timeout_s: float = Field(5, gt=0, le=60)


class JsonlConfig(Section):
    """Appends events to files in LOGS_DIR (STATE_DIR where systemd gives none), a new file when
    one is full."""

    type: Literal["jsonl"]
    name: str = Field("jsonl", pattern=NAME)
    file_mib: int = Field(16, ge=1, le=1024, description="size of one file")
    files: int = Field(8, ge=2, le=1000, description="how many are kept")


SinkConfig = Annotated[WebhookConfig | MqttConfig | JsonlConfig, Field(discriminator="type")]


class RetentionConfig(Section):
    """How long and how much is kept. Days are days of service: a clock step expires nothing."""

    events_days: float = Field(30, gt=0, le=3650)
    events_mib: int = Field(256, ge=1, le=65536)
    events_in_memory: int = Field(10_000, ge=10, description="while the disk takes none")
    crops_days: float = Field(14, gt=0, le=3650)
    crops_mib: int = Field(512, ge=1, le=65536)


class ServiceConfig(Section):
    """`jetson-face service run`: what the service says of itself, and where events go."""

    status_socket: Path | None = Field(None, description="null: $RUNTIME_DIRECTORY, or STATE_DIR")
    status_port: int | None = Field(
        None, ge=0, le=65535, description="also on 127.0.0.1; names are shown: null is off"
    )
    stall_s: float = Field(15, gt=0, le=3600, description="no decided frame: the watchdog acts")
    start_s: float = Field(600, gt=0, le=7200, description="the same before the first frame")
    crops: bool = Field(False, description="keep an encrypted picture of each event")
    sinks: tuple[SinkConfig, ...] = ()
    retention: RetentionConfig = RetentionConfig()

    @model_validator(mode="after")
    def _names_differ(self) -> ServiceConfig:
        names = [sink.name for sink in self.sinks]
        if len(set(names)) != len(names):
            raise ValueError(f"two sinks share a name: {names}; give each its own `name`")
        return self


def _is_jetson() -> bool:
    return Path("/etc/nv_tegra_release").exists()


def default_state_dir() -> Path:
    """$STATE_DIRECTORY (systemd), or $XDG_STATE_HOME/jetson-face, or ~/.local/state/jetson-face."""
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "jetson-face"


def default_cache_dir() -> Path:
    """$CACHE_DIRECTORY (systemd), or $XDG_CACHE_HOME/jetson-face, or ~/.cache/jetson-face."""
    if given := os.environ.get("CACHE_DIRECTORY"):
        return Path(given.split(":")[0])
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "jetson-face"


def _default_backend() -> OnnxRuntimeConfig | TensorRTConfig:
    return TensorRTConfig() if _is_jetson() else OnnxRuntimeConfig()


def _default_camera() -> str:
    return "csi://0" if _is_jetson() else "0"


def _with_backend_type(value: Any) -> Any:
    """`--set backend.threads=1` may leave out which back end: this machine's."""
    if isinstance(value, dict) and "type" not in value:
        return {"type": _default_backend().type, **value}
    return value


def _as_list(value: Any) -> Any:
    """One source may stand without a list; `--set sources.0.KEY` may change the built-in one."""
    if isinstance(value, dict) and value.keys() == {"0"} and isinstance(value["0"], dict):
        return [{"uri": _default_camera(), **value["0"]}]
    return [value] if isinstance(value, dict) else value


def _auto_sampling(value: Any) -> Any:
    return {"auto": {}} if value == "auto" else value


class Config(Section):
    """Everything a user may set."""

    state_dir: Path = Field(default_factory=default_state_dir)
    sources: Annotated[tuple[SourceConfig, ...], BeforeValidator(_as_list)] = Field(
        default_factory=lambda: (SourceConfig(uri=_default_camera()),),
        min_length=1,
    )
    detector: DetectorConfig = MtcnnConfig()
    sampling: Annotated[SamplingConfig, BeforeValidator(_auto_sampling)] = SamplingConfig()
    embedder: EmbedderConfig = EmbedderConfig()
    backend: Annotated[
        OnnxRuntimeConfig | TensorRTConfig,
        Field(discriminator="type"),
        BeforeValidator(_with_backend_type),
    ] = Field(default_factory=_default_backend)
    engines: EnginesConfig = EnginesConfig()
    gallery: GalleryConfig = GalleryConfig()
    quality: QualityConfig = QualityConfig()
    matching: MatchingConfig = MatchingConfig()
    fusion: FusionConfig = FusionConfig()
    tracking: TrackingConfig = TrackingConfig()
    report: ReportConfig = ReportConfig()
    service: ServiceConfig = ServiceConfig()
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @model_validator(mode="after")
    def _names_differ(self) -> Config:
        names = [source.name for source in self.sources]
        if len(set(names)) != len(names):
            raise ValueError(f"two sources share a name: {names}; give each its own `name`")
        return self

    @property
    def mtcnn(self) -> MtcnnConfig:
        """MTCNN as the detector wants it; its networks also give landmarks to other detectors."""
        if isinstance(self.detector, MtcnnConfig):
            return self.detector
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
    def engine_cache(self) -> Path:
        """Where built networks are."""
        return self.engines.cache or default_cache_dir() / "engines"


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """The built-in defaults for this machine, then the file, then `--set key=value` overrides.

    Raises ConfigError with file:line and key.
    """
    if path is None:
        return parse_document("", "built-in defaults", Config, overrides=overrides)
    return load_document(path, Config, overrides=overrides)
