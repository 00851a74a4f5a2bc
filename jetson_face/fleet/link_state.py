"""How a box's connection to the hub is: written down by its agent for whoever asks on the box."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from jetson_face.core.errors import OutputError
from jetson_face.util.files import write_file

logger = logging.getLogger(__name__)
FILE = "fleet-link.json"
ENDED = "the box's process for the fleet does not run: see `jetson-face service logs`"


@dataclass(frozen=True, slots=True)
class LinkState:
    """since: UTC seconds at which the connection was made, or was found to be lost. error: why
    there is none. waiting: by scope, how many entries of the log of people the hub has for this box
    that are not in its gallery, as far as it has heard of them since the connection was made. pid:
    of the agent."""

    connected: bool
    since: float
    error: str = ""
    waiting: Mapping[str, int] = field(default_factory=dict)
    pid: int = 0


class LinkJournal:
    """What the agent writes, at each change. A disk that takes nothing stops nobody."""

    def __init__(self, folder: Path, wall: Callable[[], float] = time.time) -> None:
        self._path, self._wall = folder / FILE, wall
        self._state: LinkState | None = None

    def made(self) -> None:
        """There is a connection from now on."""
        self._keep(LinkState(True, self._wall(), pid=os.getpid()))

    def lost(self, error: str) -> None:
        """There is none; since when, the first such call says."""
        before = self._state
        since = self._wall() if before is None or before.connected else before.since
        self._keep(LinkState(False, since, error[:300], pid=os.getpid()))

    def heard(self, scope: str, waiting: int) -> None:
        """So many entries of a scope are still to come."""
        if self._state is not None and self._state.connected:
            self._keep(replace(self._state, waiting={**self._state.waiting, scope: waiting}))

    def _keep(self, state: LinkState) -> None:
        if state == self._state:
            return
        self._state = state
        try:
            write_file(self._path, json.dumps(asdict(state)) + "\n", mode=0o600)
        except OutputError as error:
            logger.warning("fleet_link_not_kept error=%s", error)


def read_link(folder: Path) -> LinkState:
    """What the agent of a box wrote last; one that does not run has no connection."""
    try:
        found = LinkState(**json.loads((folder / FILE).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return LinkState(False, 0.0, ENDED)
    if found.connected and not _runs(found.pid):
        return replace(found, connected=False, error=ENDED, waiting={})
    return found


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (OSError, OverflowError):
        return False
    return pid > 0
