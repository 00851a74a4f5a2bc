"""Single screens in real Chromium, before an API that the test makes up: what a real box seldom
says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.waiting import until
from tests.web.test_page import browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request, Route

__all__ = ["browser"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
STATIC = resources.files("jetson_face.web") / "static"
NONE: dict[str, Any] = {"items": [], "next": None}
OVER = 401, {"detail": "sign in"}
HEALTH = {"status": "ready", "ready": True, "alive": True, "cameras": {}, "rates": {}}


class MadeUp:
    """A page whose API answers with `said`, by method and path; a call makes the answer of the
    request. asked: method, path and query of every request to it."""

    def __init__(self, browser: Browser, **more: Any) -> None:
        self.said: dict[str, Any] = {
            "GET /session": {"user": "ada", "role": "admin", "csrf": "x"},
            "GET /health": HEALTH,
        }
        self.asked: list[str] = []
        self.page: Page = browser.new_context(**more).new_page()
        self.page.set_default_timeout(20_000)
        self.page.on("pageerror", lambda error: pytest.fail(f"in the page: {error}"))
        self.page.route("**/*", self._answer)

    def open(self, screen: str) -> Page:
        self.page.goto(f"http://page.example/#/{screen}")
        return self.page

    def _answer(self, route: Route) -> None:
        request, where = route.request, urlsplit(route.request.url)
        if not where.path.startswith("/api/v1"):
            name = where.path.removeprefix("/static/").strip("/") or "index.html"
            kind = {"js": "text/javascript", "css": "text/css", "html": "text/html"}
            body = (STATIC / name).read_bytes()
            kind_of = kind.get(name.rpartition(".")[2], "image/svg+xml")
            route.fulfill(body=body, content_type=kind_of)
            return
        key = f"{request.method} {where.path.removeprefix('/api/v1')}"
        self.asked.append(f"{key}?{where.query}" if where.query else key)
        found = self.said.get(key, (404, {"detail": f"made up: no {key}"}))
        if callable(found):
            found = found(request)
        status, document = found if isinstance(found, tuple) else (200, found)
        if isinstance(document, str):
            route.fulfill(status=status, body=document, content_type="text/event-stream")
        else:
            route.fulfill(status=status, json=document)


def event(number: int, name: str) -> dict[str, Any]:
    return {
        "id": f"01890000-0000-7000-8000-{number:012d}", "kind": "decided", "state": "known",
        "name": name, "person": None, "time": f"2026-03-01T08:00:{number:02d}.000Z",
        "source": "door", "track": number, "similarity": 0.7, "has_crop": False,
    }  # fmt: skip


def told(one: dict[str, Any]) -> str:
    """By the stream, whose connection then breaks off."""
    return f"retry: 50\nid: {one['id']}\ndata: {json.dumps(one)}\n\n"


@pytest.fixture
def made(browser: Browser) -> Iterator[MadeUp]:
    made = MadeUp(browser)
    yield made
    made.page.context.close()


def test_the_log_of_use_shows_searches_of_recordings(made: MadeUp) -> None:
    search = {
        "record": "search", "time": "2026-03-01T08:00:00Z", "actor": "ada@desk", "name": "Ada",
        "reason": "case 7", "archive": "a1", "input": "gallery /g.db",
    }  # fmt: skip
    made.said |= {
        "GET /consents": NONE, "GET /settings": {"values": {}, "changed": {}},
        "GET /use": {"items": [search], "next": None}, "GET /audit": NONE, "GET /receipts": NONE,
    }  # fmt: skip
    page = made.open("privacy")
    page.get_by_role("heading", name="Receipts of erasures").wait_for()
    row = page.get_by_role("region", name="Log of use").get_by_role("row").nth(1)
    for text in ("search", "ada@desk", "Ada", "case 7"):
        assert text in row.inner_text()


TUNING = {
    "keys": {
        "detection_interval": "sampling.interval", "search_max_side_px": "detector.max_side_px",
        "similarity_min": "matching.similarity_min",
    },
    "detection_interval": 45, "auto": False, "search_max_side_px": 490, "similarity_min": 0.4124,
    "similarity_from": "calibration", "calibration": None, "rates": {}, "stages_p95_ms": {},
}  # fmt: skip


POINT = {"similarity_min": 0.1, "fpir": None, "correctly_identified": None}


def test_only_the_slider_that_was_moved_is_a_change(made: MadeUp) -> None:
    """What is in force need not be a place of a slider."""
    sent: list[Any] = []

    def applied(request: Request) -> object:
        sent.append(request.post_data_json["changes"])
        return {"message": "done", "diff": []}

    made.said |= {
        "GET /tuning": TUNING, "GET /events": NONE, "GET /tuning/runs": NONE,
        "GET /tuning/thresholds": {"strangers": 0, "known": 0, "points": [POINT]},
        "POST /settings": applied,
    }  # fmt: skip
    page = made.open("tuning")
    apply = page.get_by_role("button", name="Apply")
    apply.click()
    page.get_by_text("nothing was moved").wait_for()
    page.get_by_label("Threshold, cosine").fill("0.5")
    apply.click()
    until(lambda: page.evaluate("1") and len(sent) == 1)
    page.get_by_label("Detection interval N").fill("3")
    apply.click()
    until(lambda: page.evaluate("1") and len(sent) == 2)
    assert sent == [{"matching.similarity_min": 0.5}, {"sampling.interval": 3}]
    # figures that change every three seconds are not read aloud each time
    assert page.locator("[role=status] dl, [role=status] h2").count() == 0


def test_events_say_that_the_session_is_over(made: MadeUp) -> None:
    streams = iter([told(event(2, "Grace"))])
    pages = iter([{"items": [event(1, "Ada")], "next": None}] * 2)
    made.said |= {
        "GET /people": NONE, "GET /cameras": NONE,
        "GET /events": lambda request: next(pages, OVER),
        "GET /events/stream": lambda request: next(streams, OVER),
    }  # fmt: skip
    page = made.open("events")
    page.get_by_text("Grace").wait_for()
    page.get_by_text("Your session is over").wait_for()


def test_events_go_on_where_the_stream_was_refused(made: MadeUp) -> None:
    broken = (503, {"detail": "too many listen already"})
    streams = iter([told(event(2, "Grace")), broken, told(event(3, "Alan"))])
    made.said |= {
        "GET /people": NONE, "GET /cameras": NONE,
        "GET /events": {"items": [event(1, "Ada")], "next": None},
        "GET /events/stream": lambda request: next(streams, broken),
    }  # fmt: skip
    page = made.open("events")
    rows = page.get_by_role("list", name="Events, newest first").get_by_role("listitem")
    page.get_by_text("Alan").wait_for()
    assert [text.split()[0] for text in rows.all_inner_texts()] == ["Alan", "Grace", "Ada"]
    asked = [url for url in made.asked if "/events/stream" in url]
    assert asked[2] == f"GET /events/stream?after={event(2, '')['id']}"


def test_an_event_stands_there_once_whatever_is_chosen_meanwhile(made: MadeUp) -> None:
    slow: list[Any] = []
    made.said |= {
        "GET /people": NONE, "GET /cameras": NONE, "GET /events/stream": told(event(2, "Grace")),
        "GET /events": {"items": [event(2, "Grace"), event(1, "Ada")], "next": None},
    }  # fmt: skip
    page = made.open("events")
    rows = page.get_by_role("list", name="Events, newest first").get_by_role("listitem")
    page.get_by_text("Grace").wait_for()
    page.route("**/events?state=known", lambda route: slow.append(route))
    page.get_by_label("State").select_option("known")
    until(lambda: page.evaluate("1") and slow)
    page.get_by_label("Kind").select_option("decided")
    page.wait_for_timeout(500)
    for route in slow:
        route.fulfill(json=made.said["GET /events"])
    page.wait_for_timeout(1000)
    assert rows.count() == 2


def test_pictures_of_a_phone_go_in_requests_that_the_server_takes(made: MadeUp) -> None:
    made.said |= {"GET /people": NONE, "GET /unknown-people": NONE}
    page = made.open("people")
    page.get_by_role("heading", name="Enrolled", exact=True).wait_for()
    cut = """sizes => import('/static/people.js').then(
        people => people.batches(sizes.map(size => ({size}))).map(b => b.map(f => f.size)))"""
    assert page.evaluate(cut, [6e6] * 8) == [[6e6] * 5, [6e6] * 3]
    assert page.evaluate(cut, [1e6] * 10) == [[1e6] * 8, [1e6] * 2]
    assert page.evaluate(cut, [60e6, 1e6]) == [[60e6], [1e6]]
    assert page.evaluate(cut, []) == []


@pytest.mark.parametrize(
    ("zone", "day"), [("Pacific/Auckland", "2026-03-02"), ("America/Los_Angeles", "2026-03-01")]
)
def test_a_consent_is_given_today_by_the_clock_on_the_wall(
    browser: Browser, zone: str, day: str
) -> None:
    made = MadeUp(browser, timezone_id=zone)
    made.page.clock.set_fixed_time("2026-03-01T20:00:00Z")
    consent = dict.fromkeys(("given_by", "given", "until", "text")) | {"state": "none"}
    ada = {
        "id": "a", "name": "Ada", "since": "2026-01-01T00:00:00Z", "template_count": 0,
        "do_not_recognise": False, "last_seen": None, "templates": [], "consent": consent,
    }  # fmt: skip
    made.said |= {
        "GET /people": {"items": [ada], "next": None}, "GET /people/a": ada,
        "GET /unknown-people": NONE,
    }  # fmt: skip
    page = made.open("people")
    page.get_by_role("button", name="Open").click()
    page.get_by_text("Record a consent").click()
    assert page.get_by_label("Given on").input_value() == day
    page.context.close()


def crowd(count: int) -> Callable[[Request], dict[str, Any]]:
    """GET /people of so many, as the service answers it."""
    everybody: list[dict[str, Any]] = [
        {"id": f"{n:04d}", "name": f"Person {n:04d}", "template_count": 1, "last_seen": None,
         "do_not_recognise": False, "since": "2026-01-01T00:00:00Z", "templates": [],
         "consent": dict.fromkeys(("given_by", "given", "until", "text")) | {"state": "none"}}
        for n in range(count)
    ]  # fmt: skip

    def people(request: Request) -> dict[str, Any]:
        asked = {key: text for key, (text,) in parse_qs(urlsplit(request.url).query).items()}
        rows = [one for one in everybody if asked.get("search", "").lower() in one["name"].lower()]
        if name := asked.get("name"):
            rows = [one for one in rows if one["name"].lower() == name.lower()]
        first, limit = int(asked.get("cursor", "0")), int(asked.get("limit", "100"))
        after = first + limit if first + limit < len(rows) else None
        return {"items": rows[first : first + limit], "next": after and str(after)}

    return people


def test_people_are_shown_a_hundred_at_a_time_and_searched_on_the_box(made: MadeUp) -> None:
    merged: list[object] = []

    def merge(request: Request) -> object:
        merged.append(request.post_data_json)
        return {}

    made.said |= {
        "GET /people": crowd(12_345), "GET /unknown-people": NONE,
        "GET /people/0007": lambda request: crowd(8)(request)["items"][7],
        "POST /people/0007/merge": merge,
    }  # fmt: skip
    page = made.open("people")
    cards = page.get_by_role("list", name="People").get_by_role("listitem")
    page.get_by_text("Person 0099").wait_for()
    assert cards.count() == 100
    page.get_by_role("button", name="More", exact=True).click()
    page.get_by_text("Person 0199").wait_for()
    assert cards.count() == 200
    page.get_by_label("Search").fill("person 12344")
    page.get_by_text("Person 12344").wait_for()
    assert cards.count() == 1
    assert page.get_by_role("button", name="More", exact=True).is_hidden()
    page.get_by_label("Search").fill("0007")
    page.get_by_text("Person 0007").wait_for()
    page.get_by_role("button", name="Open").first.click()
    into = page.get_by_label("Move all photos to")
    into.fill("person 10")
    page.locator("datalist option[value='Person 1001']").wait_for(state="attached")
    assert page.locator("dialog datalist option").count() == 20
    for name, said in (("", "write a name"), ("Nemo", "nobody who"), ("Person 0007", "is this")):
        into.fill(name)
        page.get_by_role("button", name="Merge").click()
        page.locator("#toast").get_by_text(said).wait_for()
    into.fill("person 11111 ")
    page.get_by_role("button", name="Merge").click()
    page.locator("#toast").get_by_text("merged").wait_for()
    assert merged == [{"into": "11111"}]


def test_events_of_one_person_are_asked_for_by_name(made: MadeUp) -> None:
    made.said |= {
        "GET /people": crowd(6000), "GET /cameras": NONE, "GET /events": NONE,
        "GET /events/stream": told(event(2, "Grace")),
    }  # fmt: skip
    page = made.open("events")
    page.get_by_text("Grace").wait_for()
    who = page.get_by_label("Person")
    who.fill("Person 5999")
    who.press("Tab")
    until(lambda: page.evaluate("1") and "GET /events?person=5999" in made.asked)
    # asked for by the whole name, however many names begin so
    assert "GET /people?name=Person+5999" in made.asked
    assert [asked for asked in made.asked if "cursor=" in asked or "limit=500" in asked] == []
    who.fill("")
    made.asked.clear()
    who.press("Tab")
    until(lambda: page.evaluate("1") and {"GET /events?", "GET /events"} & {*made.asked})
    who.fill("Nemo")
    who.press("Tab")
    page.locator("#toast").get_by_text("nobody who is enrolled is called Nemo").wait_for()


def test_everybody_who_is_sent_to_a_fleet_is_everybody(made: MadeUp) -> None:
    here = {
        "site": "north", "box": "one", "server": "tls://hub", "scopes": ["all"], "people": 5300,
        "link": {"connected": True, "since": None, "error": None}, "positions": {}, "behind": {},
        "events": {"waiting": 0, "error": None, "down_since": None}, "held": [], "erasing": 0,
        "up_to_date": True, "plans": {},
    }  # fmt: skip
    sent: list[str] = []

    def send(request: Request) -> object:
        sent.extend(request.post_data_json["people"])
        return {"people": [], "to": "all"}

    made.said |= {
        "GET /fleet": {"configured": True, "here": here}, "GET /fleet/boxes": NONE,
        "GET /fleet/people": NONE, "GET /fleet/erasures": NONE, "GET /people": crowd(5300),
        "POST /fleet/people": send,
    }  # fmt: skip
    page = made.open("fleet")
    page.get_by_label("Everybody").check()
    page.get_by_role("button", name="Send", exact=True).click()
    until(lambda: page.evaluate("1") and len(sent) == 5300)
    assert sent == [f"{n:04d}" for n in range(5300)]
