"""A fleet of many boxes that everything happens to: a hub, two leaves, three full services, light
boxes, each machine in a network namespace. Run as a program in the hub's namespace, with a JSON
document of `Setting` as the only argument; prints what was measured as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from jetson_face.cli.main import main as command
from jetson_face.config import Config, load_config
from jetson_face.config.fleet import FLEET
from jetson_face.core.errors import JetsonFaceError
from jetson_face.core.types import EmbeddingSpace
from jetson_face.events.nats_link import fresh_consumer
from jetson_face.events.outbox import Outbox
from jetson_face.events.redaction import NOBODY
from jetson_face.factory.networks import build_embedder
from jetson_face.factory.parts import open_gallery
from jetson_face.fleet import operator
from jetson_face.fleet.status import SeenBox
from jetson_face.fleet.subjects import PEOPLE, people_of
from jetson_face.gallery.replicated import record_of
from jetson_face.gallery.templates import TemplateRows
from jetson_face.service.plumbing import build_deliverers
from jetson_face.service.status_server import ask
from jetson_face.util.images import read_picture, write_picture
from tests.fleet.boxes import Box, template
from tests.fleet.light_boxes import LightBoxes
from tests.fleet.nats_server import NatsServer

SCOPES = ("all", "site-north", "site-south", "group-main", "group-lobby")
_ALL = 10_000_000


@dataclass(frozen=True, slots=True)
class Setting:
    """folder: for everything. light: light boxes. people: how many are sent. run_in: by machine,
    the words before a command there. addresses: by machine. switch: the bridge's namespace; ports:
    of it, by machine. face: a photo of somebody whom the cameras see."""

    folder: str
    light: int
    people: int
    run_in: dict[str, list[str]]
    addresses: dict[str, str]
    switch: str
    face: str
    seed: int = 1


def say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def until(what: str, true: Callable[[], object], limit_s: float) -> float:
    """Wait; returns the seconds."""
    begun = time.monotonic()
    while not true():
        if time.monotonic() - begun > limit_s:
            raise AssertionError(f"not in {limit_s:g} s: {what}")
        time.sleep(0.3)
    took = time.monotonic() - begun
    say(f"{what}: {took:.1f} s")
    return took


class Full:
    """A full service on a machine of its own, with a camera that sees somebody again and again."""

    def __init__(self, setting: Setting, name: str, site: str, server: str, every: int) -> None:
        self.folder = Path(setting.folder) / name
        self.name, self.site, self.state = name, site, self.folder / "state"
        self._words = setting.run_in[name]
        self.folder.mkdir()
        faces = Path(setting.folder) / "faces"
        lost = ",".join(f"disconnect@{at}:1" for at in range(every, 40_000, every))
        camera = f"test://?live=1&frames=1000000&fps=4&width=320&height=320&faces={faces}"
        document = {
            "state_dir": str(self.state),
            "sources": [{"uri": f"{camera}&faults={lost}", "name": "door"}],
            "detector": {"type": "mtcnn", "min_face_px": 40, "max_side_px": 320},
            "sampling": {"interval": 2},
            "backend": {"type": "onnxruntime", "threads": 1},
            "report": {"history_crops": False},
            "fleet": {
                "server": server, "site": site, "box": name, "groups": ["main", "lobby"],
                "key": f"{setting.folder}/fleet.key", "status_s": 2,
            },
        }  # fmt: skip
        self.config_path = self.folder / "config.yaml"
        self.config_path.write_text(yaml.safe_dump(document))
        self.config = load_config(self.config_path)
        self._process: subprocess.Popen[bytes] | None = None
        self.lost_with_disk: set[str] = set()
        self.sent_before: set[str] = set()

    def start(self) -> None:
        words = [*self._words, sys.executable, "-m", "jetson_face", "service", "run"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*words, "-c", str(self.config_path)],
                stderr=log,
                env={**os.environ, "XDG_CACHE_HOME": str(self.folder / "cache")},
            )

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def status(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(ask(self.state / "status.sock", "/status").body)
        except (JetsonFaceError, ValueError):
            return {}
        return found

    @property
    def ready(self) -> bool:
        return bool(self.status().get("ready"))

    def lose_disk(self) -> None:
        """With every event that it had not sent."""
        self.kill()
        with closing(Outbox(self.state / "outbox.db")) as outbox:
            outbox.subscribe("fleet")
            events = outbox.since(0, _ALL)
            left = {one.seq for one in outbox.read("fleet", _ALL)}
        known = {json.loads(one.body)["id"]: one.seq for one in events}
        self.sent_before |= {key for key, seq in known.items() if seq not in left}
        self.lost_with_disk |= {key for key, seq in known.items() if seq in left}
        for folder in (self.state, self.folder / "cache"):
            while folder.exists():  # a child sees its parent's end, and closes files meanwhile
                shutil.rmtree(folder, ignore_errors=True)


class Light:
    """A process of light boxes on a leaf's machine."""

    def __init__(self, setting: Setting, machine: str, light: LightBoxes) -> None:
        self.light, self._words = light, setting.run_in[machine]
        self._log = Path(setting.folder) / f"light-{machine}-{light.first}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = [*self._words, sys.executable, "-m", "tests.fleet.light_boxes"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([*words, json.dumps(asdict(self.light))], stderr=log)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@dataclass(slots=True)
class World:
    """Everything there is. measured: figures, by what they are of."""

    setting: Setting
    space: EmbeddingSpace
    hub: NatsServer
    leaves: dict[str, NatsServer]
    desk: Box
    full: list[Full]
    light: list[Light]
    measured: dict[str, float] = field(default_factory=dict)

    @property
    def boxes(self) -> int:
        return len(self.full) + sum(one.light.count for one in self.light)

    @property
    def machines(self) -> list[Full | Light]:
        return [*self.full, *self.light]

    def cable(self, machine: str, plugged: bool) -> None:
        port = f"p{self.setting.addresses[machine].rpartition('.')[2]}"
        words = ["ip", "-n", self.setting.switch, "link", "set", port]
        subprocess.run([*words, "up" if plugged else "down"], check=True)
        say(f"cable of {machine}: {'in' if plugged else 'out'}")

    def pulled(self, machine: str) -> tuple[Callable[[], None], Callable[[], None]]:
        return lambda: self.cable(machine, False), lambda: self.cable(machine, True)

    def seen(self) -> list[SeenBox]:
        found: list[SeenBox] = operator.run(self.desk.config, lambda server: server.boxes())
        return found

    def wanted(self) -> dict[str, int]:
        """The last number of each scope."""

        async def work(server: operator.FleetOperator) -> dict[str, int]:
            last = {}
            for scope in SCOPES:
                subject = people_of(scope)
                info, there = await fresh_consumer(server._stream, PEOPLE, "wanted", subject)
                if info.num_pending:
                    (one,) = await there.fetch(1)
                    last[scope] = int(one.metadata.sequence.stream)
            return last

        found: dict[str, int] = operator.run(self.desk.config, work)
        return found

    def behind(self, wanted: dict[str, int]) -> list[str]:
        """Boxes that have not read everything, or not told of it."""
        late = []
        for seen in self.seen():
            one = seen.status
            read = all(one.positions.get(s, 0) >= wanted.get(s, 0) for s in one.scopes)
            if not read or one.erasing or one.held:
                late.append(f"{one.site}/{one.box}")
        return late

    def close(self) -> None:
        for one in self.machines:
            one.kill()
        for server in (*self.leaves.values(), self.hub):
            server.stop()


@contextlib.contextmanager
def world(setting: Setting) -> Iterator[World]:
    folder = Path(setting.folder)
    found = build_embedder(load_config(None, [f"state_dir={folder}"]))
    space = found.space
    found.close()
    hub = NatsServer(folder / "hub", host=setting.addresses["hub"])
    leaves = {
        name: NatsServer(
            folder / name, hub=hub, host=setting.addresses[name], prefix=setting.run_in[name]
        )
        for name in ("north", "south")
    }
    desk = Box(folder, hub.url, "desk", site="office", space=space)
    full = [
        Full(setting, "one", "north", leaves["north"].url, 41),
        Full(setting, "two", "south", leaves["south"].url, 53),
        Full(setting, "three", "south", hub.url, 67),
    ]
    light = []
    half = setting.light // 2
    for machine, first, count, skew in (("north", 0, half, 0.0), ("south", half, half, 0.0)):
        if count:
            light.append(light_on(setting, space, leaves[machine], machine, first, count, skew))
    # One whose clock is a day ahead.
    light.append(light_on(setting, space, leaves["south"], "south", 9000, 1, 86_400.0))
    made = World(setting, space, hub, leaves, desk, full, light)
    try:
        operator.run(desk.config, lambda server: server.set_up(keep_days=30, max_mib=None))
        yield made
    finally:
        made.close()


def light_on(
    setting: Setting,
    space: EmbeddingSpace,
    leaf: NatsServer,
    machine: str,
    first: int,
    count: int,
    skew_s: float,
) -> Light:
    light = LightBoxes(
        setting.folder, leaf.url, machine, first, count, space.model, space.digest, space.dim,
        every_s=20.0, skew_s=skew_s, events_end=f"{setting.folder}/events-end",
    )  # fmt: skip
    return Light(setting, machine, light)


def scope_for(number: int) -> str:
    """Of a made person: one in fifty is everybody's, one in thirty the lobby's."""
    if number % 50 == 0:
        return "all"
    return "group-lobby" if number % 30 == 0 else "group-main"


def send_people(world: World, first: int, count: int) -> None:
    """Enrol made people on the desk, and send them."""
    names = [f"Person {number}" for number in range(first, first + count)]
    with open_gallery(world.desk.config) as gallery:
        with gallery.transaction():
            for number, name in enumerate(names, first):
                person = gallery.add_person(name)
                gallery.add_template(person, template(number, world.space))

        async def work(server: operator.FleetOperator) -> None:
            for number, name in enumerate(names, first):
                await server.send(record_of(gallery, name), scope_for(number))

        operator.run(world.desk.config, work)


def begin(world: World) -> str:
    """Everybody is there and has everybody; the id of whom the cameras see."""
    words = ["fleet", "people", "add", "Eileen Collins", world.setting.face, *world.desk.words]
    assert command(words) == 0
    with open_gallery(world.desk.config) as gallery:
        seen = gallery.show("Eileen Collins").person.id
    begun = time.monotonic()
    send_people(world, 1, world.setting.people)
    world.measured["send_s"] = time.monotonic() - begun
    for one in world.machines:
        one.start()
    until("services are ready", lambda: all(one.ready for one in world.full), 180)
    limit = 300 + world.setting.people / 10
    until("all boxes are there", lambda: len(world.seen()) == world.boxes, limit)
    wanted = world.wanted()
    took = until("all boxes have everybody", lambda: not world.behind(wanted), limit)
    world.measured["first_fill_s"] = took
    return seen


def each(*calls: Callable[[], object]) -> Callable[[], None]:
    """One after the other."""

    def call() -> None:
        for one in calls:
            one()

    return call


def trouble(world: World) -> None:
    """Restarts in many orders, kills, pulled cables, a lost disk; people go on being sent."""
    chance, count = random.Random(world.setting.seed), world.setting.people
    north, south = world.leaves["north"], world.leaves["south"]
    one, two, three = world.full
    servers, boxes = (world.hub, north, south), world.machines
    steps: list[tuple[str, Callable[[], object], Callable[[], object]]] = [
        ("the hub is killed", world.hub.stop, world.hub.start),
        ("a leaf is killed", north.stop, north.start),
        ("a service is killed", one.kill, one.start),
        ("light boxes are killed", world.light[0].kill, world.light[0].start),
        (
            "hub and leaves die, the leaves are back first",
            each(*(server.stop for server in servers)),
            each(north.start, south.start, lambda: time.sleep(2), world.hub.start),
        ),
        (
            "leaves and hub die, the hub is back first",
            each(south.stop, north.stop, world.hub.stop),
            each(world.hub.start, south.start, north.start),
        ),
        ("a leaf's cable is out", *world.pulled("south")),
        ("a box's cable is out", *world.pulled("three")),
        (
            "everything is killed, boxes are back first",
            each(*(box.kill for box in boxes), *(server.stop for server in servers)),
            each(*(box.start for box in boxes), south.start, north.start, world.hub.start),
        ),
        (
            "a service is killed with its cable out",
            each(lambda: world.cable("two", False), two.kill),
            each(two.start, lambda: world.cable("two", True)),
        ),
        ("a disk is lost", three.lose_disk, three.start),
    ]
    for number, (what, breaks, repairs) in enumerate(steps):
        say(what)
        breaks()
        with contextlib.suppress(JetsonFaceError):  # where the hub is away
            send_people(world, count + 1 + 3 * number, 3)
        time.sleep(chance.uniform(1, 4))
        repairs()
        time.sleep(chance.uniform(0, 3))


def recovered(world: World, what: str) -> float:
    until("services are ready", lambda: all(one.ready for one in world.full), 180)
    send_all(world)
    wanted = world.wanted()
    return until(what, lambda: not world.behind(wanted), 300)


def send_all(world: World) -> None:
    """Also whoever was enrolled while the hub was away."""
    with open_gallery(world.desk.config) as gallery:
        there = {one.person for one in operator.run(world.desk.config, lambda s: s.people())}
        missing = [i.person for i in gallery.people() if i.person.id not in there]

        async def work(server: operator.FleetOperator) -> None:
            for person in missing:
                number = int(person.name.rpartition(" ")[2])
                await server.send(record_of(gallery, person.id), scope_for(number))

        operator.run(world.desk.config, work)


def erasure(world: World, person: str) -> None:
    """Of whom the cameras see, while a leaf with its boxes is away."""
    world.cable("south", False)
    time.sleep(1)
    reach = {"north", "office"}
    away = {f"{s.status.site}/{s.status.box}" for s in world.seen() if s.status.site not in reach}
    away.discard("south/three")  # it has its own way to the hub
    begun = time.monotonic()
    operator.run(world.desk.config, lambda server: server.erase(person))

    def missing() -> set[str]:
        report = operator.run(world.desk.config, lambda server: server.erasure(person))
        return set(report.missing)

    until("the boxes that are reached have erased", lambda: missing() <= away, 60)
    world.measured["erased_reachable_s"] = time.monotonic() - begun
    assert missing() == away
    code = command(["fleet", "erase", "--status", person, *world.desk.words])
    assert code == 1
    time.sleep(30)  # long enough for everybody to give the connection up
    world.cable("south", True)
    world.measured["erased_returned_s"] = until(
        "the others have erased after their return", lambda: not missing(), 60
    )
    assert command(["fleet", "erase", "--status", person, *world.desk.words]) == 0


Kept: TypeAlias = dict[str, tuple[str, dict[str, bytes]]]
"""By person (id): the name, and vectors by photo."""


def people_in(config: Config) -> Kept:
    """Who is in a gallery, without their portraits."""
    with open_gallery(config) as gallery, gallery.transaction():
        rows = TemplateRows(gallery.book)
        return {
            info.person.id: (
                info.person.name,
                {one.photo: rows.vector(one.id).tobytes() for one in info.templates},
            )
            for info in gallery.people()
        }


def check_galleries(world: World) -> None:
    """Every box has exactly the people of its scopes, as they were sent."""
    sent: dict[str, Kept] = {}
    for one in operator.run(world.desk.config, lambda server: server.people()):
        record = one.entry.record if one.entry is not None else None
        if record is not None:
            vectors = {one.photo: one.vector.tobytes() for one, _ in record.templates}
            sent.setdefault(one.scope, {})[one.person] = (record.person.name, vectors)
    for seen in world.seen():
        wanted = {k: v for scope in seen.status.scopes for k, v in sent.get(scope, {}).items()}
        assert seen.status.people == len(wanted), seen
    boxes = [(one.name, one.site, one.config) for one in world.full]
    for light in world.light:
        boxes += [(box.name, light.light.site, box.config) for box in light.light.boxes()]
    for name, site, config in boxes:
        groups = {"all", f"site-{site}", "group-lobby"}
        groups |= set() if name.startswith("light") else {"group-main"}
        wanted = {k: v for scope in groups for k, v in sent.get(scope, {}).items()}
        have = people_in(config)
        assert have == wanted, (name, len(have), len(wanted))
    say(f"{len(boxes)} galleries are what was sent")


def check_events(world: World) -> None:
    """None lost, none twice, and none of who was erased."""
    Path(world.setting.folder, "events-end").touch()
    light = [box.folder for one in world.light for box in one.light.boxes()]
    until("light boxes have sent their events", lambda: not any(map(left, light)), 120)
    for one in world.machines:
        one.kill()
    for full in world.full:
        send_rest(full, world.hub.url)
    kept: set[str] = set()
    masked: set[str] = set()
    for folder in (*light, *(full.state for full in world.full)):
        with closing(Outbox(folder / "outbox.db")) as outbox:
            for event in outbox.since(0, _ALL):
                key = json.loads(event.body)["id"]
                (masked if NOBODY.encode() in event.body else kept).add(key)
    there = [json.loads(body)["id"] for _, _, body in world.hub.messages("EVENTS")]
    assert len(there) == len(set(there)), "twice"
    assert kept <= set(there), f"lost: {len(kept - set(there))}"
    # What the lost disk had sent and what it had not is known from before; who was erased since
    # was named in some of it.
    sent = {key for full in world.full for key in full.sent_before}
    unsent = {key for full in world.full for key in full.lost_with_disk}
    strange = set(there) - kept - masked - sent - unsent
    assert not strange, f"from nowhere: {len(strange)}"
    world.measured["events"] = len(there)
    say(f"{len(there)} events, none lost, none twice; {len(masked)} named who was erased")


def left(folder: Path) -> int:
    """Events of a running box that are still to be sent; an `Outbox` of our own would write."""
    with closing(sqlite3.connect(f"file:{folder / 'outbox.db'}?mode=ro", uri=True)) as db:
        (last,) = db.execute("SELECT max(seq) FROM events").fetchone()
        (acked,) = db.execute("SELECT acked FROM consumers WHERE name = ?", (FLEET,)).fetchone()
    return int(last or 0) - int(acked)


def send_rest(full: Full, server: str) -> None:
    """What a killed service had not sent yet."""
    assert full.config.fleet is not None
    fleet = full.config.fleet.model_copy(update={"server": server})
    config = full.config.model_copy(update={"fleet": fleet})
    with closing(Outbox(full.state / "outbox.db")) as outbox:
        (deliverer,) = build_deliverers(config, outbox)
        while outbox.wait(FLEET, 0):
            assert deliverer.step() == 0, deliverer.last_error
        deliverer.sink.close()


def main(setting: Setting) -> dict[str, float]:
    faces = Path(setting.folder, "faces")
    faces.mkdir()
    # The head alone: the camera shows it half as high as its picture.
    write_picture(faces / "face.png", read_picture(Path(setting.face))[0:260, 100:360])
    with world(setting) as made:
        seen = begin(made)
        trouble(made)
        made.measured["recovered_s"] = recovered(made, "all boxes have everybody again")
        check_galleries(made)
        erasure(made, seen)
        check_galleries(made)
        check_events(made)
        return made.measured


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Setting(**json.loads(sys.argv[1])))) + "\n")
