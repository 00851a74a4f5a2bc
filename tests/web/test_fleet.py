"""A fleet of two boxes on the page's API: a real service with a real control socket on the
operator's machine, a box elsewhere, and a real nats-server between them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jetson_face.models.cards import embedding_space, load_card
from tests.fleet.boxes import Box, running
from tests.fleet.conftest import set_up
from tests.fleet.nats_server import NatsServer, nats_server
from tests.service.running import LIVE
from tests.waiting import until
from tests.web.test_api import picture, problem
from tests.web.test_page import axe, browser, go, opened, shot, sign_in
from tests.web.web_box import PASSWORDS, WebBox, web_box

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["axe", "browser"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
FLEET = LIVE + "fleet: {server: '{url}', site: office, box: desk, key: {key}, status_s: 1}\n"


@dataclass(frozen=True)
class Site:
    """web: the page of office/desk. two: the box south/two of the group gate, not running."""

    web: WebBox
    two: Box
    hub: NatsServer


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("f")
    space = embedding_space(load_card("squeezenet_face"))
    with nats_server(folder / "hub") as hub:
        two = Box(folder, hub.url, "two", "fleet.groups=[gate]", site="south", space=space)
        set_up(two)
        config = FLEET.replace("{url}", hub.url).replace("{key}", str(folder / "fleet.key"))
        with web_box(folder, config) as web:
            until(lambda: here(web)["up_to_date"])
            yield Site(web, two, hub)


def here(web: WebBox) -> dict[str, Any]:
    found = web.client("viewer").get("/fleet").json()
    assert found["configured"]
    return dict(found["here"])


def enrolled(web: WebBox, name: str) -> str:
    wanted = {"name": name, "pictures": [picture("collins")], "force": True}
    return str(web.client("operator").post("/people", json=wanted).json()["id"])


def rows(web: WebBox, path: str, **query: str) -> list[dict[str, Any]]:
    return list(web.client("admin").get(path, params=query).json()["items"])


def test_this_box_is_connected_and_has_what_the_hub_has(site: Site) -> None:
    one = here(site.web)
    assert (one["site"], one["box"], one["scopes"]) == ("office", "desk", ["all", "site:office"])
    assert one["link"]["connected"]
    assert one["link"]["error"] is None
    assert re.fullmatch(r"20\d\d-.*Z", one["link"]["since"])
    assert one["behind"] == {"all": 0, "site:office": 0}
    until(lambda: here(site.web)["events"] == {"waiting": 0, "error": None, "down_since": None})


def test_people_go_to_a_group_and_are_listed_by_it(site: Site) -> None:
    viewer, operator = site.web.client("viewer"), site.web.client("operator")
    who = enrolled(site.web, "Eileen")
    wanted = {"people": [who], "to": "group:gate"}
    problem(viewer.post("/fleet/people", json=wanted), 403)
    problem(operator.post("/fleet/people", json=wanted | {"to": "gate"}), 422)
    assert "nobody" in problem(operator.post("/fleet/people", json=wanted | {"people": ["x"]}), 404)
    first = operator.post("/fleet/people", json=wanted, headers={"Idempotency-Key": "a"})
    assert first.json() == {"people": [who], "to": "group:gate"}
    operator.post("/fleet/people", json=wanted, headers={"Idempotency-Key": "a"})
    (row,) = rows(site.web, "/fleet/people", to="group:gate", search="eil")
    assert (row["id"], row["name"], row["photos"], row["version"]) == (who, "Eileen", 1, 1)
    assert rows(site.web, "/fleet/people", to="site:south") == []
    assert rows(site.web, "/fleet/people", search="zoe") == []
    assert "was sent to group-gate" in problem(
        operator.post("/fleet/people", json=wanted | {"to": "all"}), 404
    )
    with running(site.two):
        until(lambda: site.two.names() == ["Eileen"])
        until(lambda: {one["name"]: one["up_to_date"] for one in boxes(site.web)}.get("south/two"))
    (desk, two) = boxes(site.web)
    assert (desk["name"], desk["ready"], desk["backlog"]) == ("office/desk", True, 0)
    assert (two["people"], two["scopes"][2], two["positions"]["group:gate"]) == (1, "group:gate", 1)
    assert operator.post("/fleet/people", json=wanted).status_code == 200
    assert {one["name"]: one["up_to_date"] for one in boxes(site.web)} == {
        "office/desk": True,  # nothing of that group is for it
        "south/two": False,
    }


def boxes(web: WebBox) -> list[dict[str, Any]]:
    return rows(web, "/fleet/boxes")


def test_an_erasure_ends_with_the_receipts_and_names_who_is_missing(site: Site) -> None:
    operator, admin = site.web.client("operator"), site.web.client("admin")
    who = enrolled(site.web, "Ada")
    operator.post("/fleet/people", json={"people": [who], "to": "all"})
    with running(site.two):
        until(lambda: "Ada" in site.two.names())
    problem(operator.delete(f"/fleet/people/{who}"), 403)
    problem(operator.get("/fleet/erasures"), 403)
    assert "nobody of this id" in problem(admin.delete("/fleet/people/nobody"), 404)
    assert "was erased" in problem(admin.post(f"/fleet/erasures/{who}"), 404)
    without = site.web.client("admin")
    del without.headers["X-CSRF-Token"]
    problem(without.delete(f"/fleet/people/{who}"), 403)
    begun = admin.delete(f"/fleet/people/{who}")
    assert begun.status_code == 202
    assert "south/two" in begun.json()["missing"]
    until(lambda: again(site.web, who)["missing"] == ["south/two"])
    (receipt,) = again(site.web, who)["receipts"]
    assert (receipt["box"], receipt["name"], receipt["complete"]) == ("office/desk", "Ada", True)
    assert receipt["service"] == "confirmed"
    assert admin.get(f"/people/{who}").status_code == 404
    with running(site.two):
        until(lambda: again(site.web, who)["complete"])
    (listed,) = [one for one in rows(site.web, "/fleet/erasures") if one["person"] == who]
    assert (listed["name"], listed["complete"], len(listed["receipts"])) == ("Ada", True, 2)
    assert who not in [one["id"] for one in rows(site.web, "/fleet/people")]
    log = [one for one in rows(site.web, "/audit", limit="500") if one["person"] == who]
    did = {(one["action"], one["actor"].split("@")[0]) for one in log}
    assert {("fleet_sent", "web:operator"), ("fleet_erased", "web:admin")} <= did
    assert ("erased", "fleet") in did


def again(web: WebBox, who: str) -> dict[str, Any]:
    return dict(web.client("admin").post(f"/fleet/erasures/{who}").json())


def test_metrics_by_box_and_one_that_is_gone_for_good(site: Site) -> None:
    with running(site.two):
        until(lambda: len(boxes(site.web)) == 2)
    answer = site.web.client("viewer").get("/fleet/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = {one.name: one.samples for one in text_string_to_metric_families(answer.text)}
    (ages,) = [samples for name, samples in families.items() if name.endswith("fleet_age_seconds")]
    assert {one.labels["box"] for one in ages} == {"desk", "two"}
    operator, admin = site.web.client("operator"), site.web.client("admin")
    problem(operator.delete("/fleet/boxes/south/two"), 403)
    assert admin.delete("/fleet/boxes/south/two").json() == {"name": "south/two"}
    assert [one["name"] for one in boxes(site.web)] == ["office/desk"]
    problem(admin.delete("/fleet/boxes/south/two"), 404)
    assert rows(site.web, "/audit")[0]["action"] == "fleet_forgotten"


def test_a_hub_that_is_away_is_said_and_noticed_when_it_is_back(site: Site) -> None:
    since = here(site.web)["link"]["since"]
    site.hub.stop()
    try:
        until(lambda: not here(site.web)["link"]["connected"])
        one = here(site.web)
        assert one["link"]["error"]
        assert one["link"]["since"] > since
        assert one["up_to_date"] is None
        assert "127.0.0.1" in problem(site.web.client("viewer").get("/fleet/boxes"), 409)
    finally:
        site.hub.start()
    until(lambda: here(site.web)["up_to_date"])


# The site first: what sets it up needs this thread's event loop, which the browser then has.
def test_on_the_page_somebody_is_sent_and_erased_everywhere(
    site: Site, browser: Browser, axe: str
) -> None:
    enrolled(site.web, "Grace")
    page = opened(browser, site.web)
    page.set_default_timeout(60_000)
    sign_in(page)
    go(page, "Fleet")
    box = page.get_by_role("region", name="This box")
    box.get_by_text("connected to the hub since").wait_for()
    box.get_by_text("up to date", exact=True).wait_for()
    send = page.get_by_role("region", name="Send people")
    send.get_by_label("Who is enrolled here").fill("grace")
    send.get_by_role("button", name="Send").click()
    page.locator("#toast").get_by_text("1 sent to all").wait_for()
    with running(site.two):
        until(lambda: "Grace" in site.two.names())
        go(page, "Live")
        go(page, "Fleet")
        page.get_by_role("region", name="Boxes").get_by_text("south/two").wait_for()
    page.set_viewport_size({"width": 360, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    found = page.evaluate(f"{axe}; axe.run().then(r => r.violations)")
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
    page.set_viewport_size({"width": 1100, "height": 800})
    shot(page, "fleet")
    row = page.get_by_role("region", name="People of the fleet").get_by_role("row")
    row.filter(has_text="Grace").get_by_role("button", name="Erase everywhere").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Erase everywhere").click()
    page.locator("#toast").get_by_text("the name is not the same").wait_for()
    dialog.get_by_label("Type Grace to confirm").fill("Grace")
    dialog.get_by_role("button", name="Erase everywhere").click()
    # Two is away: it is named until its receipt is there.
    dialog.get_by_text("No complete receipt from south/two.").wait_for()
    with running(site.two):
        dialog.get_by_text("Every box has erased them (2 receipts).").wait_for(timeout=60_000)
    dialog.get_by_role("button", name="Close").click()
    page.get_by_role("list", name="Erasures").get_by_text("complete: 2 receipts").first.wait_for()


def test_who_may_not_and_who_has_no_fleet_see_none_of_it(
    site: Site, browser: Browser, tmp_path: Path
) -> None:
    page = opened(browser, site.web)
    page.set_default_timeout(60_000)
    sign_in(page, "viewer", PASSWORDS["viewer"])
    go(page, "Fleet")
    page.get_by_role("region", name="People of the fleet").wait_for()
    assert page.get_by_role("button", name="Erase everywhere").count() == 0
    assert page.get_by_role("button", name="Send").count() == 0
    with web_box(tmp_path) as alone:
        page = opened(browser, alone)
        page.set_default_timeout(60_000)
        with page.expect_response("**/api/v1/health"):
            sign_in(page)
        page.get_by_role("link", name="Health").wait_for()
        assert page.get_by_role("link", name="Fleet").count() == 0
        page.evaluate("location.hash = '#/fleet'")
        page.get_by_text("This box belongs to no fleet.").wait_for()
