"""Sinks across the network: webhook (HTTP POST) and MQTT. A down network costs no event."""

from __future__ import annotations

import http.client
import json
import logging
import ssl
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from jetson_face.core.errors import MissingDependencyError, UsageError
from jetson_face.events.delivery import SinkDownError, SinkRefusedError
from jetson_face.events.outbox import Event

logger = logging.getLogger(__name__)

# 408 and 429 ask for another try; every other 4xx will be the same tomorrow.
_AGAIN = frozenset({408, 425, 429})


class WebhookSink:
    """POSTs `{"events": [...]}` as JSON; 2xx is the acknowledgement.

    Each event carries its `seq`: a receiver that saw it before drops it. No redirects are followed.
    url: http:// or https://. headers: added to each request, for tokens; never logged.
    Raises UsageError for another kind of address.
    """

    def __init__(
        self, url: str, *, headers: Mapping[str, str] | None = None, timeout_s: float = 5.0
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError("a webhook's address is http://HOST/PATH or https://HOST/PATH")
        self._tls = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._headers = {"Content-Type": "application/json", **(headers or {})}
        self._timeout_s = timeout_s
        self._connection: http.client.HTTPConnection | None = None

    def send(self, events: Sequence[Event]) -> None:
        """Raises SinkDownError (network, 5xx, 408, 425, 429), SinkRefusedError (3xx, other 4xx)."""
        body = b'{"events": [' + b", ".join(document(event) for event in events) + b"]}"
        try:
            connection = self._connected()
            connection.request("POST", self._target, body, self._headers)
            answer = connection.getresponse()
            answer.read(65536)
            status = answer.status
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise SinkDownError(f"{self._host}: {type(error).__name__}: {error}") from error
        if answer.will_close or not answer.isclosed():
            self.close()
        if 200 <= status < 300:
            return
        if status >= 500 or status in _AGAIN:
            raise SinkDownError(f"{self._host} answered {status}")
        raise SinkRefusedError(f"{self._host} answered {status}")

    def close(self) -> None:
        """Close the connection; the next `send` opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is None:
            if self._tls:
                self._connection = http.client.HTTPSConnection(
                    self._host,
                    self._port,
                    timeout=self._timeout_s,
                    context=ssl.create_default_context(),
                )
            else:
                self._connection = http.client.HTTPConnection(
                    self._host, self._port, timeout=self._timeout_s
                )
        return self._connection


class MqttSink:
    """Publishes each event to `topic` with QoS 1; the broker's PUBACK is the acknowledgement.

    Raises MissingDependencyError without paho-mqtt.
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
    ) -> None:
        try:
            import paho.mqtt.client as paho
        except ImportError as error:
            raise MissingDependencyError(
                "MQTT needs paho-mqtt: pip install 'jetson-face[mqtt]'"
            ) from error
        self._paho: Any = paho
        self._host, self._port, self._topic = host, port, topic
        self._timeout_s = timeout_s
        self._connected = threading.Event()
        self._started = False
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=client_id)
        self._client.max_queued_messages_set(1000)
        self._client.connect_timeout = timeout_s
        if username is not None:
            self._client.username_pw_set(username, password)
        if tls:
            self._client.tls_set()
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = lambda *_: self._connected.clear()

    def send(self, events: Sequence[Event]) -> None:
        """Returns when the broker has them all. Raises SinkDownError."""
        with _Connection(self):
            pending = [self._client.publish(self._topic, document(e), qos=1) for e in events]
            for message in pending:
                if message.rc != self._paho.MQTT_ERR_SUCCESS:
                    raise SinkDownError(f"{self._host}: publish failed with code {message.rc}")
                message.wait_for_publish(self._timeout_s)
                if not message.is_published():
                    raise SinkDownError(f"{self._host}: no acknowledgement in {self._timeout_s} s")

    def close(self) -> None:
        """Disconnect and end paho's own thread; harmless when repeated."""
        if self._started:
            self._client.disconnect()
            self._client.loop_stop()
            self._started = False
        self._connected.clear()

    def _on_connect(self, client: Any, data: Any, flags: Any, code: Any, properties: Any) -> None:
        if code.is_failure:
            logger.warning("mqtt_refused host=%s reason=%s", self._host, code)
        else:
            self._connected.set()

    def _connect(self) -> None:
        if self._connected.is_set():
            return
        self.close()
        self._client.connect(self._host, self._port, keepalive=30)
        self._client.loop_start()
        self._started = True
        if not self._connected.wait(self._timeout_s):
            raise SinkDownError(f"{self._host}: the broker did not accept us")


class _Connection:
    """Connects on entry; on any trouble closes the client, so that nothing is sent twice later."""

    def __init__(self, sink: MqttSink) -> None:
        self._sink = sink

    def __enter__(self) -> None:
        try:
            self._sink._connect()
        except OSError as error:
            raise SinkDownError(f"{self._sink._host}: {error}") from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            return
        self._sink.close()
        if isinstance(error, ValueError | RuntimeError | OSError):
            raise SinkDownError(f"{self._sink._host}: {error}") from error


def document(event: Event) -> bytes:
    """An event as one JSON object: its body, with `seq`, `kind` and `wall` added."""
    head = json.dumps({"seq": event.seq, "kind": event.kind, "wall": round(event.wall, 3)})
    body = event.body.strip()
    if not body.startswith(b"{"):
        return (head[:-1] + ', "body": ').encode() + body + b"}"
    inner = body[1:].lstrip()
    return head[:-1].encode() + (b", " if inner != b"}" else b"") + inner
