"""The process behind the control socket: started when somebody asks, ends when nobody does.

It has the gallery's key, as the service has, and none of its frames: whatever a request costs, or
breaks, the recogniser goes on.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pwd
import select
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import closing

from jetson_face.service.control.desk import Desk
from jetson_face.service.control.doctoring import Doctoring
from jetson_face.service.control.fleet_routes import FleetRoutes, MakeRoutes
from jetson_face.service.control.http import ControlServer, Route
from jetson_face.service.control.measuring import Measuring
from jetson_face.service.control.people import People
from jetson_face.service.control.permission import Permission
from jetson_face.service.control.pictures import Pictures
from jetson_face.service.control.records import Records
from jetson_face.service.control.reviewing import Reviewing
from jetson_face.service.control.settings import Settings
from jetson_face.service.control.thresholds import Thresholds
from jetson_face.service.control.unknown_people import UnknownPeopleDesk
from jetson_face.service.install_web import WEB_USER
from jetson_face.service.page_settings import PageSettings

logger = logging.getLogger(__name__)
IDLE_S = 900.0


class ControlAnswers:
    """Everything that the control socket answers. words: the options of the commands that measure,
    which give them the configuration of this service. fleet: see FleetRoutes."""

    def __init__(
        self,
        settings: PageSettings,
        words: Sequence[str] = (),
        fleet: MakeRoutes = lambda desk: (),
    ) -> None:
        desk = Desk(settings.load)

        def options() -> list[str]:
            changed = settings.read(desk.config.state_dir)
            plain = [f"{key}={json.dumps(value)}" for key, value in changed.items()]
            return [*words, *(word for text in plain for word in ("--set", text))]

        self.measuring = Measuring(desk, options)
        parts = (
            People(desk),
            Permission(desk),
            Pictures(desk),
            Reviewing(desk),
            Records(desk),
            Settings(desk, settings),
            Thresholds(desk),
            UnknownPeopleDesk(desk),
            self.measuring,
            Doctoring(options),
            FleetRoutes(desk, fleet),
        )
        self.routes: list[Route] = [route for part in parts for route in part.routes]


def serve_control(
    settings: PageSettings,
    listener_fd: int,
    parent_fd: int,
    words: Sequence[str] = (),
    fleet: MakeRoutes = lambda desk: (),
) -> int:
    """Answer until nobody asked for a while, or the service went away.

    listener_fd: the listening Unix socket. parent_fd: the reading end of a pipe whose other end
    only the service has. words, fleet: see ControlAnswers.
    """
    listener = socket.socket(fileno=listener_fd)
    listener.setblocking(False)
    answers = ControlAnswers(settings, words, fleet)
    server = ControlServer(listener, answers.routes, allowed_users())
    logger.info("control_started pid=%s", os.getpid())
    with closing(answers.measuring) as measuring, _ends_by_exception():
        while True:
            ready, _, _ = select.select([listener_fd, parent_fd], [], [], 5.0)
            if parent_fd in ready:
                return 0
            if listener_fd in ready:
                server._handle_request_noblock()  # type: ignore[attr-defined]
            elif measuring.busy or server.busy:
                continue
            elif time.monotonic() - server.last_used > IDLE_S:
                logger.info("control_ended idle_s=%g", IDLE_S)
                return 0


@contextlib.contextmanager
def _ends_by_exception() -> Iterator[None]:
    """SIGTERM, which the service sends at its end, ends what is measured, too."""

    def end(number: int, frame: object) -> None:
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def allowed_users() -> frozenset[int]:
    """Who may ask: the service's own user, and the page's."""
    found = {os.geteuid()}
    with contextlib.suppress(KeyError):  # where the page is not installed on this box
        found.add(pwd.getpwnam(WEB_USER).pw_uid)
    return frozenset(found)
