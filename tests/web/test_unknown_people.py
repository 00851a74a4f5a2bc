"""People who are not enrolled and are remembered: over HTTP, and on the page in Chromium."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator

import cv2
import demo_clip
import numpy as np
import pytest

from jetson_face.core.types import Embeddings
from jetson_face.models.cards import embedding_space, load_card
from jetson_face.privacy.encryption import open_cipher
from jetson_face.review.unknowns import UNKNOWNS, KeptFace, UnknownStore, UnknownVisit
from jetson_face.util.images import encode_jpeg
from tests.service.running import LIVE
from tests.waiting import until
from tests.web.test_api import problem
from tests.web.web_box import PASSWORDS, WebBox, two_faces, web_box

pytestmark = pytest.mark.timeout(300)
MARKS = np.array([[45, 60], [75, 60], [60, 78], [48, 95], [72, 95]], np.float32)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebBox]:
    with web_box(tmp_path_factory.mktemp("u"), LIVE + "unknown: {remember: true}\n") as box:
        yield box


def seen(box: WebBox, number: int, visits: int = 1) -> str:
    """Somebody is remembered as the service would; returns the id."""
    who, state = f"{number:016x}", box.service.state
    space = embedding_space(load_card("squeezenet_face"))
    vector = np.random.default_rng(number).normal(size=(1, space.dim)).astype(np.float32)
    face = Embeddings(vector / np.linalg.norm(vector), space)
    image = cv2.imread(str(demo_clip.portrait_path("collins")))
    picture = np.asarray(cv2.resize(image, (256, 256)), np.uint8)
    cipher = open_cipher(state, create=not (state / "gallery.key").exists())
    with UnknownStore.open(state / UNKNOWNS, cipher) as store:
        for visit in range(visits):
            at, portrait = 1e6 * visit + number, encode_jpeg(picture, quality=90 + visit)
            store.see(
                who,
                UnknownVisit(at, at + 5, 1.7e9 + at),
                KeptFace(face, 0.7 + visit / 10, portrait, MARKS, 1.7e9 + at, "door"),
                gap_s=60,
                new=True,
            )
    return who


@pytest.fixture(autouse=True)
def _nobody(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "box" in request.fixturenames:
        found: WebBox = request.getfixturevalue("box")
        with contextlib.closing(found.client()) as client:
            assert client.delete("/unknown-people").status_code == 200


def test_they_are_listed_by_pages_and_shown(box: WebBox) -> None:
    viewer = box.client("viewer")
    assert viewer.get("/unknown-people").json() == {"items": [], "next": None}
    people = [seen(box, number, visits=1 + number % 2) for number in (1, 2, 3)]
    first = viewer.get("/unknown-people", params={"limit": 2}).json()
    rest = viewer.get("/unknown-people", params={"limit": 2, "cursor": first["next"]}).json()
    rows = first["items"] + rest["items"]
    assert rest["next"] is None
    # who was seen last comes first
    assert [row["id"] for row in rows] == [people[2], people[0], people[1]]
    assert [row["visits"] for row in rows] == [2, 2, 1]
    one = viewer.get(f"/unknown-people/{people[2]}").json()
    assert one["sightings"] == [
        {"last": "2023-11-26T12:00:03.000Z", "seconds": 5.0},
        {"last": "2023-11-14T22:13:23.000Z", "seconds": 5.0},
    ]
    assert [face["quality"] for face in one["faces"]] == [0.8, 0.7]
    for picture in ("portrait", "faces/1"):
        answer = viewer.get(f"/unknown-people/{people[2]}/{picture}")
        assert answer.content[:3] == b"\xff\xd8\xff"
    problem(viewer.get(f"/unknown-people/{people[2]}/faces/2"), 404)
    problem(viewer.get(f"/unknown-people/{'f' * 16}"), 404)
    problem(viewer.get("/unknown-people/ff"), 422)
    problem(viewer.get("/unknown-people", params={"cursor": "gone"}), 400)


def test_one_gets_a_name_and_is_enrolled(box: WebBox) -> None:
    viewer, operator = box.client("viewer"), box.client("operator")
    who = seen(box, 11, visits=2)
    path, wanted = f"/unknown-people/{who}", {"name": "Eve Arden"}
    problem(viewer.post(f"{path}/name", json=wanted), 403)
    problem(operator.post(f"{path}/name", json={"name": "\x00"}), 422)
    problem(operator.post(f"/unknown-people/{'f' * 16}/name", json=wanted), 404)
    assert operator.post(f"{path}/preview", json=wanted).json()["adds"] == {"Eve Arden": 2}
    assert operator.get("/people").json()["items"] == []
    key = {"Idempotency-Key": "name-eve"}
    answer = operator.post(f"{path}/name", json=wanted, headers=key)
    assert answer.status_code == 200, answer.text
    done = answer.json()
    assert (done["name"], done["remembered"], done["reason"]) == ("Eve Arden", False, None)
    assert operator.post(f"{path}/name", json=wanted, headers=key).json() == done
    (person,) = operator.get("/people").json()["items"]
    assert (person["id"], person["template_count"]) == (done["id"], done["added"])
    problem(operator.get(path), 404)
    last = box.client().get("/audit").json()["items"]
    assert any(
        row["actor"].startswith("web:operator") and row["person"] == done["id"] for row in last
    )
    box.client().delete(f"/people/{done['id']}")


def test_one_is_erased_or_all(box: WebBox) -> None:
    admin, operator = box.client(), box.client("operator")
    one, two, three = (seen(box, number) for number in (21, 22, 23))
    problem(operator.delete(f"/unknown-people/{one}"), 403)
    problem(operator.delete("/unknown-people"), 403)
    gone = admin.delete(f"/unknown-people/{one}", headers={"Idempotency-Key": "gone"}).json()
    assert (gone["people"], gone["complete"], gone["failed"]) == (1, True, [])
    again = admin.delete(f"/unknown-people/{one}", headers={"Idempotency-Key": "gone"})
    assert again.json() == gone
    problem(admin.delete(f"/unknown-people/{one}"), 404)
    assert [row["id"] for row in admin.get("/unknown-people").json()["items"]] == [three, two]
    assert admin.delete("/unknown-people").json()["people"] == 2
    assert admin.get("/unknown-people").json()["items"] == []
    rows = admin.get("/audit").json()["items"]
    erased = {
        row["person"]: row["actor"].partition("@")[0]
        for row in rows
        if row["action"] == "unknown_erased"
    }
    assert {who: erased[who] for who in (one, two, three)} == dict.fromkeys(
        (one, two, three), "web:admin"
    )


@pytest.mark.slow
def test_on_the_page_from_an_event_to_a_name(tmp_path_factory: pytest.TempPathFactory) -> None:
    api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium: apt-get install chromium")
    folder = tmp_path_factory.mktemp("up")
    config = two_faces(folder) + "unknown: {remember: true}\nmatching: {unknown_after: 3}\n"
    with web_box(folder, config) as box, api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": 360, "height": 800}).new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: pytest.fail(f"in the page: {error}"))
        page.goto(box.url)
        page.get_by_label("User").fill("admin")
        page.get_by_label("Password").fill(PASSWORDS["admin"])
        page.get_by_role("button", name="Sign in").click()
        with contextlib.closing(box.client()) as client:
            until(lambda: len(client.get("/unknown-people").json()["items"]) == 2, 60)
            until(lambda: any("unknown_id" in e for e in client.get("/events").json()["items"]), 60)
            page.get_by_role("link", name="Events", exact=True).click()
            page.get_by_role("link", name="remembered without a name").first.click()
            dialog = page.get_by_role("dialog")
            dialog.get_by_role("img", name="Face 1").wait_for()
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
            dialog.get_by_label("Name, of somebody enrolled or new").fill("Grace Hopper")
            dialog.get_by_role("button", name="Preview").click()
            dialog.get_by_text("Grace Hopper gets").wait_for()
            dialog.get_by_role("button", name="Give this name").click()
            page.locator("#toast").get_by_text("Grace Hopper has").wait_for()
            page.get_by_role("img", name="Portrait of Grace Hopper").wait_for()
            there = page.get_by_role("list", name="Not enrolled, seen before")
            until(lambda: there.get_by_role("button", name="Open").count() == 1)
            assert [one["name"] for one in client.get("/people").json()["items"]] == [
                "Grace Hopper"
            ]
            page.get_by_role("button", name="Erase them all").click()
            dialog = page.get_by_role("dialog")
            dialog.get_by_label("Type all to confirm").fill("all")
            dialog.get_by_role("button", name="Erase them all").click()
            page.locator("#toast").get_by_text("1 person erased").wait_for()
            there.get_by_text("nobody is remembered").wait_for()
            time.sleep(0.5)
            assert client.get("/unknown-people").json()["items"] == []
        browser.close()
