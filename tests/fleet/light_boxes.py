"""Many light boxes in one process: galleries and agents as on a full one, an outbox and its sink,
and no camera. Run as a program, with a JSON document of `LightBoxes` as the only argument."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import json
import logging
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from jetson_face.core.types import EmbeddingSpace
from jetson_face.events.delivery import Deliverer
from jetson_face.events.ids import new_id
from jetson_face.events.nats import NatsSink
from jetson_face.events.outbox import Outbox
from jetson_face.events.schema import SCHEMA, to_json
from jetson_face.factory.fleet import consumer_of, fleet_of, link_of, subject_of
from jetson_face.fleet import agent, status
from jetson_face.fleet.agent import FleetAgent
from tests.fleet.boxes import Box


@dataclass(frozen=True, slots=True)
class LightBoxes:
    """first, count: their numbers. every_s: an event of each box so often. skew_s: of the clock of
    them all. events_end: a file; while it is there no more events are made."""

    folder: str
    server: str
    site: str
    first: int
    count: int
    model: str
    digest: str
    dim: int
    every_s: float
    skew_s: float
    events_end: str
    more: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return [f"light{number:04}" for number in range(self.first, self.first + self.count)]

    def boxes(self) -> list[Box]:
        space = EmbeddingSpace(self.model, self.digest, self.dim)
        more = ["fleet.groups=[lobby]", "fleet.status_s=10", *self.more]
        return [
            Box(Path(self.folder), self.server, name, *more, site=self.site, space=space)
            for name in self.names
        ]


class Events:
    """Makes events of one box, and sends them."""

    def __init__(self, box: Box, skew_s: float) -> None:
        fleet = fleet_of(box.config)
        self.outbox = Outbox(box.folder / "outbox.db", wall=lambda: time.time() + skew_s)
        sink = NatsSink(
            link_of(fleet, "events"),
            f"{subject_of(fleet)}.events",
            consumer_of(fleet, "events"),
            timeout_s=4,
        )
        self._deliverer = Deliverer("fleet", self.outbox, sink)
        self._due = 0.0

    def make(self) -> None:
        event = {"schema": SCHEMA, "id": new_id(), "kind": "decided", "person": None, "name": None}
        self.outbox.append([("decided", to_json(event))])

    def send(self) -> None:
        if time.monotonic() >= self._due and self.outbox.wait("fleet", 0):
            self._due = time.monotonic() + self._deliverer.step()

    def close(self) -> None:
        self._deliverer.sink.close()
        self.outbox.close()


def events_of(boxes: list[Box], light: LightBoxes) -> None:
    """For ever."""
    senders = [Events(box, light.skew_s) for box in boxes]
    due = prune = time.monotonic()
    while True:
        if time.monotonic() >= due and not Path(light.events_end).exists():
            due = time.monotonic() + light.every_s
            for one in senders:
                one.make()
        if time.monotonic() >= prune:
            prune = time.monotonic() + 5
            for one in senders:
                one.outbox.prune()  # as a service's timer does
        for one in senders:
            one.send()
        time.sleep(0.2)


async def main(light: LightBoxes) -> None:
    status._wall = lambda: time.time() + light.skew_s
    agent._TIMEOUT_S = 20.0
    boxes = light.boxes()
    threading.Thread(target=events_of, args=(boxes, light), daemon=True).start()
    stop = asyncio.Event()
    await asyncio.gather(*(FleetAgent(box.config).run(stop) for box in boxes))


if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR1)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(LightBoxes(**json.loads(sys.argv[1]))))
