"""What Home Assistant is told over MQTT: discovery messages, states, and the topics they go to.

Device-based discovery, which Home Assistant has since 2024.11: one retained message a device.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jetson_face.core.version import __version__

ONLINE, OFFLINE = b"online", b"offline"
_PLAIN = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Topics:
    """Where things are published. prefix: of states; discovery: what Home Assistant listens to;
    node: this box, of letters, digits, `_` and `-`."""

    prefix: str
    discovery: str
    node: str

    @property
    def base(self) -> str:
        """Of everything but discovery."""
        return f"{self.prefix}/{self.node}"

    @property
    def status(self) -> str:
        """`online`, or `offline` by the last will."""
        return f"{self.base}/status"

    def person(self, person: str) -> str:
        """The state of a person, by id."""
        return f"{self.base}/person/{person}"

    def camera(self, name: str) -> str:
        """The state of a camera."""
        return f"{self.base}/camera/{name}"

    def snapshot(self, name: str) -> str:
        """The last face that a camera saw."""
        return f"{self.camera(name)}/snapshot"

    def config(self, kind: str, name: str) -> str:
        """The discovery message of a device: a `person`, a `camera` or the `box`."""
        return f"{self.discovery}/device/{self.device(kind, name)}/config"

    def device(self, kind: str, name: str) -> str:
        """A device's identifier. name: empty for the box."""
        return "_".join(filter(None, ("jetson_face", plain(self.node), kind, plain(name))))


def plain(name: str) -> str:
    """A name of letters, digits, `_` and `-`; two names never become one."""
    kept = _PLAIN.sub("_", name)
    if kept == name:
        return name
    return f"{kept}_{hashlib.blake2b(name.encode(), digest_size=3).hexdigest()}"


def person_device(topics: Topics, person: str, name: str) -> dict[str, Any]:
    """Presence, last camera and last time of a person."""
    state, own = topics.person(person), topics.device("person", person)
    return _device(topics, "person", person, name, "Person") | {
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


def camera_device(topics: Topics, name: str, *, snapshot: bool) -> dict[str, Any]:
    """Last person, count, unknown alert and, if wanted, snapshot of a camera."""
    state, own = topics.camera(name), topics.device("camera", name)
    components: dict[str, Any] = {
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
    }
    if snapshot:
        components["snapshot"] = {
            "platform": "image",
            "unique_id": f"{own}_snapshot",
            "name": "Last face",
            "content_type": "image/jpeg",
            "image_topic": topics.snapshot(name),
        }
    return _device(topics, "camera", name, name, "Camera") | {"components": components}


def box_device(topics: Topics) -> dict[str, Any]:
    """The box itself: whether it is connected."""
    own = topics.device("box", "")
    device = _device(topics, "box", "", f"jetson-face {topics.node}", "Recogniser")
    del device["availability"], device["device"]["via_device"]
    device["components"] = {
        "connected": {
            "platform": "binary_sensor",
            "unique_id": f"{own}_connected",
            "name": "Connected",
            "device_class": "connectivity",
            "entity_category": "diagnostic",
            "state_topic": topics.status,
            "payload_on": ONLINE.decode(),
            "payload_off": OFFLINE.decode(),
        }
    }
    return device


def messages(
    topics: Topics,
    people: Mapping[str, Mapping[str, Any]],
    cameras: Mapping[str, Mapping[str, Any]],
    snapshots: Mapping[str, bytes] | None,
) -> dict[str, bytes]:
    """Everything that is to be retained but the status, by topic, states before devices.

    people, cameras: their states, by id and name. snapshots: None for none wanted.
    """
    found: dict[str, bytes] = {}
    for person, state in people.items():
        found[topics.person(person)] = _json(state)
    for name, state in cameras.items():
        found[topics.camera(name)] = _json(state)
    for name, jpeg in (snapshots or {}).items():
        found[topics.snapshot(name)] = jpeg
    found[topics.config("box", "")] = _json(box_device(topics))
    for person, state in people.items():
        device = person_device(topics, person, str(state["name"]))
        found[topics.config("person", person)] = _json(device)
    for name in cameras:
        device = camera_device(topics, name, snapshot=snapshots is not None)
        found[topics.config("camera", name)] = _json(device)
    return found


def leftovers(topics: Topics, found: str) -> list[str]:
    """The topics to be cleared where what is retained at `found` is of nobody any more."""
    if found.startswith(f"{topics.base}/camera/") and found.endswith("/snapshot"):
        return [found]  # its camera may well be there
    for kind in ("person", "camera"):
        start = f"{topics.base}/{kind}/"
        name = found.removeprefix(start)
        if name != found:
            return [found, f"{found}/snapshot", topics.config(kind, name)]
    return []


def _device(topics: Topics, kind: str, name: str, shown: str, model: str) -> dict[str, Any]:
    return {
        "device": {
            "identifiers": [topics.device(kind, name)],
            "name": shown,
            "manufacturer": "jetson-face",
            "model": model,
            "sw_version": __version__,
            "via_device": topics.device("box", ""),
        },
        "origin": {"name": "jetson-face", "sw_version": __version__},
        "availability": [{"topic": topics.status}],
        "qos": 1,
    }


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()
