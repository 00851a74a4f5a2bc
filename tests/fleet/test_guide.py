"""The servers of docs/fleet.md, as written there, on one machine."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest

from jetson_face.config import Config
from jetson_face.factory.fleet import fleet_of
from jetson_face.fleet.keys import box_user, public_key
from jetson_face.util.documents import parse_document
from tests.fleet.boxes import Box, running
from tests.fleet.certificates import certificates
from tests.fleet.conftest import set_up
from tests.fleet.nats_server import NatsServer, free_port
from tests.fleet.test_nats import event
from tests.fleet.test_people import boxes
from tests.fleet.test_rights import asks, sends
from tests.house.docs_pages import blocks
from tests.waiting import until


def servers() -> tuple[str, str]:
    hub, leaf = (block.text for block in blocks("docs/fleet.md") if block.language == "conf")
    return hub, leaf


def test_the_configuration_of_a_box_is_valid() -> None:
    (block,) = (block for block in blocks("docs/fleet.md") if block.language == "yaml")
    assert parse_document(block.text, block.where, Config).fleet is not None


class Written(NatsServer):
    """A server with a configuration as it is written, on free ports of this machine."""

    def __init__(self, folder: Path, text: str, leaf_port: int, changes: dict[str, str]) -> None:
        super().__init__(folder)
        self.stop()
        changes |= {
            "0.0.0.0:4222": f"127.0.0.1:{self.port}",
            "0.0.0.0:7422": f"127.0.0.1:{leaf_port}",
            "@hub:7422": f"@127.0.0.1:{leaf_port}",
            "/var/lib/nats": str(folder / "js"),
        }
        for old, new in changes.items():
            text = text.replace(old, new)
        text = re.sub(r'"/etc/nats/\w+\.pem"|"/etc/jetson-face/fleet-ca\.pem"', self.cert, text)
        self.config.write_text(re.sub(r'"/etc/nats/\w+\.key"', self.private, text))
        checked = subprocess.run(
            [self._program, "-t", "-c", str(self.config)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert checked.returncode == 0, checked.stderr
        self.start()

    @property
    def cert(self) -> str:
        return f'"{self.folder.parent / "cert.pem"}"'

    @property
    def private(self) -> str:
        return f'"{self.folder.parent / "key.pem"}"'


@pytest.mark.timeout(60)
def test_the_servers_work_and_a_leaf_speaks_for_its_own_site_only(tmp_path: Path) -> None:
    cert, _ = certificates(tmp_path)

    def box(name: str, server: str, site: str) -> Box:
        seed = f"fleet.credentials={tmp_path}/{name}.nk"
        return Box(tmp_path, server, name, seed, f"fleet.ca={cert}", site=site)

    from jetson_face.fleet.keys import make_keys

    early = [box(*who) for who in (("chief", "tls://h:1", "office"), ("door", "tls://h:1", "north"),
                                   ("thief", "tls://h:1", "north"))]  # fmt: skip
    for one in early:
        make_keys(fleet_of(one.config))
    chief, door, thief = (fleet_of(one.config) for one in early)
    hub_text, leaf_text = servers()
    port = free_port()
    hub = Written(tmp_path / "hub", hub_text, port, {"UOPERATOR": public_key(chief)})
    # Who has the leaf may let in whom they like, there.
    users = f"{box_user(door)}\n{{ nkey: {public_key(thief)} }}"
    leaf = Written(tmp_path / "leaf", leaf_text, port, {"USER-OF-THE-BOX": users})
    try:
        desk = box("chief", hub.url.replace("nats", "tls"), "office")
        set_up(desk)
        north = box("door", leaf.url.replace("nats", "tls"), "north")
        desk.enrol("Ada", 1)
        desk.send("Ada")
        with running(north):
            until(lambda: north.names() == ["Ada"])
            until(lambda: [seen.status.box for seen in boxes(desk)] == ["door"])
        sends(north, tmp_path / "outbox.db", event())
        robbed = box("thief", leaf.url.replace("nats", "tls"), "north")
        for subject in ("jf.south.door.status", "jf.office.chief.status", "jf-people.all.x"):
            asks(robbed, lambda client, s=subject: client.publish(s, b"{}"))  # type: ignore[misc]
        said = asks(
            robbed, lambda c: c.request("$JS.fleet.API.STREAM.PURGE.EVENTS", b"", timeout=1)
        )
        assert said != "done"
        asks(robbed, lambda client: client.publish("jf.north.other.status", b"{}"))
        time.sleep(0.3)
        assert counts(desk) == [1, 1, 0, 2]
    finally:
        leaf.stop()
        hub.stop()


def counts(box: Box) -> list[int]:
    from tests.fleet.test_rights import guarded_messages

    return guarded_messages(box)
