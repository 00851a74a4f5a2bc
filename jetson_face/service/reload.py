"""A changed configuration comes into force while the service runs, or is refused."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

from jetson_face.config import Config
from jetson_face.core.errors import ConfigError, JetsonFaceError

logger = logging.getLogger(__name__)
_WAIT_S = 2.0


@dataclass(frozen=True, slots=True)
class ReloadState:
    """request: the number of the last reload that is done. error: why it was refused, None when
    it was not. message: what it did."""

    request: int = 0
    error: str | None = None
    message: str = ""


class Reloader:
    """Does one reload after another in a thread of its own.

    load: reads and checks the configuration. apply: puts it in force, or raises and leaves the old
    one; returns what to tell people.
    """

    def __init__(self, load: Callable[[], Config], apply: Callable[[Config], str]) -> None:
        self._load, self._apply = load, apply
        self._cond = threading.Condition()
        self._asked = 0
        self.state = ReloadState()

    def request(self) -> int:
        """Ask for a reload; returns its number. Not from a signal handler."""
        with self._cond:
            self._asked += 1
            self._cond.notify_all()
            return self._asked

    @property
    def busy(self) -> bool:
        """A reload was asked for and is not done."""
        return self._asked > self.state.request

    def wake(self) -> None:
        """Let `run` look whether it should stop."""
        with self._cond:
            self._cond.notify_all()

    def run(self, stop: threading.Event) -> None:
        """The thread's loop; `wake` ends a wait once `stop` is set."""
        while not stop.is_set():
            with self._cond:
                self._cond.wait_for(lambda: self.busy or stop.is_set(), _WAIT_S)
                number = self._asked
            if self.busy:
                self.step(number)

    def step(self, number: int) -> None:
        """Reload once; several requests that came together are one."""
        try:
            message = self._apply(self._load())
        except JetsonFaceError as error:
            self._refuse(number, str(error))
        except Exception as error:
            # A bug in building the new must not end what works.
            logger.exception("reload_failed")
            self._refuse(number, f"{type(error).__name__}: {error}")
        else:
            logger.info("reloaded %s", message)
            self.state = ReloadState(number, None, message)

    def _refuse(self, number: int, error: str) -> None:
        logger.error("reload_refused goes_on_with=old error=%s", error)
        self.state = ReloadState(number, error)


_FIXED = (
    "state_dir",
    "service.status_socket",
    "service.status_port",
    "service.retention",
    "service.crops",
    "service.review",
    "unknown.remember",
    "unknown.people_max",
    "report.history_days",
    "report.history_mib",
    "gallery.encrypt",
    "privacy.use_days",
    "fleet",
)
"""What is read when the service starts, and never again."""


def check_reloadable(old: Config, new: Config) -> None:
    """Raises ConfigError for changes that need a restart of the service, and for cameras and sinks
    that are gone without a word: half a file is valid YAML, too."""
    if "sources" in old.model_fields_set and "sources" not in new.model_fields_set:
        raise ConfigError(
            f"the file names no sources any more, which would be camera {new.sources[0].uri}: was "
            "it cut off? Write `sources`, or restart the service"
        )
    if old.service.sinks and "sinks" not in new.service.model_fields_set:
        raise ConfigError(
            "the file names no sinks any more: was it cut off? Write `service: {sinks: []}` to "
            "have none"
        )
    changed = [key for key in _FIXED if attrgetter(key)(old) != attrgetter(key)(new)]
    if changed:
        raise ConfigError(
            f"{', '.join(changed)} cannot change while running: systemctl restart jetson-face"
        )


def needs_new_loop(old: Config, new: Config) -> bool:
    """Sources, report or sinks changed, or how many cameras are searched together: the loop ends
    after the frame in work and starts again."""
    keys = ("sources", "report", "service", "sampling.together")
    return any(attrgetter(key)(old) != attrgetter(key)(new) for key in keys)
