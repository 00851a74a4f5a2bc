"""What a fleet costs: bytes of an event, a person and a report of a box on the hub, messages and
processor time of idle boxes, processor time to send and to take people.

python tools/bench_fleet.py [--boxes 50] [--people 500] [--idle-s 60]

Needs nats-server, the extra `fleet` and the tests beside this folder; no camera and no GPU. Faces
are noise of a portrait's size, which JPEG makes larger than a face: bytes of people are of a
photograph (scikit-image's, extra `demo`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jetson_face.core.types import Report
from jetson_face.events.making import EventMaker
from jetson_face.events.schema import to_json
from jetson_face.factory.networks import build_embedder
from jetson_face.factory.parts import open_gallery
from jetson_face.fleet import operator
from jetson_face.gallery.replicated import record_of
from tests.events.event_help import ADA, sighting
from tests.fleet.boxes import Box, running, template
from tests.fleet.light_boxes import Events
from tests.fleet.nats_server import NatsServer, free_port


def facts_of(port: int) -> dict[str, Any]:
    """What the server says of itself."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/varz", timeout=5) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def cpu_s(pid: int) -> float:
    """Processor time of a process, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stored(box: Box, stream: str) -> tuple[int, int]:
    """Messages and bytes of a stream on the hub."""

    async def work(server: operator.FleetOperator) -> tuple[int, int]:
        state = (await server._stream.stream_info(stream)).state
        return int(state.messages), int(state.bytes)

    found: tuple[int, int] = operator.run(box.config, work)
    return found


def bytes_of_events(box: Box) -> str:
    """Events as a camera's are, with a name in each second one."""
    maker, made = EventMaker({"door"}), []
    for seq in range(200):
        one = sighting(person=ADA) if seq % 2 else sighting("unknown")
        report = Report("door", seq, seq, 1.8e9 + seq, (160, 120), (one,), {}, True)
        made += maker.of(report)
    events = Events(box, 0.0)
    with closing(events):
        events.outbox.append([(event["kind"], to_json(event)) for event in made])
        while events.outbox.wait("fleet", 0):
            events.send()
    count, size = stored(box, "EVENTS")
    return f"an event: {size / count:.0f} bytes on the hub's disk ({count} of them)"


def bytes_of_people(folder: Path, server: str) -> list[str]:
    """A real portrait as `enroll` keeps it."""
    import skimage

    from jetson_face.cli.main import main

    photo = Path(skimage.__file__).parent / "data" / "astronaut.png"
    found = build_embedder(Box(folder, server, "none").config)
    box = Box(folder, server, "real", space=found.space)
    found.close()
    assert main(["fleet", "people", "add", "Eileen Collins", str(photo), *box.words]) == 0
    ((one,),) = (operator.run(box.config, lambda s: s.people()),)
    return [f"a person with one photo: {one.size} bytes, sealed"]


def filled(desk: Box, boxes: list[Box], people: int) -> list[str]:
    """Send made people to all boxes, and wait."""
    with open_gallery(desk.config) as gallery:
        with gallery.transaction():
            for number in range(people):
                person = gallery.add_person(f"Person {number}")
                gallery.add_template(person, template(number))

        async def send(server: operator.FleetOperator) -> None:
            for number in range(people):
                await server.send(record_of(gallery, f"Person {number}"), "all")

        begun = time.process_time()
        operator.run(desk.config, send)
        sending = time.process_time() - begun
    lines = [f"sending a person: {1000 * sending / people:.1f} ms of one core"]
    begun = time.process_time()
    with running(*boxes):
        while caught_up(desk, people) < len(boxes):
            time.sleep(1)
        taking = (time.process_time() - begun) / people / len(boxes)
        return [*lines, f"taking a person: {1000 * taking:.1f} ms of one core of a box"]


def caught_up(desk: Box, people: int) -> int:
    """Boxes that have everybody."""
    seen = operator.run(desk.config, lambda server: server.boxes())
    return sum(one.status.positions.get("all", 0) >= people for one in seen)


def idle(boxes: list[Box], port: int, seconds: float) -> list[str]:
    """What boxes that have nothing to do ask of the hub."""
    with running(*boxes):
        time.sleep(15)
        before, own, pid = facts_of(port), time.process_time(), server_pid(port)
        cpu = cpu_s(pid)
        time.sleep(seconds)
        after, cpu, own = facts_of(port), cpu_s(pid) - cpu, time.process_time() - own
    each = len(boxes) * seconds / 3600
    came = after["in_msgs"] - before["in_msgs"]
    went = after["out_msgs"] - before["out_msgs"]
    size = after["in_bytes"] + after["out_bytes"] - before["in_bytes"] - before["out_bytes"]
    return [
        f"an idle box, an hour: {came / each:.0f} messages to the hub and {went / each:.0f} from "
        f"it, {size / each / 1000:.0f} kB; {cpu / each:.2f} s of the hub's processor, "
        f"{own / each:.2f} s of the box's",
        f"the hub's memory with {len(boxes)} boxes: {after['mem'] / 1e6:.0f} MB",
    ]


def server_pid(port: int) -> int:
    """The process that listens there."""
    import psutil

    (found,) = {
        one.pid
        for one in psutil.net_connections("tcp")
        if one.status == "LISTEN" and one.laddr.port == port and one.pid
    }
    return int(found)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boxes", type=int, default=50)
    parser.add_argument("--people", type=int, default=500)
    parser.add_argument("--idle-s", type=float, default=60)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        hub = NatsServer(folder / "hub", f'http: "127.0.0.1:{port}"\n')
        try:
            desk = Box(folder, hub.url, "desk")
            operator.run(desk.config, lambda s: s.set_up(keep_days=30, max_mib=None))
            print(bytes_of_events(desk))
            print(*bytes_of_people(folder, hub.url), sep="\n")
            operator.run(desk.config, purge_people)
            more = ("fleet.status_s=30",)
            boxes = [Box(folder, hub.url, f"b{n:04}", *more) for n in range(args.boxes)]
            print(*filled(desk, boxes, args.people), sep="\n")
            count, size = stored(desk, "STATUS")
            print(f"a report of a box: {size / count:.0f} bytes")
            print(*idle(boxes, port, args.idle_s), sep="\n")
        finally:
            hub.stop()


async def purge_people(server: operator.FleetOperator) -> None:
    """The real one would be held by boxes with a made network."""
    await server._stream.purge_stream("PEOPLE")


if __name__ == "__main__":
    main()
