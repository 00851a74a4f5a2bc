"""From the configuration to the service's parts: sources, outbox, crops, sinks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from jetson_face.capture.base import Source
from jetson_face.config import Config, JsonlConfig, MqttConfig, SinkConfig, WebhookConfig
from jetson_face.protect import credential, open_cipher
from jetson_face.report.deliver import Deliverer, EventSink
from jetson_face.report.outbox import Outbox, OutboxLimits
from jetson_face.report.remote import MqttSink, WebhookSink
from jetson_face.report.rotating import RotatingJsonl
from jetson_face.report.snapshots import SnapshotStore

CROPS = "crops"
_DAY_S = 86400.0


def open_outbox(config: Config) -> tuple[Outbox, SnapshotStore | None]:
    """The durable queue, and the crops where they are kept; on a full disk the crops go first."""
    wanted = config.service.retention
    store: list[SnapshotStore] = []

    def make_room(needed: int) -> int:
        return store[0].make_room(needed) if store else 0

    outbox = Outbox(
        config.state_dir / "outbox.db",
        OutboxLimits(
            max_bytes=wanted.events_mib << 20,
            max_age_s=wanted.events_days * _DAY_S,
            memory_max=wanted.events_in_memory,
        ),
        make_room=make_room,
    )
    folder = config.state_dir / CROPS
    if config.service.crops or folder.is_dir():
        # Also when none are added any more: those that are there must still grow old.
        store.append(
            SnapshotStore(
                folder,
                open_cipher(config.state_dir),
                age=outbox.age,
                max_bytes=wanted.crops_mib << 20,
                max_age_s=wanted.crops_days * _DAY_S,
            )
        )
    return outbox, store[0] if store else None


def build_deliverers(config: Config, outbox: Outbox) -> list[Deliverer]:
    """One for each sink; consumers that the configuration no longer names are forgotten.

    Raises SecretMissingError, UsageError, MissingDependencyError.
    """
    sinks = [(wanted.name, build_sink(wanted, config)) for wanted in config.service.sinks]
    if config.report.events is not None:
        sinks.append(("events-file", _events_file(config.report.events)))
    names = {name for name, _ in sinks}
    for consumer in outbox.state().lag.keys() - names:
        outbox.forget(consumer)
    return [Deliverer(name, outbox, sink) for name, sink in sinks]


def build_sink(wanted: SinkConfig, config: Config) -> EventSink:
    """One sink, not yet connected."""
    if isinstance(wanted, WebhookConfig):
        headers: Mapping[str, str] = {}
        if wanted.token_credential is not None:
            headers = {"Authorization": f"Bearer {credential(wanted.token_credential)}"}
        return WebhookSink(wanted.url, headers=headers, timeout_s=wanted.timeout_s)
    if isinstance(wanted, MqttConfig):
        secret = wanted.password_credential
        return MqttSink(
            wanted.host,
            wanted.port,
            topic=wanted.topic,
            username=wanted.username,
            password=None if secret is None else credential(secret),
            tls=wanted.tls,
            timeout_s=wanted.timeout_s,
        )
    return _jsonl(wanted, config)


def _jsonl(wanted: JsonlConfig, config: Config) -> RotatingJsonl:
    folder = os.environ.get("LOGS_DIRECTORY", "").split(":")[0]
    base = Path(folder) if folder else config.state_dir
    return RotatingJsonl(
        base / f"{wanted.name}.jsonl", max_bytes=wanted.file_mib << 20, files=wanted.files
    )


def _events_file(path: Path) -> RotatingJsonl:
    defaults = JsonlConfig(type="jsonl")
    return RotatingJsonl(path, max_bytes=defaults.file_mib << 20, files=defaults.files)


def close_all(sources: Sequence[Source]) -> None:
    """Close sources that were never run."""
    for source in sources:
        source.close()
