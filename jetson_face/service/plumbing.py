"""From the configuration to the service's parts: sources, outbox, crops, sinks."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from glob import escape
from pathlib import Path

from jetson_face.config import Config, JsonlConfig, MqttConfig, SinkConfig, WebhookConfig
from jetson_face.config.fleet import FLEET, FleetConfig
from jetson_face.config.service import EVENTS_FILE
from jetson_face.core.errors import JetsonFaceError
from jetson_face.events.delivery import Deliverer, EventSink, SinkDownError
from jetson_face.events.mqtt import MqttSink
from jetson_face.events.outbox import Event, Outbox, OutboxLimits
from jetson_face.events.rotating import RotatingJsonl
from jetson_face.events.snapshots import SnapshotStore
from jetson_face.events.webhook import WebhookSink
from jetson_face.factory.threshold import unknown_thresholds
from jetson_face.gallery.matcher import GallerySnapshot, Thresholds
from jetson_face.privacy.audit import AUDIT
from jetson_face.privacy.encryption import bearer_token, credential, fill_credentials, open_cipher
from jetson_face.review.queue import REVIEW, ReviewQueue
from jetson_face.review.sealed_file import Limits
from jetson_face.review.unknowns import UNKNOWNS, UnknownStore
from jetson_face.service.review_writer import ReviewWriter
from jetson_face.service.swap import Deck
from jetson_face.service.unknowns import UnknownPeople
from jetson_face.util.redact import remember, secrets_in

logger = logging.getLogger(__name__)

CROPS = "crops"
OUTBOX = "outbox.db"
_DAY_S = 86400.0
# Where systemd puts StateDirectory= and LogsDirectory= of a system service.
_VAR_LIB, _VAR_LOG = Path("/var/lib"), Path("/var/log")


def open_outbox(config: Config) -> tuple[Outbox, SnapshotStore | None]:
    """The durable queue, and the crops where they are kept; on a full disk the crops go first."""
    wanted = config.service.retention
    store: list[SnapshotStore] = []

    def make_room(needed: int) -> int:
        return store[0].make_room(needed) if store else 0

    outbox = Outbox(
        config.state_dir / OUTBOX,
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
                open_cipher(config.state_dir, create=not folder.is_dir()),
                age=outbox.age,
                max_bytes=wanted.crops_mib << 20,
                max_age_s=wanted.crops_days * _DAY_S,
            )
        )
    return outbox, store[0] if store else None


def open_review_writer(
    config: Config, age: Callable[[], float], same_face_min: Callable[[], float]
) -> ReviewWriter | None:
    """What keeps doubtful faces; None where none are wanted and none are left to grow old."""
    path, wanted = config.state_dir / REVIEW, config.service.retention
    if not config.service.review and not path.exists():
        return None
    limits = Limits(wanted.review_items, wanted.review_days * _DAY_S)

    def open_queue() -> ReviewQueue:
        cipher = open_cipher(config.state_dir, create=not path.exists())
        return ReviewQueue.open(path, cipher, limits=limits, age=age)

    return ReviewWriter(open_queue, same_face_min)


def open_unknowns(deck: Callable[[], Deck], age: Callable[[], float]) -> UnknownPeople | None:
    """What knows people again who are not enrolled; None where that is off and none are left to
    grow old."""
    first = deck().config
    path, days = first.state_dir / UNKNOWNS, first.service.retention.unknown_days
    if not first.unknown.remember and not path.exists():
        return None
    limits = Limits(first.unknown.people_max, days * _DAY_S)

    def open_store() -> UnknownStore:
        cipher = open_cipher(first.state_dir, create=not path.exists())
        return UnknownStore.open(path, cipher, limits=limits, age=age)

    def bounds(unknowns: GallerySnapshot) -> Thresholds:
        now = deck()
        least = now.parts.embedder.similarity_min
        gallery = now.people.snapshot
        return unknown_thresholds(now.config, now.deciding, gallery, unknowns, least)

    return UnknownPeople(open_store, lambda: deck().config, bounds, age)


def build_deliverers(config: Config, outbox: Outbox) -> list[Deliverer]:
    """One for each sink; consumers that the configuration no longer names keep their place.

    A sink that cannot be built (a credential that is broken, a package that is missing) is down
    with that reason, and is tried again: it is no cause to stop recognising.
    """
    sinks: list[tuple[str, EventSink]] = [
        (wanted.name, LateSink(wanted.name, partial(build_sink, wanted, config)))
        for wanted in config.service.sinks
    ]
    if config.report.events is not None:
        sinks.append((EVENTS_FILE, _rotating(config.report.events, JsonlConfig(type="jsonl"))))
    if config.fleet is not None:
        sinks.append((FLEET, LateSink(FLEET, partial(_fleet_sink, config.fleet))))
    outbox.only([name for name, _ in sinks])
    made = [Deliverer(name, outbox, sink) for name, sink in sinks]
    for deliverer in made:
        if isinstance(deliverer.sink, LateSink) and deliverer.sink.error is not None:
            deliverer.failures, deliverer.last_error = 1, deliverer.sink.error
    return made


class LateSink:
    """A sink that is built now, or when there is something to send; until then it is down.

    error: why it could not be built, None once it is.
    """

    def __init__(self, name: str, build: Callable[[], EventSink]) -> None:
        self._build = build
        self._sink: EventSink | None = None
        self.error: str | None = None
        try:
            self._sink = build()
        except JetsonFaceError as error:
            self.error = str(error)
            logger.error("sink_not_built sink=%s error=%s", name, error)

    def send(self, events: Sequence[Event]) -> None:
        """See EventSink."""
        if self._sink is None:
            try:
                self._sink = self._build()
            except JetsonFaceError as error:
                raise SinkDownError(str(error)) from error
            self.error = None
        self._sink.send(events)

    def close(self) -> None:
        """See EventSink."""
        if self._sink is not None:
            self._sink.close()


def check_sinks(config: Config) -> None:
    """Build each sink once, without connecting.

    Raises SecretMissingError, UsageError, MissingDependencyError.
    """
    for wanted in config.service.sinks:
        build_sink(wanted, config).close()


def build_sink(wanted: SinkConfig, config: Config) -> EventSink:
    """One sink, not yet connected. Raises SecretMissingError, UsageError,
    MissingDependencyError."""
    if isinstance(wanted, WebhookConfig):
        headers: Mapping[str, str] = {}
        if wanted.token_credential is not None:
            headers = {"Authorization": f"Bearer {bearer_token(wanted.token_credential)}"}
        url = fill_credentials(wanted.url)
        remember(*secrets_in(url))
        return WebhookSink(url, headers=headers, timeout_s=wanted.timeout_s)
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


def _fleet_sink(fleet: FleetConfig) -> EventSink:
    """Raises MissingDependencyError, GalleryError for credentials that others may read."""
    from jetson_face.events.nats import NatsSink
    from jetson_face.factory.fleet import consumer_of, link_of, subject_of

    link = link_of(fleet, "events")
    return NatsSink(link, f"{subject_of(fleet)}.events", consumer_of(fleet, "events"))


def _jsonl(wanted: JsonlConfig, config: Config) -> RotatingJsonl:
    folder = os.environ.get("LOGS_DIRECTORY", "").split(":")[0]
    base = Path(folder) if folder else config.state_dir
    return _rotating(base / f"{wanted.name}.jsonl", wanted)


def _rotating(path: Path, wanted: JsonlConfig) -> RotatingJsonl:
    return RotatingJsonl(path, max_bytes=wanted.file_mib << 20, files=wanted.files)


def event_files(config: Config) -> list[Path]:
    """Files of events that are there, whatever sinks are configured now, rotated ones too, and
    those of the installed service; each before the older ones, into whose names a rotation would
    move it."""
    folders = [config.state_dir]
    if logs := os.environ.get("LOGS_DIRECTORY", "").split(":")[0]:
        folders.append(Path(logs))
    if config.state_dir.is_relative_to(_VAR_LIB):
        folders.append(_VAR_LOG / config.state_dir.relative_to(_VAR_LIB))
    found = {p for f in folders for p in (*f.glob("*.jsonl"), *f.glob("*.jsonl.[0-9]*"))}
    if (own := config.report.events) is not None:
        found |= {own, *own.parent.glob(f"{escape(own.name)}.[0-9]*")}
    found.discard(config.state_dir / AUDIT)
    return sorted((path for path in found if path.is_file()), key=_generation)


def _generation(path: Path) -> int:
    """How often a file was moved on by a rotation."""
    number = path.suffix[1:]
    return int(number) if number.isdigit() else 0
