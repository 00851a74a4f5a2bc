"""Forms that answers of the control socket share."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from jetson_face.core.types import ImageU8
from jetson_face.service.control.http import ControlError, ControlRequest, Reply
from jetson_face.util.images import encode_jpeg


def when(utc_s: float) -> str:
    """UTC seconds as ISO 8601."""
    moment = datetime.fromtimestamp(utc_s, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def page(items: list[dict[str, Any]], cursor: str | None) -> Reply:
    """One page of a list. cursor: what asks for the next one, None at the end."""
    return Reply.of({"items": items, "next": cursor})


def cut_page(request: ControlRequest, rows: list[dict[str, Any]], key: str) -> Reply:
    """The page of `rows` that the request asks for; its cursor is `key` of the last row before.

    Raises ControlError where no row has it.
    """
    limit, after = request.number("limit", 100, 500), request.query.get("cursor")
    keys = [row[key] for row in rows]
    if after is not None and after not in keys:
        raise ControlError(400, "this cursor is of a list that changed: begin again")
    start = 0 if after is None else keys.index(after) + 1
    part = rows[start : start + limit]
    return page(part, part[-1][key] if start + limit < len(rows) else None)


def text_in(document: dict[str, Any], key: str) -> str:
    """A text that a request must have. Raises ControlError."""
    value = document.get(key)
    if not isinstance(value, str):
        raise ControlError(422, f"{key} is missing, or no text")
    return value


def picture(image: ImageU8, quality: int = 90) -> Reply:
    """(H, W, 3) uint8 BGR as JPEG."""
    return Reply(200, encode_jpeg(image, quality=quality), "image/jpeg")
