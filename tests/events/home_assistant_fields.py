"""Home Assistant's documented fields for what we use, and a check of discovery messages by them.

Read in the documentation of the integrations (repository home-assistant/home-assistant.io, folder
source/_integrations), and for device-based discovery in the schema of the integration itself
(home-assistant/core, homeassistant/components/mqtt/schemas.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

DOCS = "https://www.home-assistant.io/integrations"
# schemas.py: DEVICE_DISCOVERY_SCHEMA, MQTT_ENTITY_DEVICE_INFO_SCHEMA, MQTT_ORIGIN_INFO_SCHEMA.
TOP = {
    "device": dict, "components": dict, "origin": dict, "state_topic": str, "command_topic": str,
    "qos": int, "encoding": str, "availability": list, "availability_mode": str,
    "availability_topic": str, "availability_template": str, "payload_available": str,
    "payload_not_available": str,
}  # fmt: skip
TOP_REQUIRED = {"device", "components", "origin"}
DEVICE = {
    "identifiers": list, "connections": list, "manufacturer": str, "model": str, "name": str,
    "hw_version": str, "serial_number": str, "sw_version": str, "via_device": str,
    "suggested_area": str, "configuration_url": str,
}  # fmt: skip
ORIGIN = {"name": str, "sw_version": str, "support_url": str}
AVAILABILITY = {
    "topic": str, "payload_available": str, "payload_not_available": str, "value_template": str,
}  # fmt: skip
_COMMON = {
    "platform": str, "unique_id": str, "name": str, "icon": str, "enabled_by_default": bool,
    "entity_category": str, "json_attributes_topic": str, "json_attributes_template": str,
    "encoding": str,
}  # fmt: skip
PLATFORMS: dict[str, dict[str, type]] = {
    # {DOCS}/binary_sensor.mqtt/
    "binary_sensor": _COMMON | {
        "state_topic": str, "value_template": str, "device_class": str, "payload_on": str,
        "payload_off": str, "off_delay": int, "expire_after": int, "force_update": bool, "qos": int,
    },
    # {DOCS}/sensor.mqtt/
    "sensor": _COMMON | {
        "state_topic": str, "value_template": str, "device_class": str, "state_class": str,
        "unit_of_measurement": str, "expire_after": int, "force_update": bool, "qos": int,
        "suggested_display_precision": int, "options": list,
    },
    # {DOCS}/image.mqtt/
    "image": _COMMON | {
        "image_topic": str, "url_topic": str, "url_template": str, "content_type": str,
        "image_encoding": str,
    },
}  # fmt: skip
REQUIRED = {
    "binary_sensor": {"platform", "state_topic", "unique_id"},
    "sensor": {"platform", "state_topic", "unique_id"},
    "image": {"platform", "image_topic", "unique_id"},
}
"""`unique_id` because of `device`, which the documentation ties to it."""
CLASSES = {
    # {DOCS}/binary_sensor/#device-class and {DOCS}/sensor/#device-class, those that we may use
    "binary_sensor": {"occupancy", "presence", "problem", "connectivity", "motion"},
    "sensor": {"timestamp", "enum"},
}
CATEGORIES = {"config", "diagnostic"}


def check(topic: str, payload: bytes) -> dict[str, Any]:
    """The message, when everything in it is documented; AssertionError otherwise."""
    prefix, device, object_id, config = topic.split("/")
    assert (device, config) == ("device", "config")
    assert object_id.replace("_", "").replace("-", "").isalnum(), object_id
    assert object_id.isascii()
    assert prefix
    message: dict[str, Any] = json.loads(payload)
    _fields(message, TOP, TOP_REQUIRED)
    _fields(message["device"], DEVICE, {"identifiers"})
    assert message["device"]["identifiers"] == [object_id]
    _fields(message["origin"], ORIGIN, {"name"})
    for item in message.get("availability", ()):
        _fields(item, AVAILABILITY, {"topic"})
    assert message.get("qos", 0) in (0, 1, 2)
    for component in message["components"].values():
        platform = component["platform"]
        _fields(component, PLATFORMS[platform], REQUIRED[platform])
        if "device_class" in component:
            assert component["device_class"] in CLASSES[platform]
        assert component.get("entity_category", "config") in CATEGORIES
        for key, value in component.items():
            if key.endswith("_topic"):
                assert value
                assert not set(value) & set("+#\0")
            if key == "icon":
                assert value.startswith("mdi:")
    return message


def _fields(found: dict[str, Any], known: Mapping[str, type], required: set[str]) -> None:
    assert required <= found.keys(), required - found.keys()
    for key, value in found.items():
        assert key in known, f"not documented: {key}"
        assert type(value) is known[key], f"{key}: {value!r}"
