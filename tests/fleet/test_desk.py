"""`/fleet` on the control socket: what a box may see of its fleet, and what the operator may."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jetson_face.cli.main import main
from jetson_face.core.errors import FleetRightsError
from jetson_face.fleet.desk import FleetDesk
from jetson_face.fleet.link_state import ENDED, FILE, LinkJournal, LinkState, read_link
from jetson_face.fleet.status import BoxStatus
from jetson_face.service.control.desk import Desk
from jetson_face.service.control.http import ControlRequest, Reply, answer
from jetson_face.service.erasure import audit_log
from tests.fleet.boxes import Box, running
from tests.fleet.conftest import set_up
from tests.fleet.nats_server import NatsServer
from tests.fleet.test_rights import Guarded, guarded
from tests.waiting import until

__all__ = ["guarded"]


def asked(box: Box, path: str, method: str = "GET", body: object = None, **query: str) -> Reply:
    routes = FleetDesk(Desk(lambda: box.config)).routes
    return answer(routes, ControlRequest(method, path, query, json.dumps(body).encode()))


def said(reply: Reply, status: int = 200) -> Any:
    found = json.loads(reply.body)
    assert reply.status == status, found
    return found


def here(box: Box) -> dict[str, Any]:
    return dict(said(asked(box, "/fleet"))["here"])


def boxes_of(box: Box) -> list[dict[str, Any]]:
    return list(said(asked(box, "/fleet/boxes"))["items"])


def test_a_box_sees_itself_and_is_told_at_once_that_the_rest_is_the_operators(
    guarded: Guarded, capsys: pytest.CaptureFixture[str]
) -> None:
    chief, one, _ = guarded.ready()
    ada = chief.enrol("Ada", 1)
    chief.send("Ada")
    with running(one):
        until(lambda: here(one)["up_to_date"])
        assert (here(one)["people"], here(one)["behind"]) == (1, {"all": 0, "site:north": 0})
        began = time.monotonic()
        for method, path, body in (
            ("GET", "/fleet/boxes", None),
            ("GET", "/fleet/people", None),
            ("GET", "/fleet/metrics", None),
            ("DELETE", f"/fleet/people/{ada}", None),
            ("POST", "/fleet/people", {"people": [ada], "to": "all"}),
        ):
            detail = said(asked(one, path, method, body), 409)["detail"]
            assert "are a box's, and see this box alone" in detail
        assert time.monotonic() - began < 10  # each of them waited so long for an answer before
        assert main(["fleet", "status", *one.words]) == FleetRightsError.exit_code
        assert "see this box alone" in capsys.readouterr().err
        until(lambda: [seen["up_to_date"] for seen in boxes_of(chief)] == [True])
        assert boxes_of(chief)[0]["name"] == "north/one"
    assert one.names() == ["Ada"]
    assert [entry for entry in audit_log(one.config).read() if "fleet_" in entry.action] == []


def test_a_box_says_of_itself_what_it_could_not_take(one: Box, two: Box) -> None:
    assert here(two)["link"] == {"connected": False, "since": None, "error": ENDED}
    assert here(two)["up_to_date"] is None
    one.enrol("Ada", 1)
    one.send("Ada")
    held = two.enrol("Ada", 2)  # somebody else of that name
    with running(two):
        until(lambda: here(two)["held"])
        one_here = here(two)
        assert "Ada" in one_here["held"][0]["why"]
        assert one_here["up_to_date"] is False
        assert one_here["link"]["connected"]
    assert held in two.people()
    until(lambda: here(two)["link"]["error"] == "the service has ended")


def test_pages_of_people_and_what_is_no_scope(one: Box, two: Box) -> None:
    for seed, (name, to) in enumerate((("Ada", "all"), ("Bob", "site-south"), ("Cleo", "all"))):
        one.enrol(name, seed)
        one.send(name, to=to)
    first = said(asked(one, "/fleet/people", limit="2"))
    assert [row["name"] for row in first["items"]] == ["Ada", "Bob"]
    rest = said(asked(one, "/fleet/people", limit="2", cursor=first["next"]))
    assert ([row["name"] for row in rest["items"]], rest["next"]) == (["Cleo"], None)
    south = said(asked(one, "/fleet/people", to="site:south"))["items"]
    assert [(row["name"], row["to"], row["photos"]) for row in south] == [("Bob", "site:south", 1)]
    said(asked(one, "/fleet/people", to="south"), 422)
    said(asked(one, "/fleet/people", "POST", {"people": [], "to": "all"}), 422)
    said(asked(one, "/fleet/people", "POST", {"people": ["x"]}), 422)
    with running(one, two):
        until(lambda: len(boxes_of(one)) == 2)
        report = said(asked(one, f"/fleet/people/{first['items'][0]['id']}", "DELETE"), 202)
        until(lambda: said(asked(one, f"/fleet/erasures/{report['person']}", "POST"))["complete"])
    wanted = {"people": [first["items"][1]["id"]], "to": "site:south"}
    assert said(asked(one, "/fleet/people", "POST", wanted)) == wanted
    log = [entry for entry in audit_log(one.config).read() if "fleet_" in entry.action]
    assert [(entry.action, entry.name) for entry in log] == [
        ("fleet_erased", "Ada"),
        ("fleet_sent", "Bob"),
    ]
    assert [entry.details for entry in log] == [{"told": True}, {"to": "site:south", "version": 5}]
    (erasure,) = said(asked(one, "/fleet/erasures"))["items"]
    assert (erasure["name"], erasure["missing"], len(erasure["receipts"])) == ("Ada", [], 2)
    assert erasure["time"].startswith("20")


def test_a_server_without_streams_is_said(tmp_path: Path, hub: NatsServer) -> None:
    early = Box(tmp_path, hub.url, "early")
    assert "fleet set-up" in said(asked(early, "/fleet/boxes"), 409)["detail"]
    set_up(early)
    assert boxes_of(early) == []


def test_the_journal_says_since_when(tmp_path: Path) -> None:
    clock = iter(range(10, 100, 10))
    journal = LinkJournal(tmp_path, lambda: float(next(clock)))
    journal.heard("all", 3)  # nothing is connected
    assert read_link(tmp_path) == LinkState(False, 0.0, ENDED)
    journal.made()
    journal.heard("all", 3)
    assert read_link(tmp_path) == LinkState(True, 10, waiting={"all": 3}, pid=os.getpid())
    journal.lost("cut")
    journal.lost("still cut")
    assert read_link(tmp_path) == LinkState(False, 20, "still cut", pid=os.getpid())
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_the_journal_of_an_agent_that_was_killed_is_not_believed(tmp_path: Path) -> None:
    journal = LinkJournal(tmp_path)
    journal.made()
    path = tmp_path / FILE
    path.write_text(path.read_text().replace(f": {os.getpid()}", ": 4194304999"))
    found = read_link(tmp_path)
    assert (found.connected, found.error) == (False, ENDED)
    path.write_text("{")
    assert read_link(tmp_path).error == ENDED


def test_a_box_has_all_where_it_is_at_the_end_and_nothing_is_left_to_do() -> None:
    status = BoxStatus(
        "north", "one", "1", 0.0, ("all", "group-gate"), {"all": 7}, 1, "m", {}, 0, None, None
    )
    assert status.has_all({"all": 7, "site-south": 9})
    assert status.has_all({"all": 6})
    assert not status.has_all({"all": 8})
    assert not status.has_all({"all": 7, "group-gate": 1})
    assert not replace(status, erasing=1).has_all({"all": 7})
    assert not replace(status, held={"x": "y"}).has_all({"all": 7})
