"""Forms that answers of the control socket share."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from jetson_face.core.types import ImageU8
from jetson_face.service.control.http import Reply
from jetson_face.util.images import encode_jpeg


def when(utc_s: float) -> str:
    """UTC seconds as ISO 8601."""
    moment = datetime.fromtimestamp(utc_s, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def page(items: list[dict[str, Any]], cursor: str | None) -> Reply:
    """One page of a list. cursor: what asks for the next one, None at the end."""
    return Reply.of({"items": items, "next": cursor})


def picture(image: ImageU8, quality: int = 90) -> Reply:
    """(H, W, 3) uint8 BGR as JPEG."""
    return Reply(200, encode_jpeg(image, quality=quality), "image/jpeg")
