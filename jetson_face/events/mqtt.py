"""Events to an MQTT broker, QoS 1. A down or hostile broker costs no event and no thread."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from jetson_face.core.errors import UsageError
from jetson_face.events.delivery import SinkDownError
from jetson_face.events.mqtt_session import KEEPALIVE_S, Broker, LateError, LostError, Session
from jetson_face.events.older import document
from jetson_face.events.outbox import Event
from jetson_face.events.reason import why
from jetson_face.util.addresses import topic_name
from jetson_face.util.channels import Courier, StillBusyError


class MqttSink:
    """Publishes each event to `topic` with QoS 1; the broker's PUBACK is the acknowledgement.

    Connects when there is something to publish, and keeps the connection for a minute. host: a name
    or an IP address, any letters. timeout_s: for the whole of a `send`: name, connection, greeting
    and acknowledgements. clock: monotonic seconds.
    Raises UsageError for an impossible host or topic, MissingDependencyError without paho-mqtt.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        topic: str,
        timeout_s: float,
        username: str | None = None,
        password: str | None = None,
        tls: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        try:
            self._topic = topic_name(topic)
            self._broker = Broker(
                host, port, timeout_s=timeout_s, username=username, password=password, tls=tls,
            )  # fmt: skip
        except ValueError as error:
            raise UsageError(f"an MQTT sink: {error}") from None
        self._timeout_s, self._clock = timeout_s, clock
        self._session: Session | None = None
        self._used = 0.0
        self._courier: Courier[Session] | None = None

    def send(self, events: Sequence[Event]) -> None:
        """Returns when the broker has them all. Raises SinkDownError."""
        end = self._clock() + self._timeout_s
        waiting = [document(event) for event in events]
        if self._session is not None and self._clock() - self._used > KEEPALIVE_S:
            self._drop()  # the broker or a router between has forgotten it by now
        kept = self._session is not None
        try:
            try:
                self._publish(waiting, end)
            except LostError:
                if not kept:
                    raise
                # A connection of an earlier `send`, which the broker closed meanwhile.
                self._drop()
                self._publish(waiting, end)
        except LateError as error:
            self._drop()
            raise self._down(f"no {error} in {self._timeout_s:g} s") from None
        except Exception as error:
            # Whatever it is, it is one broker's trouble, and not the end of recognition.
            self._drop()
            raise self._down(str(error) if isinstance(error, LostError) else why(error)) from error
        self._used = self._clock()

    def close(self) -> None:
        """Disconnect; harmless when repeated. A connection that hangs is left behind."""
        self._drop()
        courier, self._courier = self._courier, None
        if courier is not None:
            courier.close()

    def _publish(self, waiting: list[bytes], end: float) -> None:
        """Publish, and take from `waiting` what the broker has."""
        session = self._session = self._session or self._connected(end)
        session.until(lambda: session.accepted, end, "greeting")
        sent = [session.client.publish(self._topic, payload, qos=1) for payload in waiting]
        try:
            session.until(lambda: all(map(_has, sent)), end, "acknowledgement")
        finally:
            left = [p for p, message in zip(waiting, sent, strict=True) if not _has(message)]
            waiting[:] = left

    def _connected(self, end: float) -> Session:
        if self._courier is None:
            self._courier = Courier(f"mqtt-{self._broker.host}", on_late=Session.close)
        try:
            # In a thread of its own: no time-out reaches the search for the name.
            left = end - self._clock()
            return self._courier.fetch(lambda: self._broker.dial(self._clock), timeout_s=left)
        except StillBusyError:
            raise LateError("connection") from None

    def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _down(self, text: str) -> SinkDownError:
        return SinkDownError(f"{self._broker.host}:{self._broker.port}: {text}")


def _has(message: Any) -> bool:
    """Whether the broker has it; what was never sent raises."""
    with contextlib.suppress(RuntimeError):
        return bool(message.is_published())
    return False
