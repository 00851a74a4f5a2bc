"""`jetson-face fleet`, as a person types it, and as the service starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jetson_face.cli.main import main
from jetson_face.core.errors import ConfigError, FleetError, UsageError
from tests.cli.conftest import collins
from tests.fleet.boxes import Box, running
from tests.fleet.nats_server import NatsServer
from tests.fleet.test_people import boxes
from tests.waiting import until

__all__ = ["collins"]


def fleet(box: Box, *words: str) -> int:
    return main(["fleet", *words, *box.words])


def test_people_are_sent_listed_and_erased_and_the_missing_are_named(
    one: Box, two: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    ada = one.enrol("Ada", 1, 2)
    one.enrol("Bob", 3)
    assert fleet(one, "people", "send", "--all") == 0
    assert fleet(one, "people", "list") == 0
    said = capsys.readouterr().out
    assert "2 people sent to all" in said
    assert "Ada: 2 photos, to all, " in said
    with running(one, two):
        until(lambda: two.names() == ["Ada", "Bob"] and len(boxes(one)) == 2)
    # Two is away.
    with running(one):
        assert fleet(one, "erase", "ada", "--yes", "--wait", "1") == 1
        said, wrong = capsys.readouterr()
        assert f"erasure {ada}: told to every box" in said
        assert "north/one: erased " in said
        assert ", 2 photos; service: none runs" in said
        assert "no complete receipt from south/two: ask again with" in wrong
        assert f"`jetson-face fleet erase --status {ada}`" in wrong
        with running(two):
            until(lambda: two.names() == ["Bob"])
            until(lambda: fleet(one, "erase", "--status", ada) == 0)
    assert "every box has erased them (2 receipts)" in capsys.readouterr().out
    assert fleet(one, "people", "list", "--json") == 0
    listed = {p["id"]: (p["name"], p["erased"]) for p in json.loads(capsys.readouterr().out)}
    assert listed.pop(ada) == (None, True)
    assert list(listed.values()) == [("Bob", False)]


def test_who_is_only_on_the_server_is_erased_by_name_too(
    tmp_path: Path, one: Box, hub: NatsServer
) -> None:
    one.enrol("Ada", 1)
    one.send("Ada")
    desk = Box(tmp_path, hub.url, "desk")
    with running(one):
        until(lambda: boxes(one))
        assert fleet(desk, "erase", "ADA", "--yes") == 0
    assert one.names() == []
    assert fleet(desk, "erase", "nobody", "--yes") == UsageError.exit_code


def test_the_status_says_how_each_box_is(
    one: Box, two: Box, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fleet(one, "status") == 0
    assert "no box has said how it is yet" in capsys.readouterr().out
    one.enrol("Ada", 1)
    one.send("Ada")
    with running(one, two):
        until(lambda: [seen.status.people for seen in boxes(one)] == [1, 1])
        until(lambda: all(seen.status.positions.get("all") for seen in boxes(one)))
    capsys.readouterr()
    assert fleet(one, "status") == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["BOX", "AGE", "VERSION", "PEOPLE"]
    assert [row.split()[0] for row in rows] == ["north/one", "south/two"]
    assert fleet(one, "status", "--json") == 0
    (first, _) = json.loads(capsys.readouterr().out)
    assert (first["people"], first["positions"]["all"], first["held"]) == (1, 1, {})
    assert abs(first["clock_offset_s"]) < 5
    assert first["age_s"] < 60
    assert fleet(one, "status", "--metrics") == 0
    families = {
        family.name: family.samples
        for family in text_string_to_metric_families(capsys.readouterr().out)
    }
    (people,) = [f for name, f in families.items() if name.endswith("fleet_people")]
    assert {sample.labels["box"]: sample.value for sample in people} == {"one": 1.0, "two": 1.0}
    # A box that is gone for good.
    assert fleet(one, "forget", "south/two") == 0
    assert [seen.status.box for seen in boxes(one)] == ["one"]
    assert fleet(one, "forget", "south/two") == UsageError.exit_code


def test_a_clock_that_is_wrong_is_seen(one: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    from jetson_face.fleet import status

    real = time.time
    monkeypatch.setattr(status, "_wall", lambda: real() + 90)
    with running(one):
        until(lambda: boxes(one))
    (seen,) = boxes(one)
    assert 88 < seen.clock_offset_s < 92
    assert seen.age(real()) < 10


def test_add_enrols_here_and_sends(
    one: Box, two: Box, collins: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one.config.gallery_path.unlink()  # it is of made templates: this one is of the real network
    one.config.state_dir.joinpath("gallery.db.ledger").unlink()
    code = fleet(one, "people", "add", "Eileen Collins", str(collins), "--to", "site:north")
    assert code == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "Eileen Collins: 1 added" in said
    assert "1 person sent to site:north" in said
    assert fleet(one, "people", "add", "X", str(collins), "--to", "nowhere") == UsageError.exit_code


def test_what_is_missing_is_said(
    tmp_path: Path, hub: NatsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    box = Box(tmp_path, hub.url, "early")
    assert fleet(box, "status") == FleetError.exit_code
    assert "run `jetson-face fleet set-up`" in capsys.readouterr().err
    assert main(["fleet", "status", "--set", f"state_dir={tmp_path}"]) == ConfigError.exit_code
    assert "belongs to no fleet" in capsys.readouterr().err
    hub.stop()
    assert fleet(box, "status") == FleetError.exit_code
    assert "127.0.0.1" in capsys.readouterr().err


def test_erase_asks_first(one: Box, capsys: pytest.CaptureFixture[str]) -> None:
    assert fleet(one, "erase", "Ada") == UsageError.exit_code
    assert "say so with --yes" in capsys.readouterr().err
    assert fleet(one, "erase") == UsageError.exit_code


def test_the_agent_ends_with_who_started_it(one: Box) -> None:
    mine, others = os.pipe()
    command = [sys.executable, "-m", "jetson_face", "fleet", "run", "--parent", str(mine)]
    agent = subprocess.Popen([*command, *one.words], pass_fds=(mine,))
    os.close(mine)
    try:
        until(lambda: boxes(one))
        os.close(others)
        assert agent.wait(60) == 0
    finally:
        agent.kill()
        agent.wait()
