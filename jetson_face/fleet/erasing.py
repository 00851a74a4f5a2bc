"""An erasure that came over the fleet, done on this box, and what is told of it."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from jetson_face.config import Config
from jetson_face.core.errors import UsageError
from jetson_face.fleet.applying import ACTOR
from jetson_face.gallery.store import GalleryStore
from jetson_face.privacy.audit import Receipt, acting_as, current_actor, utc
from jetson_face.service.confirming import confirm
from jetson_face.service.erasure import erase


def erase_here(config: Config, store: GalleryStore, person: str) -> Receipt:
    """Erase a person (id) as `people remove` does; where that was done before, its receipt; where
    nothing of them was here, one that says so. Raises what erasing raises."""
    with acting_as(ACTOR):
        with suppress(UsageError):  # they are not here
            return erase(config, store, person)[0]
        before = last_receipt(config.state_dir / "receipts", person)
        return before or Receipt(
            person=person,
            name="",
            time=utc(),
            actor=current_actor(),
            templates=0,
            portraits=0,
            crops=(),
            review_items=0,
            verified=(),
            service=confirm(config, store),
        )


def last_receipt(folder: Path, person: str) -> Receipt | None:
    """The newest complete receipt for a person (id)."""
    known = {field.name for field in fields(Receipt)}
    for path in sorted(folder.glob(f"removed-{person}-*.json"), reverse=True):
        try:
            plain = json.loads(path.read_text("utf-8"))
            kept: dict[str, Any] = {key: _tuple(plain[key]) for key in known & plain.keys()}
            found = Receipt(**kept)
        except (OSError, ValueError, TypeError):
            continue
        if found.complete:
            return found
    return None


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
