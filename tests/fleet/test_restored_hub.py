"""A hub whose files are put back from an older backup, over a real nats-server."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from jetson_face.core.errors import UsageError
from jetson_face.factory.parts import open_gallery
from jetson_face.fleet.applying import LogMessage
from jetson_face.fleet.place import FleetPlace, read_place
from jetson_face.gallery.permission import withhold
from jetson_face.service.erasure import audit_log
from tests.fleet.boxes import Box, running
from tests.fleet.nats_server import NatsServer, nats_server
from tests.fleet.test_fleet_command import fleet
from tests.fleet.test_people import applier, boxes, entry, held, missing, not_on, positions
from tests.fleet.test_plans import Pair
from tests.waiting import until


def backed_up(hub: NatsServer, folder: Path) -> Path:
    hub.stop()
    shutil.copytree(hub.folder / "js", folder)
    hub.start()
    return folder


def put_back(hub: NatsServer, backup: Path) -> None:
    hub.stop()
    shutil.rmtree(hub.folder / "js")
    shutil.copytree(backup, hub.folder / "js")
    hub.start()


@pytest.mark.parametrize("sent_since", [0, 1, 6])
def test_a_box_reads_what_comes_under_numbers_that_it_knows_and_keeps_what_is_newer(
    tmp_path: Path,
    one: Box,
    two: Box,
    hub: NatsServer,
    caplog: pytest.LogCaptureFixture,
    sent_since: int,
) -> None:
    one.enrol("Ada", 1)
    one.enrol("Bob", 2)
    one.send("Ada", "Bob")
    with running(two):
        until(lambda: len(two.names()) == 2)
    backup = backed_up(hub, tmp_path / "backup")
    with open_gallery(one.config) as gallery:
        withhold(gallery, "Bob")
    one.enrol("Cleo", 3)
    one.send("Bob", "Cleo", "Bob")
    with running(two):
        until(lambda: positions(two) == 5)
    put_back(hub, backup)
    # Two hears of it before it has read on, or only when the numbers are past what it knows.
    new = [f"New {number}" for number in range(sent_since)]
    for seed, name in enumerate(new, 10):
        one.enrol(name, seed)
    one.send(*new)
    with running(two):
        until(lambda: positions(two) == 2 + sent_since)
        assert two.names() == ["Ada", "Bob", "Cleo", *new]
        assert not_on(two)  # the hub has Bob as he was before
    said = [one.getMessage() for one in caplog.records if "fleet_log_changed" in one.getMessage()]
    assert len(said) == 1
    assert "restored from an older backup: type on the operator's machine" in said[0]
    assert "`jetson-face fleet set-up`, then `jetson-face fleet people send --all`" in said[0]
    with running(two):
        one.enrol("Dora", 4)
        one.send("Dora")
        until(lambda: "Dora" in two.names())
    assert caplog.text.count("fleet_log_changed") == 1


def test_an_erasure_that_the_hub_forgot_is_told_again_and_nobody_comes_back(
    tmp_path: Path, one: Box, two: Box, hub: NatsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    three = Box(tmp_path, hub.url, "three", site="south")
    ada = one.enrol("Ada", 1)
    one.enrol("Bob", 2)
    one.send("Ada", "Bob")
    with running(two, three):
        until(lambda: len(two.names()) == len(three.names()) == 2 == len(boxes(one)))
    backup = backed_up(hub, tmp_path / "backup")
    with running(two):  # three is away
        assert fleet(one, "erase", ada, "--yes", "--wait", "1") == 1
        until(lambda: missing(one, ada) == ("south/three",))
    put_back(hub, backup)
    one.enrol("Cleo", 3)
    one.send("Cleo")
    with running(two, three):
        until(lambda: "Cleo" in two.names() and "Cleo" in three.names())
        until(lambda: ada in held(one))
        assert two.names() == ["Bob", "Cleo"]
        assert fleet(one, "status") == 0
        assert (
            f"south/two: {ada} is held: they were erased on this box: where the hub was restored "
            f"from an older backup, type `jetson-face fleet erase {ada}`"
        ) in capsys.readouterr().err
        # The operator's machine still has her, and has not sent her since.
        assert fleet(one, "people", "send", "Ada") == UsageError.exit_code
        assert "is told of it by `jetson-face fleet set-up`" in capsys.readouterr().err
        assert fleet(one, "set-up") == 0
        assert f"erasure {ada}: the server knew nothing of it" in capsys.readouterr().out
        until(lambda: missing(one, ada) == () and not held(one))
        assert three.names() == ["Bob", "Cleo"]
    assert fleet(one, "set-up") == 0
    assert "erasure" not in capsys.readouterr().out
    acts = [act.person for act in audit_log(one.config).read() if act.action == "fleet_erased"]
    assert acts == [ada, ada]


def test_a_hub_whose_disk_was_lost_is_told_who_was_erased(
    tmp_path: Path, one: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    ada = one.enrol("Ada", 1)
    one.send("Ada")
    assert fleet(one, "erase", ada, "--yes", "--wait", "0") == 0  # no box was ever there
    with nats_server(tmp_path / "hub2") as fresh:
        one = Box(tmp_path, fresh.url, "one")
        four = Box(tmp_path, fresh.url, "four")
        assert fleet(one, "set-up") == 0
        assert f"erasure {ada}: the server knew nothing of it" in capsys.readouterr().out
        with running(four):
            until(lambda: boxes(one) and missing(one, ada) == ())


def test_a_box_tells_again_what_it_erased_where_the_hub_forgot_only_that(
    tmp_path: Path, one: Box, two: Box, hub: NatsServer
) -> None:
    ada = one.enrol("Ada", 1)
    one.send("Ada")
    with running(two):
        until(lambda: two.names() and boxes(one))
    assert fleet(one, "erase", ada, "--yes", "--wait", "0") == 1
    backup = backed_up(hub, tmp_path / "backup")
    one.enrol("Bob", 2)
    one.send("Bob")
    with running(two):
        until(lambda: missing(one, ada) == () and two.names() == ["Bob"])
    put_back(hub, backup)
    assert missing(one, ada) == ("south/two",)
    with running(two):
        until(lambda: missing(one, ada) == ())
    assert two.names() == ["Bob"]


def test_older_plans_are_taken_and_newer_ones_after_them(tmp_path: Path, hub: NatsServer) -> None:
    pair = Pair(tmp_path, hub.url)
    pair.push(b"first")
    pair.look()
    backup = backed_up(hub, tmp_path / "backup")
    pair.push(b"second")
    pair.look()
    put_back(hub, backup)
    pair.look()
    pair.push(b"second")
    pair.look()
    pair.look()
    assert [content for content, _ in pair.taken] == [b"first", b"second", b"first", b"second"]


def test_a_hub_whose_clock_goes_back_is_believed(one: Box, two: Box) -> None:
    times = {"Ada": 100.0, "Bob": 40.0, "Cleo": 50.0, "Dora": 101.0}
    with applier(two) as app:
        for seq, (name, time) in enumerate(times.items(), 1):
            one.enrol(name, seq)
            app.apply("all", [LogMessage(seq, *entry(one, name), time)])
            place = read_place(app.store)
            assert not any(
                place.denies("all", number, list(times.values())[number - 1])
                for number in range(1, seq + 1)
            )
    assert two.names() == list(times)


def test_the_place_of_a_box_that_knew_no_times_is_read(two: Box) -> None:
    before = {"log": "a", "positions": {"all": 7}, "erasing": [], "held": {}}
    with open_gallery(two.config) as gallery, gallery.transaction():
        gallery.set_note("fleet", json.dumps(before))
        place = read_place(gallery)
    assert place == FleetPlace("a", {"all": 7})
    assert not place.denies("all", 7, 1e9)
    assert not place.has_read("all", 7, 1e9)
