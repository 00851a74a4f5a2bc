"""The settings in force, and what a page may change of them: checked, compared, applied."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from jetson_face.calibration.stored import read_calibration
from jetson_face.config import Config
from jetson_face.core.errors import ConfigError, JetsonFaceError
from jetson_face.service.control.desk import Desk, same_person_min
from jetson_face.service.control.http import ControlError, ControlRequest, Reply, Route
from jetson_face.service.erasure import audit_log
from jetson_face.service.page_settings import PageSettings, may_change
from jetson_face.service.reload import check_reloadable, needs_new_loop
from jetson_face.service.status_server import ask
from jetson_face.util.redact import redact_address, redact_values

_RELOAD_S = 60.0
_KEYS = {
    "detection_interval": "sampling.interval",
    "search_max_side_px": "detector.max_side_px",
    "similarity_min": "matching.similarity_min",
}
"""What the settings call what `/tuning` shows."""


class Settings:
    """`/settings` and `/tuning`."""

    def __init__(self, desk: Desk, settings: PageSettings) -> None:
        self._desk, self._settings = desk, settings
        self.routes: tuple[Route, ...] = (
            ("GET", "/settings", self.show),
            ("GET", "/settings/schema", self.schema),
            ("POST", "/settings/check", self.check),
            ("POST", "/settings", self.apply),
            ("GET", "/tuning", self.tuning),
        )

    def show(self, request: ControlRequest) -> Reply:
        """Every key with its value in force, without secrets, and what the page changed."""
        config = self._desk.config
        values = redact_values(flat(config), redact_address)
        return Reply.of({"values": values, "changed": self._settings.read(config.state_dir)})

    def schema(self, request: ControlRequest) -> Reply:
        """The JSON Schema of the configuration."""
        return Reply.of(Config.model_json_schema())

    def check(self, request: ControlRequest) -> Reply:
        """Whether changes are valid, and what they would change; nothing is applied."""
        wanted = _changes(request)
        old = self._desk.config
        try:
            new = self._settings.tried(self._merged(old, wanted))
            check_reloadable(old, new)
        except ConfigError as error:
            return Reply.of({"valid": False, "errors": str(error).split("\n"), "diff": []})
        diff = difference(old, new)
        return Reply.of(
            {"valid": True, "errors": [], "diff": diff, "restarts": needs_new_loop(old, new)}
        )

    def apply(self, request: ControlRequest) -> Reply:
        """Keep the changes and let the service take them over; refused ones leave all as it was."""
        wanted = _changes(request)
        old = self._desk.config
        before = self._settings.read(old.state_dir)
        changes = self._merged(old, wanted)
        try:
            new = self._settings.tried(changes)
            check_reloadable(old, new)
        except ConfigError as error:
            raise ControlError(422, "not valid", errors=str(error).split("\n")) from None
        self._settings.write(old.state_dir, changes)
        try:
            message = self._reloaded()
        except (JetsonFaceError, ControlError):
            self._settings.write(old.state_dir, before)
            raise
        diff = difference(old, new)
        audit_log(new).record(
            "settings_changed",
            person="",
            name="",
            details={"changes": {one["key"]: [one["before"], one["after"]] for one in diff}},
        )
        return Reply.of({"message": message, "diff": diff})

    def tuning(self, request: ControlRequest) -> Reply:
        """What is in force: N, the searched image's size, the threshold and where it is from, and
        the measured rates of now."""
        config = self._desk.config
        calibration = None
        least, origin = config.matching.similarity_min, "settings"
        if config.gallery_path.exists():
            with self._desk.gallery() as (_, store):
                known = read_calibration(store)
                if known is not None:
                    calibration = json.loads(known.as_json())
                    if least is None:
                        least, origin = known.similarity_min, "calibration"
        if least is None:
            least, origin = same_person_min(config), "model"
        status = self._desk.status()
        return Reply.of(
            {
                "calibration": calibration,
                "keys": _KEYS,
                "detection_interval": config.sampling.interval,
                "auto": config.sampling.auto is not None,
                "search_max_side_px": config.detector.max_side_px,
                "similarity_min": least,
                "similarity_from": origin,
                "method": config.matching.method,
                "rates": status.get("rates", {}),
                "stages_p95_ms": status.get("stages_p95_ms", {}),
                "cameras": status.get("cameras", {}),
            }
        )

    def _merged(self, config: Config, wanted: Mapping[str, Any]) -> dict[str, Any]:
        merged = {**self._settings.read(config.state_dir), **wanted}
        return {key: value for key, value in merged.items() if value is not None}

    def _reloaded(self) -> str:
        """Ask for a reload and wait for it. Raises ControlError where it was refused."""
        socket = self._desk.config.status_socket
        asked = json.loads(ask(socket, "/reload", "POST").body)
        end = time.monotonic() + _RELOAD_S
        while time.monotonic() < end:
            state = self._desk.status().get("reload", {})
            if state.get("request", 0) >= asked["request"]:
                if state.get("error"):
                    raise ControlError(409, f"the service refused it: {state['error']}")
                return str(state.get("message", ""))
            time.sleep(0.1)
        raise ControlError(503, f"the service did not reload in {_RELOAD_S:g} s")


def flat(config: Config) -> dict[str, Any]:
    """Every key with its value, nested ones joined by dots."""
    found: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for key, part in value.items():
                walk(f"{prefix}.{key}" if prefix else key, part)
        elif isinstance(value, list) and any(isinstance(part, dict) for part in value):
            for index, part in enumerate(value):
                walk(f"{prefix}.{index}", part)
        else:
            found[prefix] = value

    walk("", config.model_dump(mode="json"))
    return found


def difference(old: Config, new: Config) -> list[dict[str, Any]]:
    """The keys whose values differ, without secrets."""
    one, other = (redact_values(flat(each), redact_address) for each in (old, new))
    keys = sorted({*one, *other})
    return [
        {"key": key, "before": one.get(key), "after": other.get(key)}
        for key in keys
        if one.get(key) != other.get(key)
    ]


def _changes(request: ControlRequest) -> dict[str, Any]:
    given = request.document().get("changes")
    if not isinstance(given, dict) or not 1 <= len(given) <= 100:
        raise ControlError(422, "changes is an object of 1 to 100 keys; null takes a change back")
    for key, value in given.items():
        if not may_change(key):
            raise ControlError(422, f"{key[:80]} cannot be changed here: edit the file on the box")
        if not isinstance(value, (str, int, float, bool, type(None))):
            raise ControlError(422, f"{key} takes a number, a text, true, false or null")
    return given
