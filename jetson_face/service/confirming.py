"""Asking the service that runs whether it still knows somebody who was erased."""

from __future__ import annotations

import json
import time

from jetson_face.config import Config
from jetson_face.core.errors import InputMissingError, JetsonFaceError
from jetson_face.gallery.store import GalleryStore
from jetson_face.service.http import Page
from jetson_face.service.lock import holder
from jetson_face.service.status_server import ask

LIMIT_S = 10.0
_BETWEEN_S = 0.2
_SETTLE_S = 1.0


def confirm(config: Config, gallery: GalleryStore) -> str:
    """Let a running service read the gallery as it is now: after that it names nobody who is not in
    it, and what it decided before is on its way to the disk, which this waits for. What came of it,
    for the receipt: `none runs`, `confirmed`, or `not confirmed: ` and why."""
    wanted = gallery.revision()
    end = time.monotonic() + LIMIT_S
    while True:
        try:
            why = _why_not(ask(config.status_socket, "/gallery", "POST"), gallery.id, wanted)
        except InputMissingError:
            process = holder(config.state_dir)
            if process is None:
                return "none runs"
            why = f"it runs (pid {process}) and does not answer at {config.status_socket}"
        except JetsonFaceError as error:
            why = str(error)
        if why is None:
            time.sleep(_SETTLE_S)
            return "confirmed"
        if time.monotonic() > end:
            return f"not confirmed: {why}"
        time.sleep(_BETWEEN_S)


def _why_not(page: Page, gallery: str, generation: int) -> str | None:
    """Why the answer does not say that the service reads this gallery as it is now, or None."""
    try:
        found = json.loads(page.body)
        if page.status != 200 or not isinstance(found, dict):
            raise ValueError
    except ValueError:
        said = page.body.decode("utf-8", "replace").strip()
        return f"it answered {page.status}: {said:.200}"
    if found.get("id") == gallery and int(found.get("generation", 0)) >= generation:
        return None
    return str(found.get("error") or "it reads another gallery")
