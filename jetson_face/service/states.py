"""What the service tells a broker of who is there: built from the configuration and the history."""

from __future__ import annotations

import hashlib
import logging
import socket
from collections.abc import Callable, Mapping, Sequence

from jetson_face.config import HomeAssistantConfig
from jetson_face.core.errors import JetsonFaceError, UsageError
from jetson_face.events.history import History
from jetson_face.events.home_assistant import Topics, plain
from jetson_face.events.mqtt_session import Broker
from jetson_face.events.mqtt_states import StatePublisher
from jetson_face.events.presence import Presence
from jetson_face.privacy.encryption import credential

logger = logging.getLogger(__name__)
_SEEDED = 1000
"""Events of before that say who was seen last."""
_ID_LENGTH = 60


def client_id(node: str) -> str:
    """What the broker knows this box by, of at most 60 characters: another for every node, since a
    broker sends away whoever has an id that comes again."""
    whole = f"jetson-face-{node}"
    if len(whole) <= _ID_LENGTH:
        return whole
    return f"{whole[: _ID_LENGTH - 9]}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def build_states(
    wanted: HomeAssistantConfig | None,
    cameras: Sequence[str],
    enrolled: Callable[[], Mapping[str, str]],
    history: History | None,
) -> StatePublisher | None:
    """Not yet connected; None where none is wanted. enrolled: id to name.

    Raises UsageError, SecretMissingError, MissingDependencyError.
    """
    if wanted is None:
        return None
    secret = wanted.password_credential
    node = wanted.node or plain(socket.gethostname())
    try:
        broker = Broker(
            wanted.host,
            wanted.port,
            username=wanted.username,
            password=None if secret is None else credential(secret),
            tls=wanted.tls,
            client_id=client_id(node),
            timeout_s=wanted.timeout_s,
        )
    except ValueError as error:
        raise UsageError(f"service.home_assistant: {error}") from None
    presence = Presence(cameras, away_s=wanted.away_s)
    if history is not None:
        try:
            seen = history.page(limit=_SEEDED)
            presence.seed(stored.event for stored in reversed(seen))
        except JetsonFaceError:
            pass  # the history says so itself
    topics = Topics(wanted.topic, wanted.discovery, node)
    return StatePublisher(broker, topics, presence, enrolled, snapshots=wanted.snapshots)


def start_states(
    wanted: HomeAssistantConfig | None,
    cameras: Sequence[str],
    enrolled: Callable[[], Mapping[str, str]],
    history: History | None,
) -> StatePublisher | None:
    """As `build_states`; what cannot be built is said, and is no cause to stop recognising."""
    try:
        return build_states(wanted, cameras, enrolled, history)
    except JetsonFaceError as error:
        logger.error("states_not_built error=%s", error)
        return None
