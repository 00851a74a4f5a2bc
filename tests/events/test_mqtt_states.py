"""How states get to a broker: what is said to it, word for word, and what is said of it when it
does not answer."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from jetson_face.events import mqtt_states
from jetson_face.events.home_assistant import Topics
from jetson_face.events.mqtt_session import Broker, Session
from jetson_face.events.mqtt_states import StatePublisher
from jetson_face.events.presence import Presence
from jetson_face.util.backoff import Backoff
from jetson_face.util.bell import Bell
from tests.events.event_help import ADA
from tests.events.hostile import Hostile
from tests.events.test_history import FACE, visit

paho = pytest.importorskip("paho.mqtt.client", reason="the extra `mqtt` is not installed")
BASE = "jetson-face/box1"
STRAY = f"{BASE}/person/p-stray"
LEFT = f"{BASE}/camera/left"


def publisher(port: int, **more: Any) -> StatePublisher:
    """One that tries once, and not again for a minute."""
    presence = Presence(["door"], away_s=more.pop("away_s", 0.0))
    broker = Broker("127.0.0.1", port, timeout_s=more.pop("timeout_s", 30))
    topics = Topics("jetson-face", "homeassistant", "box1")
    enrolled = more.pop("enrolled", {ADA.id: "Ada"})
    more = {"backoff": Backoff(120, 120)} | more
    return StatePublisher(broker, topics, presence, lambda: enrolled, **more)


@contextlib.contextmanager
def running(states: StatePublisher) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=states.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        states.wake()
        thread.join(8)
    assert not thread.is_alive()


def until(done: Callable[[], object]) -> None:
    end = time.monotonic() + 8
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


def text(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def received(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        got = connection.recv(size - len(data))
        if not got:
            raise ConnectionError("the client hung up")
        data += got
    return data


def packet(connection: socket.socket) -> tuple[int, bytes]:
    """The first byte and the body of the next one."""
    head, length, shift = received(connection, 1)[0], 0, 0
    byte = 128
    while byte & 128:
        byte = received(connection, 1)[0]
        length |= (byte & 127) << shift
        shift += 7
    return head, received(connection, length)


class Talk:
    """A broker that answers as it should, and notes what it was told: connect, subscribe,
    unsubscribe, publish (topic, first byte, payload) in order.

    answers: how many kinds of packets it answers: the greeting, subscriptions, states, `offline`.
    retained: what it has, as (first byte of the packet, topic, payload). ended: it was told
    goodbye. lost: the connection was closed without that.
    """

    def __init__(
        self, *, answers: int = 4, retained: tuple[tuple[int, str, bytes], ...] = ()
    ) -> None:
        self._answers, self._retained = answers, retained
        self.connect = b""
        self.asked: list[tuple[int, bytes]] = []
        self.published: list[tuple[str, int, bytes]] = []
        self.ended, self.lost = threading.Event(), threading.Event()

    def __call__(self, connection: socket.socket, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                head, body = packet(connection)
            except ConnectionError:
                self.lost.set()
                return
            kind = head >> 4
            if kind == 1:
                self.connect = body
                self._say(connection, 1, b"\x20\x02\x00\x00")
            elif kind in (8, 10):
                self.asked.append((head, body[2:]))
                answer = b"\x90\x05" + body[:2] + bytes(3) if kind == 8 else b"\xb0\x02" + body[:2]
                self._say(connection, 2, answer)
                for first, topic, payload in self._retained if kind == 8 else ():
                    said = text(topic.encode()) + payload
                    connection.sendall(bytes([first, len(said)]) + said)
            elif kind == 3:
                size = int.from_bytes(body[:2], "big")
                topic, rest = body[2 : 2 + size].decode(), body[2 + size :]
                self.published.append((topic, head, rest[2:]))
                self._say(connection, 3 + (rest[2:] == b"offline"), b"\x40\x02" + rest[:2])
            elif kind == 14:
                self.ended.set()
                return

    def _say(self, connection: socket.socket, number: int, answer: bytes) -> None:
        if number <= self._answers:
            connection.sendall(answer)

    @property
    def topics(self) -> list[str]:
        return [topic for topic, _, _ in self.published]


def test_the_whole_talk_with_a_broker(caplog: pytest.LogCaptureFixture) -> None:
    talk = Talk(
        retained=(
            (0x31, LEFT, b"{}"),
            (0x31, f"{BASE}/person/{ADA.id}", b"{}"),
            (0x30, STRAY, b"said now, and not retained"),
            (0x31, STRAY, b""),
        )
    )
    with Hostile(talk) as server:
        states = publisher(server.port)
        assert states.document() == {"connected": False, "error": None, "failures": 0}
        with running(states):
            assert f"states-{states._broker.host}" in [t.name for t in threading.enumerate()]
            until(lambda: states.connected)
            assert states.document() == {"connected": True, "error": None, "failures": 0}
            before = len(talk.published)
            states.tell(visit(ADA)[0], FACE)
            until(lambda: len(talk.published) == before + 1)
        assert talk.ended.wait(20)
    assert text(f"{BASE}/status".encode()) + text(b"offline") in talk.connect
    kinds = ("person/+", "camera/+", "camera/+/snapshot")
    asked = [text(f"{BASE}/{kind}".encode()) for kind in kinds]
    assert talk.asked == [(0x82, b"".join(one + b"\0" for one in asked)), (0xA2, b"".join(asked))]
    assert {head for _, head, _ in talk.published} == {0x33}  # QoS 1, retained
    device = "homeassistant/device/jetson_face_box1"
    assert talk.topics == [
        *sorted([LEFT, f"{LEFT}/snapshot", f"{device}_camera_left/config"]),
        f"{BASE}/person/{ADA.id}",
        f"{BASE}/camera/door",
        f"{device}_box/config",
        f"{device}_person_p-ada/config",
        f"{device}_camera_door/config",
        f"{BASE}/status",
        f"{BASE}/camera/door",  # the only state that has changed
        f"{BASE}/status",
    ]
    assert [body for topic, _, body in talk.published if topic == f"{BASE}/status"] == [
        b"online", b"offline",
    ]  # fmt: skip
    assert [body for topic, _, body in talk.published if LEFT in topic] == [b"", b""]
    assert states.document() == {"connected": False, "error": None, "failures": 0}
    assert "states_" not in caplog.text


def test_a_removed_person_is_cleared_once_and_told_again_when_they_are_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mqtt_states, "_LEFT_S", 0.05)
    enrolled, talk = {ADA.id: "Ada"}, Talk()
    own = ["homeassistant/device/jetson_face_box1_person_p-ada/config", f"{BASE}/person/p-ada"]
    with Hostile(talk) as server:
        states = publisher(server.port, enrolled=enrolled)
        with running(states):
            until(lambda: states.connected)
            before = len(talk.published)
            del enrolled[ADA.id]
            states.wake()
            until(lambda: len(talk.published) >= before + 2)
            states.tell(visit(None)[0], None)
            until(lambda: len(talk.published) >= before + 3)
            enrolled[ADA.id] = "Ada"
            states.wake()
            until(lambda: len(talk.published) >= before + 5)
    found = [(topic, body != b"") for topic, _, body in talk.published[before:]]
    assert sorted(found[:2]) == [(topic, False) for topic in own]
    assert found[2] == (f"{BASE}/camera/door", True)
    assert sorted(found[3:5]) == [(topic, True) for topic in own]
    assert found[5:] == [(f"{BASE}/status", True)]


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[Session]:
    """All connections that were made, kept: none is closed because nobody holds it any more."""
    made: list[Session] = []
    dial = Broker.dial

    def noted(*args: Any, **more: Any) -> Session:
        made.append(dial(*args, **more))
        return made[-1]

    monkeypatch.setattr(Broker, "dial", noted)
    return made


def test_the_face_of_a_removed_person_is_not_wanted() -> None:
    enrolled, topic = {ADA.id: "Ada"}, f"{BASE}/camera/door/snapshot"
    states = publisher(1, enrolled=enrolled, snapshots=True)
    for event in visit(ADA)[:2]:
        states.tell(event, FACE)
    assert states.wanted()[topic] == FACE
    del enrolled[ADA.id]
    assert topic not in states.wanted()


@pytest.mark.parametrize(
    ("answers", "missing"), [(0, "greeting"), (1, "subscription"), (2, "acknowledgement")]
)
def test_the_status_says_which_answer_did_not_come(
    answers: int,
    missing: str,
    sessions: list[Session],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(mqtt_states, "_LEFT_S", 0.05)
    talk = Talk(answers=answers)
    with Hostile(talk) as server:
        states = publisher(server.port, timeout_s=0.9)
        with running(states):
            until(lambda: states.failures)
            assert talk.lost.wait(8)
        error = f"127.0.0.1:{server.port}: no {missing} in 0.9 s"
        assert states.document() == {"connected": False, "error": error, "failures": 1}
        assert (server.connections, talk.ended.is_set(), len(sessions)) == (1, False, 1)
    assert f"states_down failures=1 error={error}" in caplog.text


def test_a_fault_of_our_own_is_told_and_ends_the_connection(
    sessions: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(*args: object) -> None:
        raise LookupError("of what")

    monkeypatch.setattr(Presence, "cameras", odd)
    monkeypatch.setattr(mqtt_states, "_LEFT_S", 0.05)
    talk = Talk()
    with Hostile(talk) as server:
        states = publisher(server.port)
        with running(states):
            assert talk.lost.wait(8)
            until(lambda: states.failures)
        assert states.error == f"127.0.0.1:{server.port}: LookupError: of what"
    assert len(sessions) == 1


def test_a_broker_that_is_silent_at_the_end_is_left_to_the_last_will(
    sessions: list[Session], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mqtt_states, "_LEFT_S", 0.05)
    talk = Talk(answers=3)
    with Hostile(talk) as server:
        states = publisher(server.port)
        with running(states):
            until(lambda: states.connected)
        assert talk.lost.wait(8)
    assert talk.published[-1][2] == b"offline"
    assert not talk.ended.is_set()
    assert ": no acknowledgement in " in caplog.text
    assert len(sessions) == 1


def test_a_connection_that_comes_too_late_is_closed(
    sessions: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    free, dial = threading.Event(), Broker.dial

    def hangs(*args: Any, **more: Any) -> Session:
        free.wait(20)
        return dial(*args, **more)

    monkeypatch.setattr(Broker, "dial", hangs)
    talk = Talk()
    with Hostile(talk) as server:
        states = publisher(server.port, timeout_s=0.1)
        with running(states):
            until(lambda: states.failures)
            assert states.error == f"127.0.0.1:{server.port}: no connection in 0.1 s"
        free.set()
        assert talk.lost.wait(8)
    assert len(sessions) == 1


def test_an_earlier_start_may_have_left_4_mib(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def refused(*args: Any, **more: Any) -> Session:
        asked.append(more)
        raise ConnectionRefusedError

    monkeypatch.setattr(Broker, "dial", refused)
    states = publisher(1)
    with running(states):
        until(lambda: states.failures)
    assert asked == [{"will": (f"{BASE}/status", b"offline"), "answer_max": 4 << 20}]


def test_a_long_error_is_cut_to_one_line_of_300_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: Any, **more: Any) -> Session:
        raise OSError("no " * 200 + "\n")

    monkeypatch.setattr(Broker, "dial", refused)
    states = publisher(1)
    states._broker.host = "h" * 250
    with running(states):
        until(lambda: states.failures)
    assert states.error is not None
    assert states.error.startswith(f"{'h' * 250}:1: OSError: no no")
    assert len(states.error) == 300


@dataclass
class Wait:
    """What a backoff was asked: of which settings, after which failure, with which draw, when."""

    backoff: Backoff
    failures: int
    draw: float
    at: float


def waits(monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[Wait]:
    """Lets every backoff say so many seconds, and notes what it was asked."""
    found: list[Wait] = []

    def noted(self: Backoff, failures: int, draw: float) -> float:
        found.append(Wait(self, failures, draw, time.monotonic()))
        return seconds

    monkeypatch.setattr(Backoff, "delay_s", noted)
    return found


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def test_failures_in_a_row_are_counted_and_drawn_apart(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = waits(monkeypatch, 0.001)
    with running(publisher(closed_port())):
        until(lambda: len(asked) >= 4)
    assert [wait.failures for wait in asked[:4]] == [1, 2, 3, 4]
    draws = [wait.draw for wait in asked[:4]]
    assert len(set(draws)) == 4
    assert all(0 <= draw < 1 for draw in draws)
    assert "states_down failures=1 " in caplog.text
    assert "states_down failures=3 " not in caplog.text  # only the first, second, fourth, ...


def test_a_broker_is_left_alone_for_as_long_as_the_backoff_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = waits(monkeypatch, 0.4)
    with running(publisher(closed_port())):
        until(lambda: len(asked) >= 2)
    assert asked[1].at - asked[0].at >= 0.4


def test_without_a_backoff_of_its_own_it_waits_from_half_a_second_to_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = waits(monkeypatch, 60)
    with running(publisher(closed_port(), backoff=None)):
        until(lambda: asked)
    assert asked[0].backoff == Backoff(0.5, 60)


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the connection was left alone, each time at most."""
    found: list[float] = []
    rest = Session.rest

    def noted(self: Session, timeout_s: float, bell: Bell) -> None:
        found.append(timeout_s)
        rest(self, timeout_s, bell)

    monkeypatch.setattr(Session, "rest", noted)
    return found


@pytest.mark.parametrize(("away_s", "least", "most"), [(1.0, 0.5, 1.01), (60.0, 2.0, 2.0)])
def test_it_looks_every_two_seconds_and_when_somebody_counts_as_gone(
    rests: list[float], away_s: float, least: float, most: float
) -> None:
    with Hostile(Talk()) as server:
        states = publisher(server.port, away_s=away_s)
        with running(states):
            until(lambda: states.connected and 2.0 in rests)
            assert all(0 < rest <= 1 for rest in rests[: rests.index(2.0)])
            before = len(rests)
            for event in visit(ADA):
                states.tell(event, None)
            until(lambda: any(least <= rest <= most for rest in rests[before:]))
            assert max(rests) == 2.0


def test_who_has_left_counts_as_gone_without_another_event(
    rests: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_states, "_LEFT_S", 0.05)
    talk = Talk()

    def told() -> list[str]:
        bodies = [body for topic, _, body in talk.published if topic == f"{BASE}/person/p-ada"]
        return [json.loads(body)["presence"] for body in bodies]

    with Hostile(talk) as server:
        states = publisher(server.port, away_s=1.0)
        with running(states):
            until(lambda: states.connected)
            for event in visit(ADA):
                states.tell(event, None)
            until(lambda: told() == ["OFF", "ON", "OFF"])
    assert min(rests) > 0


def test_time_that_passes_between_two_looks_at_the_clock_is_never_waited_for(
    rests: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wait of less than nothing would be one without an end."""
    monkeypatch.setattr(mqtt_states, "_LEFT_S", 0.1)
    looks = iter(range(10**9))
    with Hostile(Talk()) as server:
        states = publisher(
            server.port, timeout_s=600, clock=lambda: time.monotonic() + 0.06 * next(looks)
        )
        with running(states):
            until(lambda: states.connected and 2.0 in rests)
    assert min(rests) > 0


def test_the_last_failure_is_told_until_the_broker_is_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mqtt_states, "_LEFT_S", 0.05)
    told: list[dict[str, Any]] = []
    talk = Talk()

    def refuses_first(connection: socket.socket, stop: threading.Event) -> None:
        if server.connections > 1:
            talk(connection, stop)
        else:
            packet(connection)
            connection.sendall(b"\x20\x02\x00\x05")
            stop.wait(5)

    def noted(self: Backoff, failures: int, draw: float) -> float:
        told.append(states.document())
        return 0.01

    monkeypatch.setattr(Backoff, "delay_s", noted)
    with Hostile(refuses_first) as server:
        states = publisher(server.port)
        with running(states):
            until(lambda: states.connected)
            assert states.document() == {"connected": True, "error": None, "failures": 0}
    error = f"127.0.0.1:{server.port}: the broker refused us: Not authorized"
    assert told == [{"connected": False, "error": error, "failures": 1}]
    assert "states_back broker=127.0.0.1 failures=1" in caplog.text
