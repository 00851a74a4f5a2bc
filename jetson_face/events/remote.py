"""What is sent of an event, to whichever receiver."""

from __future__ import annotations

import json

from jetson_face.events.outbox import Event


def document(event: Event) -> bytes:
    """An event as one JSON object: its body, with `seq`, `kind` and `wall` added."""
    head = json.dumps({"seq": event.seq, "kind": event.kind, "wall": round(event.wall, 3)})
    body = event.body.strip()
    if not body.startswith(b"{"):
        return (head[:-1] + ', "body": ').encode() + body + b"}"
    inner = body[1:].lstrip()
    return head[:-1].encode() + (b", " if inner != b"}" else b"") + inner
