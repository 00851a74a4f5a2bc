"""What the keys of a fleet change."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path

import pytest

from jetson_face.config import load_config
from jetson_face.core.errors import ConfigError
from jetson_face.factory.fleet import consumer_of, fleet_cipher, fleet_of, link_of, subject_of
from tests.config.keys import Site, shows

pytest.importorskip("nats", reason="a fleet needs the extra `fleet`")

from jetson_face.fleet.agent import FleetAgent
from jetson_face.fleet.keys import box_rights, make_keys, public_key
from jetson_face.fleet.subjects import scopes
from tests.fleet.boxes import Box, running
from tests.fleet.conftest import set_up
from tests.fleet.nats_server import nats_server
from tests.fleet.test_people import boxes
from tests.waiting import until


@shows("fleet.server")
def test_which_server_is_asked(site: Site, tmp_path: Path) -> None:
    with nats_server(tmp_path / "hub") as hub:
        link = link_of(fleet_of(site({"fleet.server": hub.url})), "test")

        async def connect() -> str:
            client = await link.connect(3)
            found = str(client.connected_url.netloc)
            await client.close()
            return found

        try:
            assert asyncio.run(connect()) == f"127.0.0.1:{hub.port}"
        except OSError as error:
            raise AssertionError(str(error)) from error


@shows("fleet.site", "fleet.box")
def test_a_box_has_its_subjects(site: Site) -> None:
    fleet = fleet_of(site({"fleet.site": "berlin", "fleet.box": "door-7"}))
    assert subject_of(fleet) == "jf.berlin.door-7"
    assert consumer_of(fleet, "all") == "berlin_door-7_all"


@shows("fleet.groups")
def test_a_box_has_the_people_of_its_groups(site: Site) -> None:
    assert "group-gate" in scopes(fleet_of(site({"fleet.groups": ["gate"]})))


@shows("fleet.credentials")
def test_who_a_box_is(site: Site, tmp_path: Path) -> None:
    fleet = fleet_of(
        site({"fleet.credentials": str(tmp_path / "a.nk"), "fleet.key": str(tmp_path / "k")})
    )
    make_keys(fleet)
    assert public_key(fleet).startswith("U")
    assert "nkeys_seed_str" in link_of(fleet, "test")._who()


def test_the_server_is_told_which_box_comes_for_what(site: Site) -> None:
    fleet = fleet_of(site({"fleet.site": "berlin", "fleet.box": "door-7"}))
    link = link_of(fleet, "events")
    assert (link.name, link.inbox) == ("jetson-face berlin/door-7 events", "_INBOX.berlin.door-7")


@shows("fleet.ca")
def test_whose_certificates_are_trusted(site: Site, tmp_path: Path) -> None:
    from tests.fleet.certificates import certificates

    cert, _ = certificates(tmp_path)
    fleet = fleet_of(site({"fleet.server": "tls://127.0.0.1:9", "fleet.ca": str(cert)}))
    context = link_of(fleet, "test")._tls()
    assert isinstance(context, ssl.SSLContext)
    assert [one["subject"] for one in context.get_ca_certs()] == [((("commonName", "hub"),),)]


@shows("fleet.key")
def test_what_people_are_sealed_with(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "shared.key"
    path.write_bytes(b"k" * 32)
    path.chmod(0o600)
    cipher = fleet_cipher(fleet_of(site({"fleet.key": str(path)})))
    assert cipher.origin == str(path)


@shows("fleet.plans_from")
def test_whose_plans_a_box_may_ask_for(site: Site, tmp_path: Path) -> None:
    fleet = fleet_of(site({"fleet.plans_from": f"U{'A' * 55}"}))
    publish, _ = box_rights(fleet)
    assert "$JS.API.CONSUMER.CREATE.PLANS." in " ".join(publish)


@shows("fleet.status_s")
def test_how_often_a_box_says_how_it_is(site: Site, tmp_path: Path) -> None:
    with nats_server(tmp_path / "hub") as hub:
        box = Box(tmp_path, hub.url, "one")
        set_up(box)
        wanted = fleet_of(site({"fleet.status_s": 1})).status_s
        box = Box(tmp_path, hub.url, "one", f"fleet.status_s={wanted}")
        with running(box):
            until(lambda: boxes(box))
            first = boxes(box)[0].received
            time.sleep(1.5)
            assert boxes(box)[0].received > first


def test_what_cannot_be_a_fleet_is_refused() -> None:
    good = ["fleet.server=nats://h:1", "fleet.site=a", "fleet.key=k"]
    assert load_config(None, good).fleet is not None
    for more, why in (
        ("fleet.server=http://h", "nats://HOST:PORT or tls://HOST:PORT"),
        ("fleet.server=nats://me:secret@h", "no user in it"),
        ("fleet.site=a.b", "fleet.site"),
        ("fleet.groups=[a b]", "fleet.groups"),
        ("fleet.plans_from=SUAXYZ", "fleet.plans_from"),
        ("fleet.ca=x.pem", "needs a server with tls://"),
        ("service.sinks=[{type: jsonl, name: fleet}]", "cannot be called fleet"),
    ):
        with pytest.raises(ConfigError, match=why) as said:
            load_config(None, [*good, more])
        assert "secret" not in str(said.value)


def test_an_agent_without_a_fleet_is_refused() -> None:
    with pytest.raises(ConfigError, match="belongs to no fleet"):
        FleetAgent(load_config(None))
