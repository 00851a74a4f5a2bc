"""`/fleet…`: answered by the part that knows fleets, which is imported where one is configured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from jetson_face.service.control.desk import Desk
from jetson_face.service.control.http import ControlError, ControlRequest, Reply, Route, answer

MakeRoutes: TypeAlias = Callable[[Desk], Sequence[Route]]


class FleetRoutes:
    """make: the routes, asked once, when the first request comes."""

    def __init__(self, desk: Desk, make: MakeRoutes) -> None:
        self._desk, self._make = desk, make
        self._made: Sequence[Route] | None = None
        self.routes: tuple[Route, ...] = tuple(
            (method, r"/fleet(?:/.*)?", self.ask) for method in ("GET", "POST", "DELETE")
        )

    def ask(self, request: ControlRequest) -> Reply:
        """Without a fleet there is nothing but that answer."""
        if self._desk.config.fleet is None:
            if (request.method, request.path) == ("GET", "/fleet"):
                return Reply.of({"configured": False, "here": None})
            raise ControlError(
                404, "this box belongs to no fleet: set `fleet` (server, site, key) in its file"
            )
        if self._made is None:
            self._made = self._make(self._desk)
        return answer(self._made, request)
