"""Consent and the do-not-recognise list in front of a real service, and what it keeps then."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import demo_clip
import pytest

from jetson_face.cli.main import main
from jetson_face.events.history import History
from tests.service.running import Running, running
from tests.waiting import until
from tests.web.web_box import two_faces

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Its camera sees the two people of the demo."""
    folder = tmp_path_factory.mktemp("c")
    config = two_faces(folder) + "matching: {review_margin: 1, unknown_after: 3}\n"
    with running(folder, config) as service:
        yield service


def enrol(service: Running, name: str, who: str, **more: object) -> dict[str, Any]:
    data = base64.b64encode(demo_clip.portrait_path(who).read_bytes()).decode()
    wanted = {"name": name, "pictures": [{"label": who, "data": data}], "force": True, **more}
    status, found = service.control("POST", "/people", wanted)
    assert status in (200, 201), found
    assert isinstance(found, dict)
    return found


def said(service: Running) -> set[str]:
    faces = service.status()["last_decisions"]
    return {face["name"] or face["state"] for face in faces}


def crops(service: Running) -> int:
    with closing(History(service.state / "history.db")) as history:
        return sum(one.has_crop for one in history.page(limit=1000))


def test_a_consent_is_recorded_listed_expired_and_withdrawn(service: Running) -> None:
    ada = enrol(service, "Ada", "collins")
    path = f"/people/{ada['id']}/consent"
    wanted = {"given_by": "Ada", "given": "2026-01-01", "until": "2099-01-01", "text": "notice 3"}
    status, row = service.control("PUT", path, wanted)
    assert (status, row["state"], row["text"]) == (200, "valid", "notice 3")
    assert service.control("PUT", path, {"given_by": "Ada"})[0] == 422
    assert service.control("PUT", path, wanted | {"until": "2025-01-01"})[0] == 422
    assert service.control("PUT", "/people/nobody/consent", wanted)[0] == 404
    _, over = service.control("PUT", path, wanted | {"until": "2026-01-02"})
    assert over["state"] == "expired"
    enrol(service, "Bob", "hopper")
    _, listed = service.control("GET", "/consents")
    assert [(one["name"], one["state"]) for one in listed["items"]] == [
        ("Ada", "expired"),
        ("Bob", "none"),
    ]
    assert service.control("DELETE", path)[1]["state"] == "none"
    _, audit = service.control("GET", "/audit?limit=5")
    acts = [one["action"] for one in audit["items"]]
    assert ("consent_withdrawn" in acts, "consent_recorded" in acts) == (True, True)
    assert service.control("GET", f"/people/{ada['id']}")[1]["consent"]["state"] == "none"
    for one in listed["items"]:
        service.control("DELETE", f"/people/{one['person']}")


def test_who_is_on_the_list_is_neither_named_nor_kept(service: Running) -> None:
    bob, ada = enrol(service, "Bob", "hopper"), enrol(service, "Ada", "collins")
    until(lambda: {"Ada", "Bob"} <= said(service))
    assert crops(service) > 0
    _, listed = service.control("GET", "/people")
    seen = {one["name"]: one["last_seen"] for one in listed["items"]}
    assert (seen["Bob"]["source"], seen["Bob"]["here"]) == ("door", True)
    assert seen["Ada"]["time"] > "2026"
    status, row = service.control("PUT", f"/people/{ada['id']}/do-not-recognise", {"on": True})
    assert (status, row["do_not_recognise"]) == (200, True)
    assert row["erased"]["events"] > 0  # its crops the service may have erased before
    with closing(History(service.state / "history.db")) as history:
        kept = {one.event["person"] for one in history.page(limit=1000) if one.has_crop}
        assert kept - {None} == {bob["id"]}
    assert "Ada" not in said(service)
    assert (
        service.status()["gallery"] | {"people": 1, "not_recognised": 1}
        == (service.status()["gallery"])
    )
    picture = demo_clip.portrait_path("collins").read_bytes()
    _, found = service.control("POST", "/identify", picture)
    assert [(face["name"], face["state"]) for face in found["faces"]] == [(None, "unknown")]
    assert ada["id"].encode() not in (service.state / "history.db").read_bytes()
    _, refused = service.control(
        "POST",
        "/people",
        {
            "name": "Eve",
            "force": True,
            "pictures": [{"label": "x", "data": base64.b64encode(picture).decode()}],
        },
    )
    assert "do-not-recognise" in refused["refused"][0]["reason"]
    for one in (bob, ada):
        service.control("DELETE", f"/people/{one['id']}")


def test_a_photo_alone_puts_its_face_on_the_list_and_no_face_is_kept(service: Running) -> None:
    told = enrol(service, "Nobody's business", "collins", do_not_recognise=True)
    bob = enrol(service, "Bob", "hopper")
    assert service.control("GET", f"/people/{told['id']}")[1]["do_not_recognise"] is True
    with closing(History(service.state / "history.db")) as history:
        before = history.last()
        service.close()
        service.start()
        until(lambda: said(service) == {"Bob", "unknown"})
        events = history.page(after=before, limit=1000)
    kept = [(one.event["kind"], one.event["person"]) for one in events if one.has_crop]
    assert {person for _, person in kept} == {bob["id"]}
    assert {one.event["kind"] for one in events} >= {"appeared", "decided"}
    assert service.control("GET", "/review")[1]["items"] == []
    for one in (told, bob):
        service.control("DELETE", f"/people/{one['id']}")


def test_an_expired_consent_is_an_event(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        ada = enrol(service, "Ada", "collins")
        wanted = {"given_by": "Ada", "given": "2026-01-01", "until": "2026-01-02"}
        service.control("PUT", f"/people/{ada['id']}/consent", wanted)
        service.close()
        service.start()  # it looks once a minute, and when it starts

        def told() -> bool:
            with closing(History(service.state / "history.db")) as history:
                found = history.page(kind="consent")
            return [(e.event["name"], e.event["until"]) for e in found] == [("Ada", "2026-01-02")]

        until(told, 20)
        until(lambda: service.status()["consents"] == {"recorded": 1, "expired": 1})


def test_the_log_of_use_has_periods_databases_matches_and_who_verified(tmp_path: Path) -> None:
    config = two_faces(tmp_path) + "matching: {review_margin: 1, unknown_after: 3}\n"
    with running(tmp_path, config) as service:
        enrol(service, "Ada", "collins")
        until(lambda: every(service, "period"))
        service.process.terminate()
        service.process.wait()
        service.start()  # the other face is compared with her from its beginning
        until(lambda: "Ada" in said(service))
        until(lambda: service.control("GET", "/review")[1]["items"])
        number = service.control("GET", "/review")[1]["items"][0]["number"]
        answers = {"answers": [{"number": number, "answer": "no"}]}
        service.control("POST", "/review/decide", answers, {"X-Actor": "web:ada"})
        until(lambda: len(every(service, "period")) == 2)
        first, second = every(service, "period")
        assert (first["ended"], second["ended"], second["cameras"]) == ("stopped", None, ["door"])
        database = every(service, "database")[-1]
        assert (database["period"], database["people"]) == (second["period"], 1)
        (verified,) = every(service, "verification")
        assert (verified["answer"], verified["actor"].split("@")[0]) == ("rejected", "web:ada")
        match = every(service, "match")[0]
        assert (match["name"], match["camera"]) == ("Ada", "door")
        assert match["input"] == f"/api/v1/events/{match['event']}/crop"
        later = "since=2090-01-01T00:00:00Z"
        _, goes_on = service.control("GET", f"/use?{later}")
        assert [one["record"] for one in goes_on["items"]] == ["period", "database"]
        assert service.control("GET", "/use?cursor=x-1")[0] == 400
        file = tmp_path / "use.csv"
        assert main(["use-log", str(file), "-c", str(service.config)]) == 0
        rows = list(csv.DictReader(file.open(encoding="utf-8", newline="")))
        assert {row["record"] for row in rows} == {"period", "database", "verification", "match"}
        assert main(["use-log", str(tmp_path / "use.json"), "-c", str(service.config)]) == 0
        plain = json.loads((tmp_path / "use.json").read_text("utf-8"))
        assert len(plain) == len(rows)


def every(service: Running, record: str) -> list[dict[str, Any]]:
    """The records of a kind, page by page."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        _, page = service.control("GET", f"/use?limit=2{cursor}")
        found += page["items"]
        if page["next"] is None:
            return [one for one in found if one["record"] == record]
        cursor = f"&cursor={page['next']}"
