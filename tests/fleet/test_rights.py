"""Who may do what on a real nats-server with NKeys and TLS: a box sees its own subjects only."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from jetson_face.cli.main import main
from jetson_face.core.errors import FleetError, FleetRightsError, GalleryError, SecretBrokenError
from jetson_face.events.nats import NatsSink
from jetson_face.events.nats_link import DOMAIN
from jetson_face.events.outbox import Outbox
from jetson_face.factory.fleet import consumer_of, fleet_of, link_of, subject_of
from jetson_face.fleet import operator
from jetson_face.fleet.keys import box_user, public_key
from jetson_face.fleet.plans import PlansTaker, plans_taken
from tests.fleet.boxes import Box, running
from tests.fleet.certificates import certificates
from tests.fleet.conftest import set_up
from tests.fleet.nats_server import NatsServer, nats, nats_server
from tests.fleet.test_nats import event
from tests.fleet.test_people import erase_everywhere
from tests.waiting import until


class Guarded:
    """A hub that asks for NKeys: an operator, and boxes `one` (north) and `two` (south, gate)."""

    def __init__(self, folder: Path, more: str = "", scheme: str = "nats") -> None:
        self.folder = folder
        self.operator = self.box("chief")
        self.trusts = f"fleet.plans_from={public_key(fleet_of(self.operator.config))}"
        self.one, self.two = self.box("one"), self.box("two", self.trusts, site="south")
        users = "\n".join(box_user(fleet_of(box.config)) for box in (self.one, self.two))
        chief = f"{{ nkey: {public_key(fleet_of(self.operator.config))} }}"
        self.server = NatsServer(
            folder / "hub", f"authorization {{ users: [\n{chief}\n{users}\n] }}\n{more}"
        )
        url = self.server.url.replace("nats", scheme, 1)
        self.settings = (f"fleet.server={url}",)

    def box(self, name: str, *more: str, site: str = "north") -> Box:
        seed = f"fleet.credentials={self.folder}/{name}.nk"
        box = Box(self.folder, "nats://127.0.0.1:4222", name, seed, *more, site=site)
        assert main(["fleet", "keys", *box.words]) == 0
        return box

    def ready(self, *more: str) -> tuple[Box, Box, Box]:
        """The three with the server's address."""
        made = []
        for box in (self.operator, self.one, self.two):
            seed = f"fleet.credentials={self.folder}/{box.name}.nk"
            site = fleet_of(box.config).site
            settings = [seed, *self.settings, *more, *([self.trusts] if box is self.two else [])]
            made.append(Box(self.folder, "nats://-", box.name, *settings, site=site))
        set_up(made[0])
        return made[0], made[1], made[2]


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    made = Guarded(tmp_path)
    yield made
    made.server.stop()


def sends(box: Box, outbox: Path, *bodies: bytes) -> None:
    fleet = fleet_of(box.config)
    with contextlib.closing(Outbox(outbox)) as box_outbox:
        box_outbox.append([("decided", body) for body in bodies])
        sink = NatsSink(
            link_of(fleet, "events"), f"{subject_of(fleet)}.events", consumer_of(fleet, "events")
        )
        with contextlib.closing(sink):
            sink.send(box_outbox.since(0))


def test_with_its_rights_a_box_does_everything_that_a_box_does(guarded: Guarded) -> None:
    chief, one, two = guarded.ready()
    ada = chief.enrol("Ada", 1)
    chief.enrol("South", 2)
    chief.send("Ada")
    chief.send("South", to="site-south")
    sends(one, guarded.folder / "outbox.db", event(ada), event())
    with running(one, two):
        until(lambda: one.names() == ["Ada"] and two.names() == ["Ada", "South"])
        assert erase_everywhere(chief, ada).complete
    assert one.names() == []
    fleet = fleet_of(chief.config)
    operator.run(chief.config, lambda server: server.push_plans(fleet, b"plans", "site-south"))
    assert taken_by(two) == {"site-south": "taken"}


def taken_by(box: Box) -> dict[str, str]:
    async def take(path: Path, sha256: str) -> str:
        return "taken"

    taker = PlansTaker(fleet_of(box.config), box.folder, take)

    async def look() -> None:
        client = await link_of(fleet_of(box.config), "people").connect(5)
        await taker.look(client.jetstream(domain=DOMAIN, timeout=5))
        await client.close()

    asyncio.run(look())
    return plans_taken(box.folder)


def asks(box: Box, work: Callable[[Any], Coroutine[Any, Any, object]]) -> str:
    """What the server says to a box, or `done`."""

    async def run() -> str:
        said: list[Exception] = []

        async def keep(error: Exception) -> None:
            said.append(error)

        fleet = fleet_of(box.config)
        assert fleet.credentials is not None
        client = await nats.connect(
            fleet.server,
            nkeys_seed=str(fleet.credentials),
            inbox_prefix=f"_INBOX.{fleet.site}.{fleet.box}",
            error_cb=keep,
            tls=link_of(fleet, "test")._tls(),
        )
        try:
            await work(client)
            await client.flush()
            await asyncio.sleep(0.1)
        except Exception as error:
            said.append(error)
        finally:
            await client.close()
        return "; ".join(map(str, said)) or "done"

    return asyncio.run(run())


def asking(subject: str, body: bytes) -> Callable[[Any], Coroutine[Any, Any, object]]:
    """A request that nobody will answer."""
    return lambda client: client.request(subject, body, timeout=0.2)


DENIED = {
    "publish as another box": lambda c: c.publish("jf.south.two.events.decided.none.none", b"{}"),
    "a status of another box": lambda c: c.publish("jf.south.two.status", b"{}"),
    "a receipt of another box": lambda c: c.publish("jf.south.two.receipts.x", b"{}"),
    "send people": lambda c: c.publish("jf-people.all.x", b"{}"),
    "push plans": lambda c: c.publish("jf-plans.all.0", b"{}"),
    "listen to another box": lambda c: c.subscribe("jf.south.two.>"),
    "listen to people": lambda c: c.subscribe("jf-people.>"),
    "listen to everything": lambda c: c.subscribe(">"),
    "listen to answers to another box": lambda c: c.subscribe("_INBOX.south.two.>"),
    "read events by number": asking("$JS.fleet.API.STREAM.MSG.GET.EVENTS", b"{}"),
    "read people by number": asking("$JS.fleet.API.DIRECT.GET.PEOPLE", b'{"seq": 1}'),
    "a consumer of all events": asking("$JS.fleet.API.CONSUMER.CREATE.EVENTS", b"{}"),
    "a consumer of another site": asking(
        "$JS.fleet.API.CONSUMER.CREATE.PEOPLE.north_one_all.jf-people.site-south.*", b"{}"
    ),
    "another box's consumer": asking("$JS.fleet.API.CONSUMER.MSG.NEXT.PEOPLE.south_two_all", b""),
    "delete a stream": asking("$JS.fleet.API.STREAM.DELETE.EVENTS", b""),
    "the same by the hub's own name": asking("$JS.API.STREAM.DELETE.EVENTS", b""),
    "purge a stream": asking("$JS.fleet.API.STREAM.PURGE.PEOPLE", b""),
}  # fmt: skip


def test_a_box_can_do_nothing_else(guarded: Guarded) -> None:
    chief, one, two = guarded.ready()
    chief.enrol("South", 2)
    chief.send("South", to="site-south")
    sends(two, guarded.folder / "outbox.db", event())
    before = guarded_messages(chief)
    wrong = {}
    for what, work in DENIED.items():
        said = asks(one, work)
        if "permissions violation" not in said.lower():
            wrong[what] = said
    assert wrong == {}
    # The filter of a request is what its subject says, whatever its body asks for.
    body = (
        b'{"stream_name": "PEOPLE", "config": {"name": "north_one_all", "ack_policy": "none", '
        b'"filter_subject": "jf-people.site-south.*"}}'
    )
    answers: list[bytes] = []

    async def lies(client: Any) -> None:
        subject = "$JS.fleet.API.CONSUMER.CREATE.PEOPLE.north_one_all.jf-people.all.*"
        answers.append((await client.request(subject, body)).data)

    assert asks(one, lies) == "done"
    assert b'"error"' in answers[0]
    assert asks(one, pushes) == "done"
    before[0] += 1
    assert guarded_messages(chief) == before
    # And its own, to see that this test can tell.
    assert asks(one, lambda c: c.publish("jf.north.one.status", b"{}")) == "done"


async def pushes(client: Any) -> None:
    """Asks the server to deliver this box's own events as receipts of another box."""
    wanted = {
        "name": "north_one_events",
        "ack_policy": "none",
        "deliver_policy": "all",
        "filter_subject": "jf.north.one.events.>",
        "deliver_subject": "jf.south.two.receipts.x",
    }
    body = json.dumps({"stream_name": "EVENTS", "config": wanted}).encode()
    await client.publish("jf.north.one.events.decided.none.none", b"{}")
    await client.request("$JS.fleet.API.CONSUMER.DELETE.EVENTS.north_one_events", b"")
    await client.request(
        "$JS.fleet.API.CONSUMER.CREATE.EVENTS.north_one_events.jf.north.one.events.>", body
    )
    await asyncio.sleep(0.5)


def guarded_messages(chief: Box) -> list[int]:
    async def work(server: operator.FleetOperator) -> list[int]:
        found = []
        for name in ("EVENTS", "PEOPLE", "RECEIPTS", "STATUS"):
            found.append((await server._stream.stream_info(name)).state.messages)
        return found

    found: list[int] = operator.run(chief.config, work)
    return found


def test_who_has_no_key_or_another_one_is_refused(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator, "_TIMEOUT_S", 1.0)
    _, one, _ = guarded.ready()
    stranger = Box(guarded.folder, guarded.server.url, "one")
    with pytest.raises(FleetError, match="Authorization"):
        operator.run(stranger.config, lambda server: server.boxes())
    with pytest.raises(FleetRightsError, match="see this box alone"):
        operator.run(one.config, lambda server: server.boxes())


def test_keys_that_others_may_read_are_refused(guarded: Guarded) -> None:
    _, one, _ = guarded.ready()
    seed, key = guarded.folder / "one.nk", guarded.folder / "fleet.key"
    for path in (seed, key):
        path.chmod(0o640)
        with pytest.raises(GalleryError, match="others may read this key"):
            operator.run(one.config, lambda server: server.boxes())
        path.chmod(0o600)
    seed.write_text("nonsense")
    with pytest.raises(SecretBrokenError, match="neither the seed"):
        operator.run(one.config, lambda server: server.boxes())


def test_over_tls_only_to_a_server_whose_certificate_is_trusted(tmp_path: Path) -> None:
    cert, private = certificates(tmp_path)
    more = f'tls {{ cert_file: "{cert}", key_file: "{private}" }}\n'
    guarded = Guarded(tmp_path, more, scheme="tls")
    try:
        chief, one, _ = guarded.ready(f"fleet.ca={cert}")
        chief.enrol("Ada", 1)
        chief.send("Ada")
        with running(one):
            until(lambda: one.names() == ["Ada"])
        distrustful = Box(tmp_path, guarded.settings[0].partition("=")[2], "one")
        with pytest.raises(FleetError, match="CERTIFICATE_VERIFY_FAILED"):
            operator.run(distrustful.config, lambda server: server.boxes())
    finally:
        guarded.server.stop()


def test_without_tls_a_server_that_has_none_is_not_taken_for_one(tmp_path: Path) -> None:
    with nats_server(tmp_path / "plain") as server:
        box = Box(tmp_path, server.url.replace("nats", "tls", 1), "one")
        with pytest.raises(FleetError, match="the server does not speak TLS"):
            operator.run(box.config, lambda server: server.boxes())
