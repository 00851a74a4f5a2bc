"""What the keys of `service.home_assistant` change."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetson_face.config import Config
from jetson_face.events.mqtt_states import StatePublisher
from jetson_face.service.states import build_states, client_id
from tests.config.keys import Site, shows
from tests.events.event_help import ADA
from tests.events.mosquitto import Mosquitto
from tests.events.test_history import FACE, visit

HERE = "service.home_assistant"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    made = Mosquitto(tmp_path, password="hush")
    yield made
    made.stop()


def states(config: Config) -> StatePublisher:
    wanted = config.service.home_assistant
    assert wanted is not None
    made = build_states(wanted, ["door"], lambda: {ADA.id: "Ada"}, None)
    assert made is not None
    return made


def tried(config: Config, *, seconds: float = 15) -> StatePublisher:
    """One that ran until it was connected, or was not."""
    made, stop = states(config), threading.Event()
    thread = threading.Thread(target=made.run, args=(stop,), daemon=True)
    thread.start()
    tick = threading.Event()
    for _ in range(int(seconds * 20)):
        if made.connected or made.error:
            break
        tick.wait(0.05)
    connected = made.connected
    stop.set()
    made.wake()
    thread.join(10)
    made.connected = connected
    return made


@shows(f"{HERE}.topic", f"{HERE}.discovery", f"{HERE}.node")
def test_states_and_discovery_go_where_it_says(site: Site) -> None:
    keys = {f"{HERE}.topic": "hall/faces", f"{HERE}.discovery": "ha", f"{HERE}.node": "east"}
    topics = states(site(keys)).wanted().keys()
    assert "hall/faces/east/person/p-ada" in topics
    assert "ha/device/jetson_face_east_person_p-ada/config" in topics


@shows(f"{HERE}.snapshots")
def test_faces_are_published_where_wanted(site: Site) -> None:
    made = states(site({f"{HERE}.snapshots": True, f"{HERE}.node": "east"}))
    made.tell(visit(ADA)[0], FACE)
    assert made.wanted().get("jetson-face/east/camera/door/snapshot") == FACE


@shows(f"{HERE}.away_s")
def test_a_person_stays_present_for_so_long(site: Site) -> None:
    made = states(site({f"{HERE}.away_s": 0, f"{HERE}.node": "east"}))
    for event in visit(ADA):
        made.tell(event, None)
    assert json.loads(made.wanted()["jetson-face/east/person/p-ada"])["presence"] == "OFF"


@shows(f"{HERE}.port", f"{HERE}.username", f"{HERE}.password_credential")
def test_the_broker_is_told_who_we_are(
    site: Site, broker: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("hush\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    keys = {
        f"{HERE}.port": broker.port,
        f"{HERE}.username": "box",
        f"{HERE}.password_credential": "token",
    }
    assert tried(site(keys)).connected


@shows(f"{HERE}.host")
def test_the_broker_is_the_one_that_is_named(site: Site) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        keys = {f"{HERE}.host": "localhost", f"{HERE}.port": nobody.getsockname()[1]}
        made = tried(site(keys))
    assert made.error is not None
    assert made.error.startswith("localhost:")


@shows(f"{HERE}.tls", f"{HERE}.timeout_s")
def test_a_silent_broker_is_given_up_after_so_long_and_spoken_to_in_tls(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        keys = {
            f"{HERE}.port": silent.getsockname()[1],
            f"{HERE}.tls": True,
            f"{HERE}.timeout_s": 0.2,
        }
        made = tried(site(keys), seconds=4)
        connection, _ = silent.accept()
        assert connection.recv(1) == b"\x16"
        connection.close()
    assert made.error is not None
    assert "0.2 s" in made.error


def test_long_nodes_that_begin_alike_have_each_their_own_id_at_the_broker() -> None:
    one, other = (client_id("hall-of-the-" + 5 * "very-long-" + end) for end in ("left", "right"))
    assert one != other
    assert len(one) == len(other) == 60
    assert client_id("hall") == "jetson-face-hall"
