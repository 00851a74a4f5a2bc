"""The page in real Chromium, in front of a real service: what an operator does, from the first
start. With JETSON_FACE_SCREENSHOTS=docs/web it also makes the pictures of docs/web.md."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import demo_clip
import pytest

from tests.waiting import until
from tests.web.web_box import PASSWORDS, WebBox, two_faces, web_box

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SCREENS = ["Live", "Events", "People", "Review", "Tuning", "Health", "Privacy & settings"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium: apt-get install chromium")
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebBox]:
    folder = tmp_path_factory.mktemp("p")
    config = two_faces(folder) + "matching: {review_margin: 1, unknown_after: 3}\n"
    with web_box(folder, config) as box:
        yield box


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, from npm."""
    if shutil.which("npm") is None:
        pytest.skip("no npm to fetch axe-core with")
    folder = tmp_path_factory.mktemp("axe")
    for command in (["npm", "pack", "--silent", "axe-core@4"], ["tar", "xf"]):
        files = [path.name for path in folder.glob("*.tgz")] if command[0] == "tar" else []
        subprocess.run([*command, *files], cwd=folder, check=True, capture_output=True, timeout=120)
    return (folder / "package" / "axe.min.js").read_text("utf-8")


def opened(browser: Browser, box: WebBox, width: int = 1100, **more: Any) -> Page:
    """A page of its own, not signed in; what goes wrong in it fails the test."""
    page = browser.new_context(viewport={"width": width, "height": 800}, **more).new_page()
    page.set_default_timeout(20_000)
    page.on("pageerror", lambda error: pytest.fail(f"in the page: {error}"))
    page.goto(box.url)
    return page


def sign_in(page: Page, user: str = "admin", password: str = PASSWORDS["admin"]) -> None:
    page.get_by_label("User").fill(user)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def go(page: Page, screen: str) -> None:
    page.get_by_role("link", name=screen, exact=True).click()
    page.get_by_role("heading", name=screen, exact=True, level=1).wait_for()


def shot(page: Page, name: str) -> None:
    if folder := os.environ.get("JETSON_FACE_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.jpg", type="jpeg", quality=70)


def test_from_the_first_start_to_a_name_on_live(browser: Browser, box: WebBox) -> None:
    page = opened(browser, box)
    sign_in(page)
    go(page, "People")
    page.get_by_label("Name", exact=True).fill("Eileen Collins")
    page.get_by_label("Pictures, one face each").set_input_files(demo_clip.portrait_path("collins"))
    page.get_by_role("button", name="Enrol", exact=True).click()
    page.get_by_text("Eileen Collins: 1 added").wait_for()
    go(page, "Live")
    page.get_by_role("list", name="Faces at door").get_by_text("Eileen Collins").wait_for()
    until(lambda: "/s" in page.locator("dl").inner_text(), 20)
    page.wait_for_function("document.querySelector('img.video').naturalWidth > 0")
    shot(page, "live")
    go(page, "People")
    page.get_by_role("img", name="Portrait of Eileen Collins").wait_for()
    shot(page, "people")


def test_many_answers_at_once_and_undone(browser: Browser, box: WebBox) -> None:
    # Who was unknown to an empty gallery stays so while in view: let everybody come in anew.
    box.service.close()
    box.service.start()
    page = opened(browser, box)
    sign_in(page)
    with contextlib.closing(box.client()) as client:
        until(lambda: client.get("/review").json()["items"])
    go(page, "Review")
    page.get_by_role("button", name="Choose all").first.click()
    page.get_by_label("Name, for somebody else").fill("Grace Hopper")
    page.get_by_role("button", name="Preview somebody else").click()
    page.get_by_text("Grace Hopper gets").wait_for()
    shot(page, "review")
    page.get_by_role("button", name="Somebody else", exact=True).click()
    page.get_by_role("button", name="Undo the last answers").wait_for()
    with contextlib.closing(box.client()) as client:
        names = [one["name"] for one in client.get("/people").json()["items"]]
        assert names == ["Eileen Collins", "Grace Hopper"]
        page.get_by_role("button", name="Undo the last answers").click()
        until(lambda: len(client.get("/people").json()["items"]) == 1)
    page.get_by_role("button", name="Choose all").first.wait_for()


def test_enrolling_who_walks_past(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("walk")
    config = two_faces(folder)
    (folder / "heads" / "hopper.png").unlink()
    with web_box(folder, config) as box:
        page = opened(browser, box)
        sign_in(page)
        page.get_by_role("button", name="Enrol by walking past").click()
        page.get_by_label("Name of the person").fill("Eileen")
        page.get_by_role("button", name="Start").click()
        kept = page.get_by_role("list", name="Kept faces").get_by_role("listitem")
        kept.first.wait_for()
        assert page.get_by_label("Faces from the front").evaluate("m => m.value") > 0
        shot(page, "walk")
        page.get_by_role("dialog").get_by_role("button", name="Enrol", exact=True).click()
        there = page.get_by_role("list", name="Faces at door")
        there.get_by_text("Eileen").wait_for()
        with contextlib.closing(box.client()) as client:
            (person,) = client.get("/people").json()["items"]
        assert person["template_count"] >= 1


def test_a_slider_changes_the_measured_rate(browser: Browser, box: WebBox) -> None:
    page = opened(browser, box)
    sign_in(page)
    go(page, "Tuning")
    page.get_by_label("Detection interval N").fill("1")
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("sampling.interval: 5 → 1").wait_for()
    page.get_by_role("button", name="Apply").click()
    with contextlib.closing(box.client()) as client:
        until(lambda: client.get("/tuning").json()["rates"]["door searched"] > 4, 30)
        shot(page, "tuning")
        client.post("/settings", json={"changes": {"sampling.interval": None}})


def test_events_come_by_themselves_and_can_be_enrolled_from(browser: Browser, box: WebBox) -> None:
    page = opened(browser, box)
    sign_in(page)
    go(page, "Events")
    rows = page.get_by_role("list", name="Events, newest first").get_by_role("listitem")
    rows.first.wait_for()
    until(lambda: page.locator("img.crop").count() > 0, 20)
    shot(page, "events")
    before = rows.count()
    box.service.close()
    box.service.start()  # everybody leaves, and appears anew
    until(lambda: rows.count() > before + 2, 60)
    said = re.compile("Somebody is enrolled|looks|was there already|too small")
    for number in range(5):  # who just came into view may be too small still
        page.get_by_role("button", name="Enrol", exact=True).nth(number).click()
        page.get_by_label("Who is it?").fill("Somebody")
        page.get_by_role("dialog").get_by_role("button", name="Enrol", exact=True).click()
        told = page.locator("#toast").get_by_text(said)
        told.wait_for()
        if "too small" not in told.inner_text():
            return
        page.get_by_role("dialog").get_by_role("button", name="Close").click()
        page.locator("#toast").wait_for(state="hidden")
    pytest.fail("no face of an event is large enough")


def test_who_may_not(browser: Browser, box: WebBox) -> None:
    page = opened(browser, box)
    sign_in(page, "viewer", "wrong wrong 1")
    page.get_by_text("user or password is wrong").wait_for()
    sign_in(page, "viewer", PASSWORDS["viewer"])
    go(page, "People")
    page.get_by_role("heading", name="Enrolled", exact=True).wait_for()
    assert page.get_by_role("button", name="Enrol", exact=True).count() == 0
    go(page, "Privacy & settings")
    page.get_by_text("need the role admin").wait_for()
    without = (
        "fetch('/api/v1/review/undo', {method: 'POST', body: '{\"numbers\": [1]}', "
        "headers: {'Content-Type': 'application/json'}}).then(r => r.status)"
    )
    assert page.evaluate(without) == 403
    box.accounts.set_password("viewer", PASSWORDS["viewer"] + "4", "viewer")
    # Not by the link: the page asks by itself, too, and may have taken it away already.
    page.evaluate("location.hash = '#/people'")
    page.get_by_text("Your session is over").wait_for()
    box.accounts.set_password("viewer", PASSWORDS["viewer"], "viewer")


def test_a_screen_that_is_left_before_it_is_there_asks_for_nothing_afterwards(
    browser: Browser, box: WebBox
) -> None:
    page = opened(browser, box)
    held: list[Route] = []
    page.route("**/api/v1/cameras", lambda route: held.append(route))
    sign_in(page)
    page.get_by_role("heading", name="Live", exact=True, level=1).wait_for()
    until(lambda: page.evaluate("1") and held)
    go(page, "Health")
    page.get_by_role("button", name="Ask the doctor").wait_for()
    with page.expect_response("**/cameras"):
        held[0].continue_()  # Live comes only now
    page.wait_for_timeout(1500)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(6000)
    assert not [url for url in asked if "/frame" in url]
    assert [url for url in asked if url.endswith("/health")]  # Health goes on by itself
    go(page, "People")
    page.get_by_role("heading", name="Enrolled", exact=True).wait_for()
    asked.clear()
    page.wait_for_timeout(6000)
    assert not [url for url in asked if url.endswith("/health")]  # and ends when it is left


def test_what_is_said_hides_nothing_that_was_said_before(browser: Browser, box: WebBox) -> None:
    page = opened(browser, box)
    said = "m => { m.toast('never recognised'); m.toast('the recogniser is too slow just now'); }"
    page.evaluate(f"import('/static/dom.js').then({said})")
    toast = page.locator("#toast")
    for text in ("never recognised", "too slow"):
        assert toast.get_by_text(text).is_visible()
    toast.wait_for(state="hidden")


def test_it_goes_on_after_the_recogniser_restarts(browser: Browser, box: WebBox) -> None:
    page = opened(browser, box)
    sign_in(page)
    there = page.get_by_role("list", name="Faces at door")
    there.get_by_text("Eileen Collins").wait_for()
    box.service.close()
    page.get_by_text("the recogniser does not answer").wait_for()
    box.service.start()
    page.locator("#banner").wait_for(state="hidden", timeout=60_000)
    before = page.locator("img.video").get_attribute("src")
    until(lambda: page.locator("img.video").get_attribute("src") != before, 20)
    there.get_by_text("Eileen Collins").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_by_keyboard_and_without_serious_faults(
    browser: Browser, box: WebBox, axe: str, scheme: str
) -> None:
    page = opened(browser, box, 360, color_scheme=scheme)
    found = page.evaluate(f"{axe}; axe.run().then(r => r.violations)")
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
    page.get_by_label("User").fill("admin")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORDS["admin"])
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Live", level=1).wait_for()
    for screen in SCREENS:
        link = page.get_by_role("link", name=screen, exact=True)
        link.focus()
        page.keyboard.press("Enter")
        page.get_by_role("heading", name=screen, exact=True, level=1).wait_for()
        page.wait_for_timeout(1500)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, screen
        found = page.evaluate("axe.run().then(r => r.violations)")
        serious = [
            (one["id"], [node["html"][:120] for node in one["nodes"]])
            for one in found
            if one["impact"] in ("serious", "critical")
        ]
        assert serious == [], screen
        if scheme == "dark" and screen == "Live":
            shot(page, "phone")


def test_consent_is_recorded_and_somebody_is_never_recognised(
    browser: Browser, box: WebBox
) -> None:
    page = opened(browser, box)
    sign_in(page)
    go(page, "People")
    card = page.get_by_role("listitem").filter(has_text="Eileen Collins")
    card.get_by_text(re.compile("here since|last seen")).wait_for()
    card.get_by_role("button", name="Open").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Record a consent").click()
    dialog.get_by_label("Given by").fill("E. Collins")
    dialog.get_by_label("Until").fill("2026-01-31")
    dialog.get_by_label("Given on").fill("2026-01-01")
    dialog.get_by_role("button", name="Record", exact=True).click()
    page.locator("#toast").get_by_text("recorded").wait_for()
    go(page, "Privacy & settings")
    page.get_by_text("over: renew it, or erase the person").wait_for()
    go(page, "People")
    card.get_by_role("button", name="Open").click()
    page.get_by_role("dialog").get_by_role("button", name="Never recognise").click()
    page.locator("#toast").get_by_text("never recognised").wait_for()
    go(page, "Live")
    there = page.get_by_role("list", name="Faces at door")
    there.get_by_text("unknown").first.wait_for()
    assert there.get_by_text("Eileen Collins").count() == 0
    go(page, "People")
    card.get_by_text("never recognised").wait_for()
    card.get_by_role("button", name="Open").click()
    page.get_by_role("dialog").get_by_role("button", name="May be recognised again").click()
    go(page, "Live")
    there.get_by_text("Eileen Collins").wait_for()


def test_rates_are_measured_on_this_box_and_plotted(browser: Browser, box: WebBox) -> None:
    page = opened(browser, box)
    sign_in(page)
    go(page, "Tuning")
    page.get_by_role("button", name="Measure sampling rates").click()
    page.get_by_text("measuring…").wait_for()
    there = page.get_by_role("region", name="Frame rate against sampling rate")
    there.locator("svg polyline").wait_for(timeout=200_000)
    assert there.locator("svg circle").count() == 8
    assert there.locator("tbody tr").count() == 8
    page.get_by_role("button", name="Measure image sizes").click()
    page.get_by_text("measuring…").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.locator("#toast").get_by_text("cancelled").wait_for()
    there.get_by_role("button", name="Forget").click()
    page.get_by_text("Nothing was measured here yet").wait_for()


def test_charts_of_a_day_the_log_and_the_doctor(browser: Browser, box: WebBox) -> None:
    page = opened(browser, box)
    sample = {"decided": 8.0, "cpu": 0.25, "temperature": None, "queue": 0}
    day = [sample | {"time": 1_790_000_000 + 60 * minute} for minute in range(1440)]
    body = {"every_s": 60, "samples": day}
    page.route("**/api/v1/health/day", lambda route: route.fulfill(json=body))
    sign_in(page)
    go(page, "Health")
    page.get_by_text("Decision rate, frames /s: 8.0 now").wait_for()
    charts = page.locator("figure svg")
    assert charts.count() == 3  # no temperature, no chart of it
    assert charts.first.locator("polyline").count() == 1
    page.get_by_role("button", name="Show the last lines").click()
    page.get_by_label("Log").get_by_text("ready after_s").wait_for()
    page.get_by_role("button", name="Ask the doctor").click()
    page.get_by_text("ok: disk").first.wait_for(timeout=100_000)
