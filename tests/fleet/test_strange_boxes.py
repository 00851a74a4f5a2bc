"""Boxes of another version, and boxes that somebody took: they spoil nothing of the others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jetson_face.cli.main import main
from jetson_face.factory.fleet import fleet_cipher, fleet_of
from jetson_face.fleet import operator
from jetson_face.fleet.entries import sealed
from jetson_face.fleet.operator import ErasureReport
from tests.fleet.boxes import Box, running
from tests.fleet.nats_server import NatsServer
from tests.fleet.test_desk import asked, boxes_of, said
from tests.waiting import until

STATUS: dict[str, Any] = {
    "site": "south", "box": "odd", "version": "9", "time": 1.0, "scopes": ["all"],
    "positions": {"all": 0}, "people": 7, "model": "m", "held": {}, "erasing": 0, "backlog": None,
    "ready": None,
}  # fmt: skip
WRONG: list[dict[str, Any]] = [
    {"time": "now"}, {"time": float("inf")}, {"people": -1}, {"people": 10**400}, {"held": ["x"]},
    {"scopes": ["a b"]}, {"scopes": ["*"]}, {"scopes": [{}]}, {"positions": {"x\n": 1}},
    {"plans": [1]}, {"model": None},
]  # fmt: skip
ODD = [b"", b"[]", b"{}", b"\xff", *(json.dumps(STATUS | more).encode() for more in WRONG)]


def test_a_box_speaks_for_itself_only_and_newer_ones_are_read(one: Box, hub: NatsServer) -> None:
    with running(one):
        until(lambda: [box["name"] for box in boxes_of(one)] == ["north/one"])
    others: tuple[dict[str, str], ...]
    others = ({}, {"site": "north", "box": "one"}, {"something": "new"})
    for more in others:
        hub.publish("jf.south.odd.status", json.dumps(STATUS | more).encode())
        found = {box["name"]: box["people"] for box in boxes_of(one)}
        assert found == {"north/one": 0, "south/odd": 7}, more


def test_a_status_that_nobody_can_read_is_a_box_of_which_nothing_is_known(
    one: Box, hub: NatsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, body in enumerate(ODD):
        hub.publish(f"jf.south.odd{number:02d}.status", body)
    found = boxes_of(one)
    names = [f"south/odd{number:02d}" for number in range(len(ODD))]
    assert [box["name"] for box in found] == names
    for box in found:
        assert box["up_to_date"] is False
        assert "cannot be read here" in box["held"][0]["why"]
    assert asked(one, "/fleet/metrics").status == 200
    assert main(["fleet", "status", *one.words]) == 0
    assert "south/odd07: status is held" in capsys.readouterr().err
    report: ErasureReport = operator.run(one.config, lambda server: server.erasure("nobody"))
    assert list(report.missing) == names


def test_a_receipt_that_is_none_counts_as_missing_and_spoils_no_other(
    one: Box, hub: NatsServer
) -> None:
    ada = one.enrol("Ada", 1)
    one.send("Ada")
    with running(one):
        until(lambda: boxes_of(one))
        said(asked(one, f"/fleet/people/{ada}", "DELETE"), 202)
        until(lambda: said(asked(one, f"/fleet/erasures/{ada}", "POST"))["complete"])
    hub.publish("jf.south.odd.status", json.dumps(STATUS).encode())
    subject, cipher = f"jf.south.odd.receipts.{ada}", fleet_cipher(fleet_of(one.config))
    whole = {
        "person": ada, "name": "", "time": "", "actor": "", "templates": 0, "portraits": 0,
        "crops": [], "review_items": 0, "verified": [],
    }  # fmt: skip
    for plain, missing in (
        ({}, ["south/odd"]),
        ({"complete": True}, ["south/odd"]),
        (whole | {"failed": "x", "complete": True}, ["south/odd"]),
        (whole | {"complete": "yes"}, ["south/odd"]),
        (whole | {"complete": True, "box": "north/one"}, []),
    ):
        hub.publish(subject, sealed(cipher, subject, plain))
        (report,) = said(asked(one, "/fleet/erasures"))["items"]
        assert report["missing"] == missing, plain
        assert report["receipts"][0]["box"] == "north/one"
        assert {own["box"] for own in report["receipts"]} <= {"north/one", "south/odd"}
