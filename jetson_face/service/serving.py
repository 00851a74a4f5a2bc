"""`serve`: one service, alone in its state folder, with what it starts beside itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from jetson_face.config import Config
from jetson_face.service.daemon import Daemon
from jetson_face.service.fleet_process import fleet_process
from jetson_face.service.lock import state_lock
from jetson_face.service.recent import RecentErrors
from jetson_face.service.signals import Signals


def serve(
    load: Callable[[], Config], control: Sequence[str] = (), fleet: Sequence[str] = ()
) -> int:
    """Recognise until SIGTERM or SIGINT; SIGHUP reloads by `load`. control: see ControlGate. fleet:
    starts this box's part in its fleet, where the configuration names one.

    Raises ConfigError, StateLockedError, and what building the parts raises.
    """
    config = load()
    logging.getLogger("jetson_face").setLevel(config.log_level)
    with state_lock(config.state_dir), _recorded() as recent, Signals() as signals:
        daemon = Daemon(config, load, recent, signals, control)
        try:
            with fleet_process(() if config.fleet is None else fleet):
                daemon.run()
        finally:
            daemon.close()
    return 0


@contextmanager
def _recorded() -> Iterator[RecentErrors]:
    recent = RecentErrors()
    root = logging.getLogger("jetson_face")
    root.addHandler(recent)
    try:
        yield recent
    finally:
        root.removeHandler(recent)
