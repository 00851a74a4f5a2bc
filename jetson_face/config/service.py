"""What is written and sent, and what the service keeps."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from jetson_face.config.plugin import PluginSinkConfig
from jetson_face.config.section import NAME, HomePath, Section
from jetson_face.util.addresses import host_name, topic_name, web_address
from jetson_face.util.redact import PLACE

EVENTS_FILE = "events-file"
"""The sink that `report.events` makes."""


class ReportConfig(Section):
    """The frame-rate / sampling-rate report and the result files."""

    every_s: float = Field(5, gt=0, le=86_400)
    events: HomePath | None = Field(None, description="JSONL of events")
    history_days: float = Field(
        30, ge=0, le=3650, description="a service keeps events for people so long; 0: not at all"
    )
    history_mib: int = Field(1024, ge=1, le=65536, description="with their faces, at most")
    history_crops: bool = Field(
        True, description="keep the face of each decision, too, encrypted as the gallery is"
    )
    json_file: HomePath | None = Field(None, description="the final report as JSON")
    video: HomePath | None = Field(None, description="annotated video, mp4")
    still: HomePath | None = Field(None, description="annotated picture of the fullest frame")
    sinks: tuple[PluginSinkConfig, ...] = Field((), description="sinks of other packages")


def _web_address(text: str) -> str:
    """Checked with a word in place of each `{credential:NAME}`, and kept with them."""
    checked = web_address(PLACE.sub("x", text))
    return text if PLACE.search(text) else checked


class WebhookConfig(Section):
    """POSTs events as JSON."""

    type: Literal["webhook"]
    name: str = Field("webhook", pattern=NAME)
    url: Annotated[str, AfterValidator(_web_address)] = Field(
        description="http:// or https://; {credential:NAME} stands for a systemd credential"
    )
    token_credential: str | None = Field(
        None, pattern=NAME, description="systemd credential that holds the bearer token"
    )
    timeout_s: float = Field(5, gt=0, le=60, description="for the whole exchange")

    @model_validator(mode="after")
    def _one_way_in(self) -> WebhookConfig:
        if self.token_credential is not None and "@" in urlsplit(self.url).netloc:
            raise ValueError("`url` has a user, and there is a token_credential: one of them goes")
        return self


class BrokerConfig(Section):
    """An MQTT broker, and who we are there."""

    host: Annotated[str, AfterValidator(host_name)] = Field(description="a name or an IP address")
    port: int = Field(1883, ge=1, le=65535)
    tls: bool = False
    username: str | None = Field(None, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")
    password_credential: str | None = Field(
        None, pattern=NAME, description="systemd credential that holds the password"
    )
    timeout_s: float = Field(5, gt=0, le=60, description="for the whole exchange")

    @model_validator(mode="after")
    def _password_has_a_user(self) -> BrokerConfig:
        if self.password_credential is not None and self.username is None:
            raise ValueError("password_credential needs a username beside it")
        return self


class MqttConfig(BrokerConfig):
    """Publishes events to an MQTT broker, QoS 1."""

    type: Literal["mqtt"]
    name: str = Field("mqtt", pattern=NAME)
    topic: Annotated[str, AfterValidator(topic_name)] = Field("jetson-face/events", max_length=200)


class HomeAssistantConfig(BrokerConfig):
    """Keeps retained states at an MQTT broker, with Home Assistant's discovery."""

    topic: Annotated[str, AfterValidator(topic_name)] = Field(
        "jetson-face", max_length=200, description="states are under TOPIC/NODE"
    )
    discovery: Annotated[str, AfterValidator(topic_name)] = Field(
        "homeassistant", max_length=200, description="Home Assistant's discovery prefix"
    )
    node: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_-]{1,40}$", description="this box; null: its host name"
    )
    away_s: float = Field(
        10, ge=0, le=86_400, description="present so long after the last face left"
    )
    snapshots: bool = Field(
        False, description="publish the face of each camera's last decision, unencrypted"
    )


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
    events_in_memory: int = Field(
        10_000, ge=10, le=1_000_000, description="while the disk takes none"
    )
    crops_days: float = Field(14, gt=0, le=3650)
    crops_mib: int = Field(512, ge=1, le=65536)
    review_days: float = Field(30, gt=0, le=3650)
    review_items: int = Field(200, ge=1, le=10_000)
    unknown_days: float = Field(
        30, gt=0, le=3650, description="who is not enrolled and was not seen for so long is erased"
    )


class ServiceConfig(Section):
    """`jetson-face service run`: what the service says of itself, and where events go."""

    status_socket: HomePath | None = Field(
        None, description="null: $RUNTIME_DIRECTORY, or STATE_DIR"
    )
    status_port: int | None = Field(
        None, ge=0, le=65535, description="also on 127.0.0.1; names are shown: null is off"
    )
    stall_s: float = Field(15, gt=0, le=3600, description="no decided frame: the watchdog acts")
    start_s: float = Field(600, gt=0, le=7200, description="the same before the first frame")
    crops: bool = Field(False, description="keep an encrypted picture of each decision")
    review: bool = Field(True, description="keep doubtful faces, encrypted: jetson-face review")
    sinks: tuple[SinkConfig, ...] = ()
    home_assistant: HomeAssistantConfig | None = None
    retention: RetentionConfig = RetentionConfig()

    @model_validator(mode="after")
    def _names_differ(self) -> ServiceConfig:
        names = [sink.name for sink in self.sinks]
        if len(set(names)) != len(names):
            raise ValueError(f"two sinks share a name: {names}; give each its own `name`")
        if EVENTS_FILE in names:
            raise ValueError(f"a sink cannot be called {EVENTS_FILE}: `report.events` is")
        return self
