"""Events to an MQTT broker, QoS 1. A down or hostile broker costs no event and no thread."""

from __future__ import annotations

import contextlib
import fcntl
import select
import socket
import ssl
import struct
import termios
import time
from collections.abc import Callable, Sequence
from typing import Any

from jetson_face.core.errors import MissingDependencyError, UsageError
from jetson_face.events.delivery import SinkDownError
from jetson_face.events.older import document
from jetson_face.events.outbox import Event
from jetson_face.events.reason import why
from jetson_face.util.addresses import host_name, topic_name
from jetson_face.util.channels import Courier, StillBusyError
from jetson_face.util.optional import pip_install

ANSWER_MAX = 65_536
"""Bytes that a broker may send while events are published: an acknowledgement has four."""

_KEPT_S = 60


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
        port: int = 1883,
        *,
        topic: str = "jetson-face/events",
        username: str | None = None,
        password: str | None = None,
        tls: bool = False,
        client_id: str = "",
        timeout_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        try:
            self._host, self._topic = host_name(host), topic_name(topic)
        except ValueError as error:
            raise UsageError(f"an MQTT sink: {error}") from None
        try:
            import paho.mqtt.client as paho
        except ImportError as error:
            raise MissingDependencyError(f"MQTT needs paho-mqtt: {pip_install('mqtt')}") from error
        self._paho: Any = paho
        self._port, self._tls, self._client_id = port, tls, client_id
        self._username, self._password = username, password
        self._timeout_s, self._clock = timeout_s, clock
        self._session: _Session | None = None
        self._used = 0.0
        self._courier: Courier[_Session] | None = None

    def send(self, events: Sequence[Event]) -> None:
        """Returns when the broker has them all. Raises SinkDownError."""
        end = self._clock() + self._timeout_s
        waiting = [document(event) for event in events]
        if self._session is not None and self._clock() - self._used > _KEPT_S:
            self._drop()  # the broker or a router between has forgotten it by now
        kept = self._session is not None
        try:
            try:
                self._publish(waiting, end)
            except _LostError:
                if not kept:
                    raise
                # A connection of an earlier `send`, which the broker closed meanwhile.
                self._drop()
                self._publish(waiting, end)
        except _LateError as error:
            self._drop()
            raise self._down(f"no {error} in {self._timeout_s:g} s") from None
        except Exception as error:
            # Whatever it is, it is one broker's trouble, and not the end of recognition.
            self._drop()
            raise self._down(str(error) if isinstance(error, _LostError) else why(error)) from error
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
            session.until(
                lambda: all(message.is_published() for message in sent), end, "acknowledgement"
            )
        finally:
            left = [p for p, message in zip(waiting, sent, strict=True) if not _has(message)]
            waiting[:] = left

    def _connected(self, end: float) -> _Session:
        if self._courier is None:
            self._courier = Courier(f"mqtt-{self._host}", on_late=_Session.close)
        try:
            # In a thread of its own: no time-out reaches the search for the name.
            left = max(0.0, end - self._clock())
            return self._courier.fetch(self._dial, timeout_s=left)
        except StillBusyError:
            raise _LateError("connection") from None

    def _dial(self) -> _Session:
        client = self._paho.Client(
            self._paho.CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            reconnect_on_failure=False,
        )
        client.connect_timeout = self._timeout_s
        if self._username is not None:
            client.username_pw_set(self._username, self._password)
        if self._tls:
            client.tls_set_context(ssl.create_default_context())
        session = _Session(client, self._paho, self._clock)
        client.connect(self._host, self._port, keepalive=_KEPT_S)
        return session

    def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _down(self, text: str) -> SinkDownError:
        return SinkDownError(f"{self._host}:{self._port}: {text}")


class _LateError(Exception):
    """The deadline passed; the text says what did not come."""


class _LostError(Exception):
    """The broker refused us, or ended the connection."""


class _Session:
    """One connection, driven from here: paho's own thread has no deadline.

    accepted: the broker has greeted us.
    """

    def __init__(self, client: Any, paho: Any, clock: Callable[[], float]) -> None:
        self.client, self._paho, self._clock = client, paho, clock
        self.accepted = False
        self._refused: str | None = None
        self._received = 0
        client.on_connect = self._on_connect

    def until(self, done: Callable[[], bool], end: float, what: str) -> None:
        """Read and write until `done`. Raises _LateError with `what`, _LostError."""
        self._received = 0
        while not done():
            left = end - self._clock()
            if left <= 0:
                raise _LateError(what)
            self._step(left)

    def close(self) -> None:
        """Say goodbye without waiting, and close."""
        with contextlib.suppress(Exception):
            self.client.disconnect()
        # What is left where the goodbye could not be written at once.
        sock = self.client.socket()
        if sock is not None:
            sock.close()

    def _step(self, left: float) -> None:
        sock = self.client.socket()
        if sock is None:
            raise _LostError(self._refused or "the broker closed the connection")
        poll = select.poll()
        writes = select.POLLOUT if self.client.want_write() else 0
        poll.register(sock, select.POLLIN | writes)
        pending = isinstance(sock, ssl.SSLSocket) and sock.pending()
        happened = dict(poll.poll(0 if pending else left * 1000)).get(sock.fileno(), 0)
        if happened & select.POLLOUT:
            self._check(self.client.loop_write())
        if pending or happened & ~select.POLLOUT:
            self._received += max(1, _waiting(sock))
            if self._received > ANSWER_MAX:
                raise _LostError(f"the broker sent more than {ANSWER_MAX >> 10} KiB")
            self._check(self.client.loop_read())
        if self._refused is not None:
            raise _LostError(self._refused)

    def _check(self, code: int) -> None:
        if code != self._paho.MQTT_ERR_SUCCESS:
            text = self._paho.error_string(code)
            raise _LostError(self._refused or f"the connection ended: {text}")

    def _on_connect(self, client: Any, data: Any, flags: Any, code: Any, properties: Any) -> None:
        if code.is_failure:
            self._refused = f"the broker refused us: {code}"
        else:
            self.accepted = True


def _has(message: Any) -> bool:
    """Whether the broker has it; what was never sent raises."""
    with contextlib.suppress(ValueError, RuntimeError):
        return bool(message.is_published())
    return False


def _waiting(sock: socket.socket) -> int:
    """Bytes that the kernel has for us."""
    found = fcntl.ioctl(sock.fileno(), termios.FIONREAD, struct.pack("i", 0))
    return int(struct.unpack("i", found)[0])
