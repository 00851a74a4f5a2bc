"""States and discovery at a real mosquitto, restarted in each order; nothing of who was removed."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest

from jetson_face.core.version import __version__
from jetson_face.events.home_assistant import Topics, leftovers, messages, plain
from jetson_face.events.making import EventMaker
from jetson_face.events.mqtt_session import Broker
from jetson_face.events.mqtt_states import StatePublisher
from jetson_face.events.presence import Presence
from jetson_face.util.backoff import Backoff
from tests.events.event_help import ADA, BOB, report, sighting
from tests.events.home_assistant_fields import check
from tests.events.mosquitto import Mosquitto, Retained
from tests.events.test_history import FACE, visit

TOPICS = Topics("jetson-face", "homeassistant", "box1")
ENROLLED = {ADA.id: "Ada", BOB.id: "Bob"}
BASE = "jetson-face/box1"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    made = Mosquitto(tmp_path)
    yield made
    made.stop()


@contextlib.contextmanager
def listening(broker: Mosquitto) -> Iterator[Retained]:
    made = Retained(broker.port)
    try:
        yield made
    finally:
        made.close()


class Box:
    """A service as far as a broker sees it; `kill` is what the broker sees of kill -9."""

    def __init__(self, port: int, enrolled: dict[str, str], **more: Any) -> None:
        self.states = StatePublisher(
            Broker("127.0.0.1", port, timeout_s=5),
            TOPICS,
            Presence(["door", "gate"], away_s=more.pop("away_s", 0.0)),
            lambda: enrolled,
            backoff=Backoff(0.1, 0.3),
            **more,
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.states.run, args=(self._stop,), daemon=True)
        self._thread.start()

    def tell(self, events: list[dict[str, Any]], jpeg: bytes | None = None) -> None:
        for event in events:
            self.states.tell(event, jpeg)

    def end(self) -> None:
        self._stop.set()
        self.states.wake()
        self._thread.join(20)
        assert not self._thread.is_alive()


def state(topics: dict[str, bytes], name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(topics.get(f"{BASE}/{name}", b"{}"))
    return found


def presence(topics: dict[str, bytes], person: str = ADA.id) -> str | None:
    return state(topics, f"person/{person}").get("presence")


def online(topics: dict[str, bytes]) -> bool:
    return topics.get(f"{BASE}/status") == b"online"


def test_a_visit_turns_presence_on_and_left_turns_it_off(broker: Mosquitto) -> None:
    appeared, decided, left = visit(ADA)
    box = Box(broker.port, ENROLLED)
    with listening(broker) as seen:
        seen.wait(online)
        assert presence(seen.topics) == "OFF"
        box.tell([appeared, decided])
        seen.wait(lambda topics: presence(topics) == "ON")
        assert state(seen.topics, f"person/{ADA.id}") == {
            "name": "Ada", "presence": "ON", "camera": "door", "time": decided["time"],
        }  # fmt: skip
        seen.wait(lambda topics: state(topics, "camera/door").get("last_person"))
        assert state(seen.topics, "camera/door") == {
            "count": 1, "people": ["Ada"], "last_person": "Ada",
            "last_person_time": decided["time"], "unknown": "OFF", "unknown_time": None,
        }  # fmt: skip
        box.tell([left])
        seen.wait(lambda topics: presence(topics) == "OFF")
        seen.wait(lambda topics: state(topics, "camera/door")["count"] == 0)
        assert state(seen.topics, f"person/{ADA.id}")["time"] == left["last_seen"]["time"]
        box.end()
        seen.wait(lambda topics: topics[f"{BASE}/status"] == b"offline")


def test_the_alert_of_an_unknown_person(broker: Mosquitto) -> None:
    box = Box(broker.port, {})
    appeared, decided, left = visit(None, source="gate")
    with listening(broker) as seen:
        box.tell([appeared, decided])
        seen.wait(lambda topics: state(topics, "camera/gate").get("unknown") == "ON")
        box.tell([left])
        seen.wait(lambda topics: state(topics, "camera/gate")["unknown"] == "OFF")
        assert state(seen.topics, "camera/gate")["unknown_time"] == decided["time"]
    box.end()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_restarts_in_each_order_leave_the_states_of_now(broker: Mosquitto) -> None:
    box = Box(broker.port, ENROLLED)
    with listening(broker) as seen:
        seen.wait(online)
        broker.stop()  # the broker goes, somebody comes, the broker is back
        maker = EventMaker({"door"})
        box.tell(maker.of(report(0, sighting("known", ADA))))
        broker.start()
        seen.wait(lambda topics: online(topics) and presence(topics) == "ON")
        box.end()  # the service goes and comes back
        seen.wait(lambda topics: topics[f"{BASE}/status"] == b"offline")
        box = Box(broker.port, ENROLLED)
        seen.wait(lambda topics: online(topics) and presence(topics) == "OFF")
        box.end()  # both go; the service is back first
        broker.stop()
        box = Box(broker.port, ENROLLED)
        box.tell(maker.of(report(1, sighting("known", BOB, track=2))))
        time.sleep(0.5)
        assert (box.states.connected, box.states.error is None) == (False, False)
        broker.start()
        seen.wait(lambda topics: online(topics) and presence(topics, BOB.id) == "ON")
        box.end()  # both go; the broker is back first
        broker.stop()
        broker.start()
        with listening(broker) as late:
            late.wait(lambda topics: topics.get(f"{BASE}/status") == b"offline")
            box = Box(broker.port, ENROLLED)
            late.wait(lambda topics: online(topics) and presence(topics, BOB.id) == "OFF")
            retained = set(late.topics)
    box.end()
    assert retained == set(messages(
        TOPICS, {p: {"name": n} for p, n in ENROLLED.items()}, {"door": {}, "gate": {}}, None,
    )) | {TOPICS.status}  # fmt: skip


def test_a_box_that_is_lost_is_unavailable_by_its_last_will(
    broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    box = Box(broker.port, ENROLLED)
    with listening(broker) as seen:
        seen.wait(online)
        lost = next(iter(_sessions(box)))
        lost.drop()
        seen.wait(lambda topics: topics[f"{BASE}/status"] == b"offline")
        seen.wait(online)  # and comes back by itself
    box.end()
    assert caplog.text.index("states_down") < caplog.text.index("states_back")
    assert box.states.document() == {"connected": False, "error": None, "failures": 0}


def _sessions(box: Box) -> Iterator[Any]:
    """The connection that is open now."""
    import gc

    from jetson_face.events.mqtt_session import Session

    for item in gc.get_objects():
        if isinstance(item, Session) and (sock := item.client.socket()) and sock.fileno() >= 0:
            yield item


def test_a_removed_person_leaves_nothing(
    broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    enrolled = dict(ENROLLED)
    box = Box(broker.port, enrolled, snapshots=True)
    with listening(broker) as seen:
        seen.wait(online)
        box.tell(visit(ADA)[:2], FACE)
        seen.wait(lambda topics: topics.get(f"{BASE}/camera/door/snapshot") == FACE)
        del enrolled[ADA.id]
        seen.wait(lambda topics: not any(ADA.id in topic for topic in topics))
        seen.wait(lambda topics: f"{BASE}/camera/door/snapshot" not in topics)
        assert not any(b"Ada" in body for body in seen.topics.values())
        box.end()
        del enrolled[BOB.id]  # while the service is off
        box = Box(broker.port, enrolled)
        seen.wait(lambda topics: not any(BOB.id in topic for topic in topics))
        seen.wait(online)
        assert not any(b"Bob" in body for body in seen.topics.values())
    box.end()
    assert "states_down" not in caplog.text


@pytest.mark.parametrize("snapshots", [True, False])
def test_a_face_that_an_earlier_start_left_goes(broker: Mosquitto, snapshots: bool) -> None:
    topic = f"{BASE}/camera/door/snapshot"
    box = Box(broker.port, ENROLLED, snapshots=True)
    with listening(broker) as seen:
        seen.wait(online)
        box.tell(visit(ADA)[:2], FACE)
        seen.wait(lambda topics: topics.get(topic) == FACE)
        box.end()
        seen.wait(lambda topics: topics[f"{BASE}/status"] == b"offline")
        # Nobody knows any more whose it is: of somebody who was removed meanwhile, maybe.
        box = Box(broker.port, {}, snapshots=snapshots)
        seen.wait(lambda topics: online(topics) and topic not in topics)
        assert f"{BASE}/camera/door" in seen.topics
        if snapshots:
            box.tell(visit(None)[:2], FACE)
            seen.wait(lambda topics: topics.get(topic) == FACE)
    box.end()


def test_who_turns_round_has_not_gone(broker: Mosquitto) -> None:
    box = Box(broker.port, ENROLLED, away_s=1.5)
    with listening(broker) as seen:
        seen.wait(online)
        began = time.monotonic()
        box.tell(visit(ADA))
        seen.wait(lambda topics: presence(topics) == "ON")
        seen.wait(lambda topics: presence(topics) == "OFF")
        assert 1.4 < time.monotonic() - began < 6
    box.end()


# What is said


def everything(*, snapshots: bool = True) -> dict[str, bytes]:
    model = Presence(["door", "Gärten.2"], away_s=1)
    for event in visit(ADA)[:2]:
        model.apply(event, FACE, 0.0)
    return messages(
        TOPICS, model.people(ENROLLED, 0.0), model.cameras(ENROLLED),
        model.snapshots(ENROLLED) if snapshots else None,
    )  # fmt: skip


def test_every_discovery_message_has_documented_fields_only() -> None:
    found = everything()
    configs = {t: check(t, body) for t, body in found.items() if t.startswith("homeassistant/")}
    assert len(configs) == 5
    devices = [config["device"]["identifiers"][0] for config in configs.values()]
    assert len(set(devices)) == len(devices)
    parts = [part for config in configs.values() for part in config["components"].values()]
    ids = [part["unique_id"] for part in parts]
    assert len(set(ids)) == len(ids) == 15
    for config in configs.values():
        assert config["device"].get("via_device", devices[0]) in devices


def told(model: str, name: str, kind: str, id_: str) -> dict[str, Any]:
    """What every device but the box says of itself."""
    return {
        "device": {
            "identifiers": [f"jetson_face_box1_{kind}_{id_}"],
            "name": name,
            "manufacturer": "jetson-face",
            "model": model,
            "sw_version": __version__,
            "via_device": "jetson_face_box1_box",
        },
        "origin": {"name": "jetson-face", "sw_version": __version__},
        "availability": [{"topic": "jetson-face/box1/status"}],
        "qos": 1,
    }


def test_a_person_is_a_device_with_presence_last_camera_and_last_time() -> None:
    state, own = "jetson-face/box1/person/p-ada", "jetson_face_box1_person_p-ada"
    topic = "homeassistant/device/jetson_face_box1_person_p-ada/config"
    assert json.loads(everything()[topic]) == told("Person", "Ada", "person", "p-ada") | {
        "components": {
            "presence": {
                "platform": "binary_sensor",
                "unique_id": f"{own}_presence",
                "name": "Presence",
                "device_class": "occupancy",
                "state_topic": state,
                "value_template": "{{ value_json.presence }}",
                "json_attributes_topic": state,
            },
            "camera": {
                "platform": "sensor",
                "unique_id": f"{own}_camera",
                "name": "Last camera",
                "icon": "mdi:cctv",
                "state_topic": state,
                "value_template": "{{ value_json.camera }}",
            },
            "time": {
                "platform": "sensor",
                "unique_id": f"{own}_time",
                "name": "Last seen",
                "device_class": "timestamp",
                "state_topic": state,
                "value_template": "{{ value_json.time }}",
            },
        }
    }


def test_a_camera_is_a_device_with_last_person_count_alert_and_last_face() -> None:
    state, own = "jetson-face/box1/camera/door", "jetson_face_box1_camera_door"
    topic = "homeassistant/device/jetson_face_box1_camera_door/config"
    wanted = told("Camera", "door", "camera", "door") | {
        "components": {
            "last_person": {
                "platform": "sensor",
                "unique_id": f"{own}_last_person",
                "name": "Last person",
                "icon": "mdi:account-check",
                "state_topic": state,
                "value_template": "{{ value_json.last_person }}",
                "json_attributes_topic": state,
            },
            "count": {
                "platform": "sensor",
                "unique_id": f"{own}_count",
                "name": "Faces",
                "icon": "mdi:account-multiple",
                "state_class": "measurement",
                "unit_of_measurement": "faces",
                "state_topic": state,
                "value_template": "{{ value_json.count }}",
            },
            "unknown": {
                "platform": "binary_sensor",
                "unique_id": f"{own}_unknown",
                "name": "Unknown person",
                "device_class": "problem",
                "state_topic": state,
                "value_template": "{{ value_json.unknown }}",
            },
            "snapshot": {
                "platform": "image",
                "unique_id": f"{own}_snapshot",
                "name": "Last face",
                "content_type": "image/jpeg",
                "image_topic": "jetson-face/box1/camera/door/snapshot",
            },
        }
    }
    assert json.loads(everything()[topic]) == wanted
    del wanted["components"]["snapshot"]
    assert json.loads(everything(snapshots=False)[topic]) == wanted


def test_the_box_is_a_device_that_shows_whether_it_is_connected() -> None:
    found = json.loads(everything()["homeassistant/device/jetson_face_box1_box/config"])
    assert found == {
        "device": {
            "identifiers": ["jetson_face_box1_box"],
            "name": "jetson-face box1",
            "manufacturer": "jetson-face",
            "model": "Recogniser",
            "sw_version": __version__,
        },
        "origin": {"name": "jetson-face", "sw_version": __version__},
        "qos": 1,
        "components": {
            "connected": {
                "platform": "binary_sensor",
                "unique_id": "jetson_face_box1_box_connected",
                "name": "Connected",
                "device_class": "connectivity",
                "entity_category": "diagnostic",
                "state_topic": "jetson-face/box1/status",
                "payload_on": "online",
                "payload_off": "offline",
            }
        },
    }


def test_states_come_before_the_devices_that_show_them() -> None:
    topics = list(everything())
    devices = [topic.startswith("homeassistant/") for topic in topics]
    assert devices == sorted(devices)
    assert f"{BASE}/camera/Gärten.2" in topics


def test_umlauts_are_sent_as_they_are() -> None:
    found = everything()
    assert "Gärten.2".encode() in found[TOPICS.config("camera", "Gärten.2")]


def test_a_plain_name_stays_and_any_other_ends_in_its_own_digits() -> None:
    assert plain("p-ada_2") == "p-ada_2"
    assert plain("Gärten.2") == "G_rten_2_909b3f"


def test_cameras_whose_names_differ_by_a_line_at_the_end_are_two_devices() -> None:
    assert TOPICS.device("camera", "hall") == "jetson_face_box1_camera_hall"
    assert TOPICS.device("camera", "hall_") == "jetson_face_box1_camera_hall_"


def test_a_state_of_nobody_is_cleared_with_its_picture_and_its_device() -> None:
    assert leftovers(TOPICS, f"{BASE}/camera/old") == [
        f"{BASE}/camera/old",
        f"{BASE}/camera/old/snapshot",
        "homeassistant/device/jetson_face_box1_camera_old/config",
    ]
    picture = f"{BASE}/camera/door/snapshot"
    assert leftovers(TOPICS, picture) == [picture]
    assert leftovers(TOPICS, f"{BASE}/person/p-1")[2] == TOPICS.config("person", "p-1")
    assert leftovers(TOPICS, f"{BASE}/status") == []


def test_every_template_finds_its_value_in_its_state() -> None:
    found = everything()
    shown: dict[str, str] = {}
    for topic, body in found.items():
        if not topic.startswith("homeassistant/"):
            continue
        for part in json.loads(body)["components"].values():
            if part["platform"] == "image":
                assert part["image_topic"].startswith(BASE)
                continue
            if "value_template" not in part:
                assert part["state_topic"] == TOPICS.status
                continue
            value = json.loads(found[part["state_topic"]])
            environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
            text = environment.from_string(part["value_template"]).render(value_json=value)
            shown[part["unique_id"].removeprefix("jetson_face_box1_")] = text
    assert shown["person_p-ada_presence"] == "ON"
    assert shown["person_p-bob_time"] == "None"  # Home Assistant's word for unknown
    assert shown["person_p-ada_camera"] == "door"
    assert shown["camera_door_last_person"] == "Ada"
    assert shown["camera_door_count"] == "1"
    assert shown["camera_door_unknown"] == "OFF"


def test_without_being_asked_no_face_is_published() -> None:
    broker, presence = Broker("127.0.0.1", 1, timeout_s=1), Presence(["door"], away_s=1)
    states = StatePublisher(broker, TOPICS, presence, lambda: ENROLLED)
    for event in visit(ADA)[:2]:
        states.tell(event, FACE)
    found = states.wanted()
    assert presence.snapshots(ENROLLED) == {"door": FACE}
    assert FACE not in found.values()
    assert not any(b"snapshot" in body for body in found.values())


def test_names_that_no_topic_may_have_stay_different() -> None:
    names = ["a.b", "a_b", "a b", "ä", "ö"]
    assert len({plain(name) for name in names}) == len(names)
    assert all(plain(name).isascii() for name in names)


def test_after_a_kill_nobody_is_there_from_the_run_before() -> None:
    model = Presence(["door"], away_s=0)
    for event in visit(ADA)[:2]:
        model.apply(event, None, 1.0)
    assert model.people(ENROLLED, 1.0)[ADA.id]["presence"] == "ON"
    model.apply(visit(BOB)[0], None, 2.0)  # of another run
    assert model.people(ENROLLED, 2.5)[ADA.id]["presence"] == "OFF"
    again = Presence(["door"], away_s=60)
    again.seed(visit(ADA)[:2])
    assert again.people(ENROLLED, 0.0)[ADA.id] | {"time": ""} == {
        "name": "Ada", "presence": "OFF", "camera": "door", "time": "",
    }  # fmt: skip


def test_a_name_that_is_taken_back_is_no_presence() -> None:
    maker, model = EventMaker({"door"}), Presence(["door"], away_s=0)
    for number, seen in enumerate((sighting("known", ADA), sighting("unknown"))):
        for event in maker.of(report(number, seen)):
            model.apply(event, None, float(number))
    assert model.people(ENROLLED, 1.5)[ADA.id]["presence"] == "OFF"
    assert model.cameras(ENROLLED)["door"]["unknown"] == "ON"
