"""A row of the outbox as the bytes that sinks send, also one that an earlier version stored."""

from __future__ import annotations

import json
from typing import Any

from jetson_face.events.ids import id_of_row
from jetson_face.events.making import utc
from jetson_face.events.outbox_rows import Event
from jetson_face.events.schema import SCHEMA, to_json

_OURS = b'{"schema": "jetson-face.event/'


def document(event: Event) -> bytes:
    """The event as one JSON object on one line: what was stored, or that brought to this schema."""
    body = event.body.strip()
    return body if body.startswith(_OURS) else to_json(_from_before(event))


def id_of(event: Event) -> str:
    """The event's id."""
    return str(json.loads(document(event))["id"])


def _from_before(event: Event) -> dict[str, Any]:
    """Rows from before there was a schema had neither an id nor a kind of their own."""
    try:
        old = json.loads(event.body, parse_constant=lambda _: None)
    except ValueError:
        old = event.body.decode("utf-8", "replace")
    fields: dict[str, Any] = old if isinstance(old, dict) else {"body": old}
    head: dict[str, Any] = {
        "schema": SCHEMA,
        "id": id_of_row(event.seq, event.age, event.wall, event.kind),
        "kind": "decided" if event.kind == "decision" else event.kind,
        "time": utc(event.wall),
    }
    if event.kind == "decision":
        head |= {"run": None, "frame": fields.pop("seq", None)}
    # Their time was the frame's, which for a file was made up from its time of change.
    return head | {key: value for key, value in fields.items() if key not in head}
