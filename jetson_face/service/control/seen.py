"""When and where somebody was seen last, by the history."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from jetson_face.config import Config
from jetson_face.core.errors import JetsonFaceError
from jetson_face.service.history import read_history


def last_seen(config: Config) -> dict[str, dict[str, Any]]:
    """By person (id); empty where no history can be read, which the status says."""
    try:
        with closing(read_history(config)) as history:
            found = history.last_seen()
    except JetsonFaceError:
        return {}
    return {person: _plain(event) for person, event in found.items()}


def _plain(event: dict[str, Any]) -> dict[str, Any]:
    gone = event["kind"] == "left"
    return {
        "time": event["last_seen"]["time"] if gone else event["time"],
        "source": event["source"],
        "event": event["id"],
        "here": not gone,
    }
