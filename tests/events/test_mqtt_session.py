"""One connection to a broker, packet by packet."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from jetson_face.events.mqtt_session import Broker, LateError, LostError, Session
from jetson_face.util.bell import Bell
from tests.events.hostile import Hostile
from tests.events.mqtt_packets import CONNACK, greet, read_packet

pytest.importorskip("paho.mqtt.client", reason="the extra `mqtt` is not installed")
PONG = b"\xd0\x00"
LONG_S = 30.0
"""What nobody waits for: far longer than a busy machine needs."""


def dial(server: Hostile, *, will: tuple[str, bytes] | None = None, **who: Any) -> Session:
    """A connection on which nothing was read yet."""
    broker = Broker("127.0.0.1", server.port, timeout_s=LONG_S, **who)
    return broker.dial(time.monotonic, will=will, answer_max=20)


def greeted(server: Hostile) -> Session:
    """A connection that the broker has accepted."""
    session = dial(server)
    session.until(lambda: session.accepted, time.monotonic() + LONG_S, "greeting")
    return session


@pytest.fixture
def bell() -> Iterator[Bell]:
    made = Bell()
    yield made
    made.close()


def rested(session: Session, bell: Bell, longest_s: float) -> float:
    """Seconds that a rest took."""
    began = time.monotonic()
    session.rest(longest_s, bell)
    return time.monotonic() - began


def stays(connection: socket.socket, stop: threading.Event) -> None:
    greet(connection)
    stop.wait(LONG_S)


@pytest.mark.parametrize(
    ("who", "will", "said"),
    [
        # Flags, a minute of keep-alive; then by length: who it is, the will, user and password.
        ({}, None, b"\x02\x00\x3c" + b"\x00\x00"),
        (
            {"client_id": "box", "username": "ada", "password": "p"},
            None,
            b"\xc2\x00\x3c" + b"\x00\x03box" + b"\x00\x03ada" + b"\x00\x01p",
        ),
        ({}, ("t", b"off"), b"\x2e\x00\x3c" + b"\x00\x00" + b"\x00\x01t" + b"\x00\x03off"),
    ],
)
def test_a_broker_is_told_who_comes_and_what_to_say_when_they_are_lost(
    who: dict[str, str], will: tuple[str, bytes] | None, said: bytes
) -> None:
    got: list[bytes] = []

    def listens(connection: socket.socket, stop: threading.Event) -> None:
        got.append(read_packet(connection))
        connection.sendall(CONNACK)

    with Hostile(listens) as server:
        session = dial(server, will=will, **who)
        session.until(lambda: session.accepted, time.monotonic() + LONG_S, "greeting")
        session.drop()
    assert got == [b"\x00\x04MQTT\x04" + said]


def test_a_goodbye_is_said_by_closing_and_none_by_dropping() -> None:
    heard: list[bytes] = []
    ended = threading.Semaphore(0)

    def listens(connection: socket.socket, stop: threading.Event) -> None:
        greet(connection)
        heard.append(connection.recv(100))
        ended.release()

    with Hostile(listens) as server:
        for leave in (Session.close, Session.drop):
            session = greeted(server)
            sock = session.client.socket()
            leave(session)
            assert sock.fileno() == -1
            leave(session)  # harmless
            assert ended.acquire(timeout=LONG_S)
    assert heard == [b"\xe0\x00", b""]


def test_a_goodbye_that_cannot_be_written_or_fails_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Hostile(stays) as server:
        full = greeted(server)
        full.client.publish("t", bytes(16 << 20), qos=1)
        fails = greeted(server)
        socks = [session.client.socket() for session in (full, fails)]
        full.close()

        def broken(*args: object) -> None:
            raise ValueError("a fault of the library")

        monkeypatch.setattr(fails.client, "disconnect", broken)
        fails.close()
    assert [sock.fileno() for sock in socks] == [-1, -1]


def test_a_rest_lasts_until_the_bell_rings(bell: Bell) -> None:
    with Hostile(stays) as server:
        session = greeted(server)
        used = time.thread_time()
        took = [rested(session, bell, 0.1) for _ in range(3)]
        assert min(took) > 0.09
        assert min(took) < 0.9
        assert time.thread_time() - used < 0.1  # it waits, and does not look again and again
        bell.ring()
        assert rested(session, bell, LONG_S) < LONG_S / 2
        assert rested(session, bell, 0.1) > 0.09  # once heard, it is quiet again
        session.drop()


def test_a_rest_ends_when_the_broker_says_something_or_goes(bell: Bell) -> None:
    go_on = threading.Semaphore(0)

    def says_something(connection: socket.socket, stop: threading.Event) -> None:
        greet(connection)
        for _ in range(15):  # more than it may send while something is waited for
            go_on.acquire(timeout=LONG_S)
            connection.sendall(PONG)
        go_on.acquire(timeout=LONG_S)

    with Hostile(says_something) as server:
        session = greeted(server)
        for _ in range(15):
            go_on.release()
            assert rested(session, bell, LONG_S) < LONG_S / 2
        go_on.release()
        with pytest.raises(LostError, match=r"the connection ended: The connection was lost\."):
            session.rest(LONG_S, bell)
        with pytest.raises(LostError, match="the broker closed the connection"):
            session.rest(LONG_S, bell)


def test_a_broker_that_sends_more_than_it_may_is_left() -> None:
    def talks(connection: socket.socket, stop: threading.Event) -> None:
        greet(connection)
        server.drip(connection, PONG * 500, 0.004)

    with Hostile(talks) as server:
        session = greeted(server)
        with pytest.raises(LostError, match="the broker sent more than 0 KiB"):
            session.until(lambda: False, time.monotonic() + LONG_S, "end")
        session.drop()


def test_what_does_not_come_in_time_is_named() -> None:
    with Hostile(stays) as server:
        session = greeted(server)
        with pytest.raises(LateError, match=r"^flood$"):
            session.until(lambda: False, time.monotonic() + 0.05, "flood")
        session.until(lambda: True, time.monotonic() - 1, "what is there already")
        session.drop()


def test_a_broker_that_refuses_us_says_why() -> None:
    def refuses(connection: socket.socket, stop: threading.Event) -> None:
        read_packet(connection)
        connection.sendall(b"\x20\x02\x00\x05")
        stop.wait(LONG_S)

    with Hostile(refuses) as server:
        session = dial(server)
        with pytest.raises(LostError, match=r"^the broker refused us: Not authorized$"):
            session.until(lambda: session.accepted, time.monotonic() + LONG_S, "greeting")
        session.drop()


def test_a_packet_larger_than_the_sockets_buffer_is_written_to_its_end() -> None:
    arrived: list[int] = []

    def reads(connection: socket.socket, stop: threading.Event) -> None:
        greet(connection)
        arrived.append(len(read_packet(connection)))
        connection.sendall(b"\x40\x02\x00\x01")

    with Hostile(reads) as server:
        session = greeted(server)
        sent = session.client.publish("t", bytes(16 << 20), qos=1)
        session.until(sent.is_published, time.monotonic() + LONG_S, "acknowledgement")
        session.drop()
    assert arrived == [(16 << 20) + len(b"\x00\x01t\x00\x01")]
