"""A bake-off's work folder: what was measured stays, and is measured again only where its inputs
changed."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jetson_face.evaluation.detection_cache import DetectionCache
from jetson_face.evaluation.report import write_json

_log = logging.getLogger(__name__)


class Work:
    """The folder, or none: then nothing is kept. Raises OutputError where it cannot be used."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self.detection_cache = None if folder is None else DetectionCache(folder / "found.sqlite")

    def recall(self, name: str, key: str) -> Any:
        """What was kept under that name, if its inputs are still the same; else None."""
        if self._folder is None:
            return None
        path = self._path(name)
        try:
            held = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            _log.warning("%s: left out, not what a bake-off keeps: %s", path, error)
            return None
        same = isinstance(held, dict) and held.get("key") == key
        return held.get("value") if same else None

    def keep(self, name: str, key: str, value: Any) -> None:
        """Remember it. Raises OutputError."""
        if self._folder is not None:
            write_json(self._path(name), {"key": key, "value": value})

    def close(self) -> None:
        """Write what waits."""
        if self.detection_cache is not None:
            self.detection_cache.close()

    def _path(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / (re.sub(r"[^\w.-]", "_", name) + ".json")


class Pace:
    """How far all rows are, and when they will be done.

    rows: to be measured; those that were kept do not count.
    """

    def __init__(
        self,
        rows: int,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rows, self._say, self._clock = rows, say, clock
        self._done = 0
        self._began = clock()

    def row(self, name: str) -> Callable[[int, int], None]:
        """What a row calls with pictures looked at, and those in all."""

        def progress(done: int, total: int) -> None:
            left = self.left(done / max(total, 1))
            self._say(f"{name} ({self._done + 1} of {self._rows}): {done}/{total}, {left}")

        return progress

    def next(self) -> None:
        """A row is done."""
        self._done += 1

    def left(self, share: float = 0.0) -> str:
        """Time until all rows are done, in words; share: of the row in hand."""
        done = (self._done + share) / max(self._rows, 1)
        if done <= 0:
            return "time left unknown"
        seconds = (self._clock() - self._began) * (1 - done) / done
        return f"{seconds:.0f} s left" if seconds < 90 else f"{seconds / 60:.0f} min left"
