"""A connection to an MQTT broker, driven by whoever uses it, with a deadline for everything."""

from __future__ import annotations

import contextlib
import fcntl
import select
import socket
import ssl
import struct
import termios
from collections.abc import Callable
from typing import Any

from jetson_face.core.errors import MissingDependencyError
from jetson_face.util.addresses import host_name
from jetson_face.util.bell import Bell
from jetson_face.util.optional import pip_install

ANSWER_MAX = 65_536
"""Bytes that a broker may send while events are published: an acknowledgement has four."""
KEEPALIVE_S = 60


class Broker:
    """Where a broker is and who we are. host: a name or an IP address, any letters.

    Raises ValueError for an impossible host, MissingDependencyError without paho-mqtt.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        timeout_s: float,
        username: str | None = None,
        password: str | None = None,
        tls: bool = False,
        client_id: str = "",
    ) -> None:
        self.host, self.port, self.timeout_s = host_name(host), port, timeout_s
        try:
            import paho.mqtt.client as paho
        except ImportError as error:
            raise MissingDependencyError(f"MQTT needs paho-mqtt: {pip_install('mqtt')}") from error
        self._paho: Any = paho
        self._username, self._password = username, password
        self._tls, self._client_id = tls, client_id

    def dial(
        self,
        clock: Callable[[], float],
        *,
        will: tuple[str, bytes] | None = None,
        answer_max: int = ANSWER_MAX,
    ) -> Session:
        """Connect, in a thread that may hang: no time-out reaches the search for the name.

        clock: monotonic seconds. will: topic and payload, retained, that the broker publishes when
        the connection is lost. Raises what connecting raises.
        """
        client = self._paho.Client(
            self._paho.CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            reconnect_on_failure=False,
        )
        client.connect_timeout = self.timeout_s
        if self._username is not None:
            client.username_pw_set(self._username, self._password)
        if self._tls:
            client.tls_set_context(ssl.create_default_context())
        if will is not None:
            client.will_set(will[0], will[1], qos=1, retain=True)
        session = Session(client, self._paho, clock, answer_max)
        client.connect(self.host, self.port, keepalive=KEEPALIVE_S)
        return session


class LateError(Exception):
    """The deadline passed; the text says what did not come."""


class LostError(Exception):
    """The broker refused us, or ended the connection."""


class Session:
    """One connection, driven from here: paho's own thread has no deadline.

    accepted: the broker has greeted us. answer_max: bytes that it may send until what is waited for
    has come.
    """

    def __init__(self, client: Any, paho: Any, clock: Callable[[], float], answer_max: int) -> None:
        self.client, self._paho, self._clock = client, paho, clock
        self._answer_max = answer_max
        self.accepted = False
        self._refused: str | None = None
        self._received = 0
        client.on_connect = self._on_connect

    def until(self, done: Callable[[], bool], end: float, what: str) -> None:
        """Read and write until `done`. Raises LateError with `what`, LostError."""
        self._received = 0
        while not done():
            left = end - self._clock()
            if left <= 0:
                raise LateError(what)
            self._step(left)

    def close(self) -> None:
        """Say goodbye without waiting, and close."""
        with contextlib.suppress(Exception):
            self.client.disconnect()
        # What is left where the goodbye could not be written at once.
        self.drop()

    def rest(self, timeout_s: float, bell: Bell) -> None:
        """Keep the connection alive until the bell rings, the broker says something, or so long.
        Raises LostError."""
        self._received = 0
        self._step(timeout_s, bell)
        self._check(self.client.loop_misc())

    def drop(self) -> None:
        """Close without a goodbye: the broker publishes the will."""
        sock = self.client.socket()
        if sock is not None:
            sock.close()

    def _step(self, left: float, bell: Bell | None = None) -> None:
        sock = self.client.socket()
        if sock is None:
            raise LostError(self._refused or "the broker closed the connection")
        poll = select.poll()
        writes = select.POLLOUT if self.client.want_write() else 0
        poll.register(sock, select.POLLIN | writes)
        if bell is not None:
            poll.register(bell, select.POLLIN)
        pending = isinstance(sock, ssl.SSLSocket) and sock.pending()
        happened = dict(poll.poll(0 if pending else left * 1000)).get(sock.fileno(), 0)
        if bell is not None:
            bell.wait(0)
        if happened & select.POLLOUT:
            self._check(self.client.loop_write())
        if pending or happened & ~select.POLLOUT:
            self._received += max(1, _waiting(sock))
            if self._received > self._answer_max:
                raise LostError(f"the broker sent more than {self._answer_max >> 10} KiB")
            self._check(self.client.loop_read())
        if self._refused is not None:
            raise LostError(self._refused)

    def _check(self, code: int) -> None:
        if code != self._paho.MQTT_ERR_SUCCESS:
            text = self._paho.error_string(code)
            raise LostError(self._refused or f"the connection ended: {text}")

    def _on_connect(self, client: Any, data: Any, flags: Any, code: Any, properties: Any) -> None:
        if code.is_failure:
            self._refused = f"the broker refused us: {code}"
        else:
            self.accepted = True


def _waiting(sock: socket.socket) -> int:
    """Bytes that the kernel has for us."""
    found = fcntl.ioctl(sock.fileno(), termios.FIONREAD, struct.pack("i", 0))
    return int(struct.unpack("i", found)[0])
