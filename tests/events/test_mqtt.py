"""The MQTT sink with a real mosquitto, and with brokers that misbehave."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jetson_face.core.errors import MissingDependencyError, UsageError
from jetson_face.events.delivery import Deliverer, SinkDownError
from jetson_face.events.mqtt import MqttSink
from jetson_face.events.outbox import Event, Outbox
from tests.events.event_help import once
from tests.events.hostile import Hostile, make_certificate
from tests.events.mqtt_packets import CONNACK, greet, read_packet

paho = pytest.importorskip("paho.mqtt.client", reason="the extra `mqtt` is not installed")
EVENT = Event(1, 0.0, 2.0, "decision", b'{"name": "Ada"}')
TIMEOUT_S = 0.7
LATE_S = 2.5


class Broker:
    """A real mosquitto, and who listens to all of its topics."""

    def __init__(self, folder: Path, certificate: Path | None = None) -> None:
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")
        if program is None:
            pytest.skip("no mosquitto here: apt-get install mosquitto")
        self._program, self._config = program, folder / "mosquitto.conf"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        passwords = folder / "passwords"
        passwords.touch()
        subprocess.run(
            ["mosquitto_passwd", "-b", str(passwords), "box", "gehe imprägniert"], check=True
        )
        passwords.chmod(0o644)
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nuser root\n"
            f"password_file {passwords}\n"
            + (f"certfile {certificate}\nkeyfile {certificate}\n" if certificate else "")
        )
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.arrived = threading.Condition()
        self._running: subprocess.Popen[bytes] | None = None
        self._listener: Any = None
        self.start()

    def start(self) -> None:
        self._running = subprocess.Popen(
            [self._program, "-c", str(self._config)], stderr=subprocess.DEVNULL
        )
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError("mosquitto does not start")

    def listen(self) -> None:
        subscribed = threading.Event()
        listener = paho.Client(paho.CallbackAPIVersion.VERSION2)
        listener.on_message = self._on_message
        listener.on_subscribe = lambda *_: subscribed.set()
        listener.connect("127.0.0.1", self.port)
        listener.loop_start()
        listener.subscribe("#", qos=1)
        assert subscribed.wait(5)
        self._listener = listener

    def _on_message(self, client: object, data: object, message: Any) -> None:
        with self.arrived:
            self.got.append((message.topic, json.loads(message.payload, object_pairs_hook=once)))
            self.arrived.notify_all()

    def has(self, count: int) -> bool:
        with self.arrived:
            return self.arrived.wait_for(lambda: len(self.got) >= count, 5)

    def signal(self, number: int) -> None:
        assert self._running is not None
        self._running.send_signal(number)

    def stop(self) -> None:
        if self._listener is not None:
            self._listener.disconnect()
            self._listener.loop_stop()
            self._listener = None
        if self._running is not None:
            self._running.kill()
            self._running.wait()
            self._running = None


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    running = Broker(tmp_path)
    yield running
    running.stop()


@pytest.fixture
def sink_for() -> Iterator[Callable[..., MqttSink]]:
    """Makes sinks that are closed at the end."""
    made: list[MqttSink] = []

    def make(port: int, **options: Any) -> MqttSink:
        host = options.pop("host", "127.0.0.1")
        made.append(MqttSink(host, port, **{"topic": "faces", "timeout_s": TIMEOUT_S, **options}))
        return made[-1]

    yield make
    for sink in made:
        sink.close()


Make = Callable[..., MqttSink]


def down(sink: MqttSink, matches: str, *events: Event) -> None:
    """The sink says that it is down, in time, and why."""
    started = time.monotonic()
    with pytest.raises(SinkDownError, match=matches) as caught:
        sink.send(events or [EVENT])
    assert time.monotonic() - started < TIMEOUT_S + LATE_S
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_events_arrive_and_are_read_back(broker: Broker, sink_for: Make) -> None:
    broker.listen()
    sink = sink_for(broker.port, topic="haus/tür", timeout_s=5)
    sink.send([EVENT] * 3)
    sink.send([EVENT])
    assert broker.has(4)
    assert [topic for topic, _ in broker.got] == ["haus/tür"] * 4
    assert broker.got[0][1]["name"] == "Ada"


def test_mqtt_survives_its_broker(broker: Broker, sink_for: Make, tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db")
    deliverer = Deliverer("mqtt", outbox, sink_for(broker.port, topic="faces", timeout_s=2))
    broker.listen()
    outbox.append([("decision", b'{"n": 1}'), ("decision", b'{"n": 2}')])
    assert deliverer.step() == 0.0
    assert broker.has(2)
    broker.stop()
    outbox.append([("decision", b'{"n": 3}')])
    assert deliverer.step() > 0
    assert deliverer.step() > 0
    broker.start()
    broker.listen()
    assert deliverer.step() == 0.0
    assert broker.has(3)
    assert [event["n"] for _, event in broker.got] == [1, 2, 3]
    outbox.close()


def test_a_broker_that_restarted_meanwhile_is_not_down(broker: Broker, sink_for: Make) -> None:
    sink = sink_for(broker.port, timeout_s=5)
    sink.send([EVENT])
    broker.stop()
    broker.start()
    broker.listen()
    sink.send([EVENT, EVENT])
    assert broker.has(2)
    assert len(broker.got) == 2


def test_an_old_connection_is_made_new(broker: Broker, sink_for: Make) -> None:
    now = [0.0]
    sink = sink_for(broker.port, clock=lambda: now[0], timeout_s=5)
    sink.send([EVENT])
    first = sink._session
    for now[0] in (50, 110):
        sink.send([EVENT])
        assert sink._session is first
    now[0] = 171
    sink.send([EVENT])
    assert sink._session is not first


def test_an_event_is_to_be_acknowledged_and_not_to_be_kept_by_the_broker(sink_for: Make) -> None:
    kinds: list[int] = []

    def takes(connection: socket.socket, stop: threading.Event) -> None:
        greet(connection)
        kinds.append(connection.recv(1, socket.MSG_PEEK)[0])
        packet = read_packet(connection)
        mid = packet.index(b"faces") + len(b"faces")
        connection.sendall(b"\x40\x02" + packet[mid : mid + 2])

    with Hostile(takes) as server:
        sink_for(server.port, timeout_s=5).send([EVENT])
    assert kinds == [0x32]


def test_a_kept_connection_that_was_reset_is_made_new(sink_for: Make) -> None:
    published: list[bytes] = []

    def resets_after_the_first(connection: socket.socket, stop: threading.Event) -> None:
        greet(connection)
        while packet := read_packet(connection):
            published.append(packet)
            mid = packet.index(b"faces") + len(b"faces")
            connection.sendall(b"\x40\x02" + packet[mid : mid + 2])
            if server.connections == 1:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                connection.close()
                gone.set()
                return

    gone = threading.Event()
    with Hostile(resets_after_the_first) as server:
        sink = sink_for(server.port, timeout_s=5)
        sink.send([EVENT])
        assert gone.wait(5)
        sink.send([EVENT, EVENT])
    assert len(published) == 3


def test_the_password_counts_and_is_not_told(broker: Broker, sink_for: Make) -> None:
    sink_for(broker.port, username="box", password="gehe imprägniert", timeout_s=5).send([EVENT])
    with pytest.raises(SinkDownError, match="refused us: Not authorized") as caught:
        sink_for(broker.port, username="box", password="s3cret-PW", timeout_s=5).send([EVENT])
    assert "s3cret" not in str(caught.value)


def test_a_broker_that_stands_still_is_down_in_time(broker: Broker, sink_for: Make) -> None:
    sink = sink_for(broker.port)
    sink.send([EVENT])
    broker.signal(signal.SIGSTOP)
    try:
        used = time.thread_time()
        # One deadline for all of them, not one for each.
        down(sink, "no acknowledgement in 0.7 s", *[EVENT] * 20)
        down(sink, "no greeting in 0.7 s")
        assert time.thread_time() - used < 0.1  # it waits, and does not look again and again
    finally:
        broker.signal(signal.SIGCONT)
    sink.send([EVENT])


def test_a_broker_behind_tls(
    tmp_path: Path, sink_for: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path / "broker.pem")
    broker = Broker(tmp_path, certificate)
    try:
        down(sink_for(broker.port, tls=True), "CERTIFICATE_VERIFY_FAILED")
        down(sink_for(broker.port), "the connection ended|no greeting")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        sink = sink_for(broker.port, tls=True, timeout_s=5)
        sink.send([EVENT] * 50)
        sink.send([EVENT])
    finally:
        broker.stop()


def test_failures_leave_no_descriptor(sink_for: Make) -> None:
    def closes(connection: socket.socket, stop: threading.Event) -> None:
        greet(connection)

    with Hostile(closes) as server:
        sink = sink_for(server.port)
        down(sink, "ended|closed")
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(20):
            down(sink, "ended|closed")
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2


def silent(server: Hostile, connection: socket.socket) -> None:
    server.stop.wait(5)


def drips_greeting(server: Hostile, connection: socket.socket) -> None:
    connection.recv(10_000)
    server.drip(connection, CONNACK, 0.4)


def wrong_version(server: Hostile, connection: socket.socket) -> None:
    connection.recv(10_000)
    connection.sendall(b"\x20\x02\x00\x01")
    server.stop.wait(5)


def wrong_name(server: Hostile, connection: socket.socket) -> None:
    connection.recv(10_000)
    connection.sendall(b"\x20\x02\x00\x02")
    server.stop.wait(5)


def short_greeting(server: Hostile, connection: socket.socket) -> None:
    connection.recv(10_000)
    connection.sendall(b"\x20\x00")
    server.stop.wait(5)


def hangs_up(server: Hostile, connection: socket.socket) -> None:
    connection.recv(10_000)


def resets(server: Hostile, connection: socket.socket) -> None:
    connection.recv(10_000)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def nonsense(server: Hostile, connection: socket.socket) -> None:
    connection.recv(10_000)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n\x1b[2J")


def packet_for_ever(server: Hostile, connection: socket.socket) -> None:
    """A message of 256 MiB to us, who did not ask for any."""
    connection.recv(10_000)
    connection.sendall(b"\x30\xff\xff\xff\x7f\x00\x01x")
    server.pour(connection, b"x" * 65_536)


def packets_for_ever(server: Hostile, connection: socket.socket) -> None:
    greet(connection)
    server.pour(connection, b"\xd0\x00" * 10_000)


def endless_length(server: Hostile, connection: socket.socket) -> None:
    greet(connection)
    connection.sendall(b"\x30" + b"\xff" * 10)
    server.stop.wait(5)


def no_utf8(server: Hostile, connection: socket.socket) -> None:
    greet(connection)
    connection.sendall(b"\x30\x05\x00\x03\xff\xfe\xfd" + b"\x32\x01\x00")
    server.stop.wait(5)


def no_acknowledgement(server: Hostile, connection: socket.socket) -> None:
    greet(connection)
    server.stop.wait(5)


def acknowledges_another(server: Hostile, connection: socket.socket) -> None:
    greet(connection)
    server.drip(connection, b"\x40\x02\x77\x77" * 100, 0.01)


def hangs_up_after_greeting(server: Hostile, connection: socket.socket) -> None:
    greet(connection)
    connection.recv(10_000)


@pytest.mark.parametrize(
    ("behaviour", "matches"),
    [
        (silent, "no greeting in 0.7 s"),
        (drips_greeting, "no greeting in 0.7 s"),
        (wrong_version, "the connection ended|refused us"),
        (wrong_name, "the connection ended|refused us"),
        (short_greeting, "the connection ended|Error"),
        (hangs_up, "the connection ended"),
        (resets, "the connection ended"),
        (nonsense, "the connection ended"),
        (packet_for_ever, "more than 64 KiB"),
        (packets_for_ever, "more than 64 KiB|no acknowledgement"),
        (endless_length, "the connection ended"),
        (no_utf8, "no acknowledgement|the connection ended|Error"),
        (no_acknowledgement, "no acknowledgement in 0.7 s"),
        (acknowledges_another, "no acknowledgement in 0.7 s"),
        (hangs_up_after_greeting, "the connection ended|closed the connection"),
    ],
)
def test_a_hostile_broker_is_down_in_time(
    sink_for: Make, behaviour: Callable[[Hostile, socket.socket], None], matches: str
) -> None:
    servers: list[Hostile] = []
    with Hostile(lambda connection, _: behaviour(servers[0], connection)) as server:
        servers.append(server)
        # What ends by itself has time: a busy machine must not be what ends it.
        by_deadline = matches.startswith("no ") or "|no " in matches
        down(sink_for(server.port, timeout_s=TIMEOUT_S if by_deadline else 5), matches)
        assert server.sent < 1 << 30  # what loopback takes until the deadline, and no more
        # Not tried again on a new connection: that is for a connection that was kept.
        assert server.connections == 1


def test_what_was_acknowledged_is_not_sent_again(sink_for: Make) -> None:
    published: list[int] = []

    def take(connection: socket.socket, *, acknowledge: bool = True) -> bool:
        packet = read_packet(connection)
        if not packet:
            return False
        published.append(json.loads(packet[packet.index(b"{") :])["n"])
        if acknowledge:
            mid = packet.index(b"faces") + len(b"faces")
            connection.sendall(b"\x40\x02" + packet[mid : mid + 2])
        return True

    def broker(connection: socket.socket, stop: threading.Event) -> None:
        """The first connection ends after one of three acknowledgements, others are good."""
        greet(connection)
        if server.connections == 1:
            for number in range(4):
                take(connection, acknowledge=number < 2)
            return
        while take(connection):
            pass

    events = [Event(n, 0.0, 2.0, "decision", b'{"n": %d}' % n) for n in range(4)]
    with Hostile(broker) as server:
        sink = sink_for(server.port, topic="faces", timeout_s=5)
        sink.send(events[:1])
        sink.send(events[1:])
    assert published == [0, 1, 2, 3, 2, 3]


def test_packets_that_tls_holds_already_are_read(
    tmp_path: Path, sink_for: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path / "broker.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def two_in_one_record(connection: socket.socket, stop: threading.Event) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            greet(tls)
            read_packet(tls)
            # Nothing more comes over the wire: the second is in the first one's record.
            tls.sendall(b"\xd0\x00" + b"\x40\x02\x00\x01")
            stop.wait(5)

    with Hostile(two_in_one_record) as server:
        started = time.monotonic()
        sink_for(server.port, tls=True, timeout_s=5).send([EVENT])
        assert time.monotonic() - started < 3


def test_a_broker_that_does_not_read_is_down_in_time(sink_for: Make) -> None:
    def only_greets(connection: socket.socket, stop: threading.Event) -> None:
        greet(connection)
        stop.wait(5)

    large = Event(1, 0.0, 2.0, "decision", json.dumps({"name": "x" * (16 << 20)}).encode())
    with Hostile(only_greets) as server:
        down(sink_for(server.port), "no acknowledgement", large)


def test_a_handshake_that_never_ends_is_in_the_deadline(sink_for: Make) -> None:
    def drips(connection: socket.socket, stop: threading.Event) -> None:
        while not stop.wait(0.05):
            connection.sendall(b"\x16\x03\x03\x40\x00"[:1])

    with Hostile(drips) as server:
        down(sink_for(server.port, tls=True), "no connection in 0.7 s|TimeoutError|SSL")


def test_a_name_server_that_is_silent_is_in_the_deadline(
    sink_for: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, asked = threading.Event(), []

    def silent_name_server(*args: object, **options: object) -> list[object]:
        asked.append(args)
        released.wait(10)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", silent_name_server)
    sink = sink_for(1883, host="bücher.example")
    try:
        for _ in range(3):
            down(sink, "xn--bcher-kva.example:1883: no connection in 0.7 s")
        # One call hangs, and not one for each try.
        assert len([args for args in asked if "xn--bcher-kva.example" in args]) == 1
    finally:
        released.set()
    down(sink, "Temporary failure in name resolution")


def test_a_connection_that_comes_when_nobody_waits_any_more_is_closed(
    sink_for: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    heard: list[bytes] = []
    find = socket.getaddrinfo

    def slow_name_server(*args: Any, **options: Any) -> Any:
        released.wait(10)
        return find(*args, **options)

    def listens(connection: socket.socket, stop: threading.Event) -> None:
        read_packet(connection)
        heard.append(connection.recv(100))
        ended.set()

    ended = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", slow_name_server)
    with Hostile(listens) as server:
        sink = sink_for(server.port, timeout_s=0.1)
        down(sink, "no connection in 0.1 s")
        assert "mqtt-127.0.0.1" in {thread.name for thread in threading.enumerate()}
        sink.close()
        released.set()
        assert ended.wait(5)
    assert heard == [b"\xe0\x00"]


def test_a_broker_that_nobody_runs_is_down(sink_for: Make) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    down(sink_for(port), f"127.0.0.1:{port}: ConnectionRefusedError")


def test_a_fault_in_the_exchange_is_down(
    broker: Broker, sink_for: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(*args: object, **options: object) -> None:
        raise UnicodeEncodeError("ascii", "tür", 1, 2, "ordinal not in range(128)")

    monkeypatch.setattr(paho.Client, "publish", odd)
    down(sink_for(broker.port, timeout_s=0.7), "UnicodeEncodeError")


@pytest.mark.parametrize("host", ["", "mqtt://h", "h:1883", "h/x", "u@h", "a b", "a..b", "h\n"])
def test_a_host_that_cannot_be_is_refused(host: str) -> None:
    with pytest.raises(UsageError, match="an MQTT sink: a host"):
        MqttSink(host, 1883, topic="faces", timeout_s=1)


@pytest.mark.parametrize("topic", ["", "a/#", "+/a", "a\0", "a\nb", "x" * 65_536])
def test_a_topic_that_cannot_be_is_refused(topic: str) -> None:
    with pytest.raises(UsageError, match="an MQTT sink: a topic"):
        MqttSink("h", 1883, topic=topic, timeout_s=1)


def test_without_paho_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "paho.mqtt.client", None)
    with pytest.raises(MissingDependencyError, match=r"pip install '\.\[mqtt\]'"):
        MqttSink("127.0.0.1", 1883, topic="faces", timeout_s=1)
